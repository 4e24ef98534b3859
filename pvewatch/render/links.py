"""Links to people's pages in rules and dashboards.

What is committed begins with the default addresses and is valid as it lies there; rendering puts the configured
addresses in their place.
"""

from __future__ import annotations

from pvewatch.config import Settings

DEFAULT_PUBLIC_URL = Settings().public_url
DEFAULT_GRAFANA_URL = Settings().grafana_url


def relinked(text: str, settings: Settings) -> str:
    """`text` with a default address at its beginning replaced by the configured one."""
    for default, configured in (
        (DEFAULT_PUBLIC_URL, settings.public_url),
        (DEFAULT_GRAFANA_URL, settings.grafana_url),
    ):
        if text == default or text.startswith(f"{default}/"):
            return configured + text.removeprefix(default)
    return text


def runbook_url(settings: Settings, alert: str) -> str:
    """The page of the action API that shows docs/runbooks/<alert>.md."""
    return f"{settings.public_url}/runbooks/{alert}"
