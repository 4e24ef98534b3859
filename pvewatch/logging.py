"""Log lines: text on a terminal, one JSON object a line elsewhere; always on standard error.

`about` says for a while what all lines of a thread are about (cluster, request, run). SIGUSR1 and SIGUSR2 change the
level of a running process.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import Literal

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message", "about"}
_NOTHING: Mapping[str, object] = {}
_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=_NOTHING)


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Every line logged within carries these fields, e.g. ``about(cluster="home")``; threads begin without any."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def _note(record: logging.LogRecord) -> bool:
    """What the line is about, taken where it is logged: a handler may run elsewhere."""
    record.about = _about.get()
    return True


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "about", _NOTHING)
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Text(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        fields = " ".join(f"{key}={value}" for key, value in getattr(record, "about", _NOTHING).items())
        return super().formatMessage(record) + (f"  [{fields}]" if fields else "")


def configure(level: str = "info", form: Literal["auto", "text", "json"] = "auto") -> None:
    """Send this process's log to standard error. `extra=` fields become keys of the JSON form.

    The libraries that would print full addresses or headers at debug level stay at warning. SIGUSR1 makes the log more
    detailed (debug), SIGUSR2 sets it back to `level`.
    """
    handler = logging.StreamHandler(sys.stderr)
    if form == "json" or (form == "auto" and not sys.stderr.isatty()):
        handler.setFormatter(_JsonLines())
    else:
        handler.setFormatter(_Text("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    handler.addFilter(_note)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("urllib3", "proxmoxer", "requests", "uvicorn", "alembic", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if threading.current_thread() is threading.main_thread():  # others may not set what a signal does
        for number, wanted in ((signal.SIGUSR1, "debug"), (signal.SIGUSR2, level)):
            signal.signal(number, partial(_set_level, wanted))


def _set_level(level: str, _number: int, _frame: FrameType | None) -> None:
    # Told from a thread of its own: the signal may have come in the middle of a line, with the handler's lock held.
    logging.getLogger().setLevel(level.upper())
    threading.Thread(target=_tell, args=(level,), name="log-level", daemon=True).start()


def _tell(level: str) -> None:
    logging.getLogger(__name__).log(max(logging.INFO, logging.getLogger().level), "the log level is %s now", level)
