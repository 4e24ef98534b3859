"""What the drop-in endpoint keeps of an answer that it refused: the words, never the answer."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.peer.endpoint import NothingRead, Peer
from exporter.peer.reads import Reads
from pvewatch.config import ExporterSettings, Secret, Settings
from pvewatch.pve.errors import PveError
from pvewatch.pve.one_host import Login, OneHost
from tests.pve.conftest import Answer, FakeHost

LARGE = b"x" * 2_000_000
TOKEN = Login(user="prometheus@pve", secret=Secret("s"), token_name="t", verify=False)
PASSWORD = Login(user="prometheus@pve", secret=Secret("s"), verify=False)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    fake = FakeHost(tmp_path / "host")
    yield fake
    fake.close()


def held(error: BaseException | None) -> list[str]:
    """Where the error holds something of more than a million characters."""
    found: list[str] = []
    while error is not None:
        places = {type(error).__name__: vars(error)}
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                places[frame.f_code.co_qualname] = frame.f_locals
        for place, values in places.items():
            found += [f"{place}: {name}" for name, value in values.items() if len(repr(value)) > 1_000_000]
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<html>" + LARGE),
        Answer(body=b"[" + LARGE),
        Answer(status=500, reason="broken", body=b"<html>" + LARGE),
        Answer(status=400, reason="Parameter", body=b'{"errors":{"node":"' + LARGE + b'"}}'),
    ],
    ids=["no JSON", "cut off", "refused", "refused with errors"],
)
def test_a_refused_answer_of_megabytes_is_not_kept_by_its_error(host: FakeHost, answer: Answer) -> None:
    host.answer = lambda _method, _path: answer
    asked = OneHost("127.0.0.1", host.port, TOKEN)
    with pytest.raises(PveError) as refused:
        asked.get("/version")
    asked.close()
    assert held(refused.value) == []


@pytest.mark.parametrize("body", [b'{"data":["%s"]}', b'{"data":{"ticket":"%s;"}}'], ids=["no ticket", "odd ticket"])
def test_a_login_answered_with_megabytes_is_not_kept_by_its_error(host: FakeHost, body: bytes) -> None:
    host.answer = lambda _method, _path: Answer(body=body % LARGE)
    asked = OneHost("127.0.0.1", host.port, PASSWORD)
    with pytest.raises(PveError, match="holds no ticket") as refused:
        asked.get("/version")
    asked.close()
    assert held(refused.value) == []


def test_an_answer_of_another_shape_is_not_kept_until_the_next_read(host: FakeHost) -> None:
    host.answer = lambda _method, _path: Answer(body=b'{"data":"' + LARGE + b'"}')
    asked = OneHost("127.0.0.1", host.port, TOKEN)
    reads = Reads(asked, 60, 60, 600)
    with pytest.raises(PveError, match="is no list") as refused:
        reads.status.get(time.monotonic() + 30)
    asked.close()
    assert held(refused.value) == []


def test_an_error_kept_for_the_next_scrape_keeps_nothing_of_this_one(host: FakeHost) -> None:
    host.answer = lambda _method, _path: Answer(status=401, reason="no")
    settings = Settings(exporter=ExporterSettings(pve_targets=(str(host.address),), pve_cache_seconds=60))
    peer = Peer(settings, {"PVE_USER": "u@pve", "PVE_TOKEN_NAME": "t", "PVE_TOKEN_VALUE": "s", "PVE_VERIFY_SSL": "0"})
    for _ in range(3):
        with pytest.raises(NothingRead):
            peer.answer(str(host.address), "default", cluster=True, node=True)
    kept = [one for one in gc.get_objects() if isinstance(one, PveError) and one.host == str(host.address)]
    peer.close()
    assert kept
    assert [one.__traceback__ for one in kept if one.__traceback__ is not None] == []
