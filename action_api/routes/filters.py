"""What a person wants to see of a list of guests. The page's address says it, so that it can be kept and sent."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import request, url_for


@dataclass(frozen=True, slots=True)
class Filter:
    """Words, a state, a cluster and a page of the list; empty texts stand for all."""

    text: str
    state: str
    cluster: str
    page: int

    @classmethod
    def of_request(cls, states: Collection[str]) -> Filter:
        """Read it from the query; nonsense, such as a state that is none of `states`, counts as not given."""
        state = request.args.get("state", "")
        page = request.args.get("page", default=1, type=int)
        return cls(
            text=request.args.get("q", "").strip()[:100],
            state=state if state in states else "",
            cluster=request.args.get("cluster", "")[:63],
            page=min(max(page, 1), 10_000),
        )

    def takes(self, cluster: str, states: Collection[str], about: str) -> bool:
        """Whether a row is wanted: every word of the text is found in what the row says."""
        if (self.state and self.state not in states) or (self.cluster and cluster != self.cluster):
            return False
        said = about.casefold()
        return all(word in said for word in self.text.casefold().split())

    def address(self, **changes: str | int) -> str:
        """The page with this filter, changed."""
        values = {"q": self.text, "state": self.state, "cluster": self.cluster, "page": self.page} | changes
        kept = {key: value for key, value in values.items() if value and not (key == "page" and value == 1)}
        return url_for(request.endpoint or "") + (f"?{urlencode(kept)}" if kept else "")
