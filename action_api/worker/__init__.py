"""The process that acts: it claims what people and incidents ask for, checks again, and asks Proxmox VE.

It listens on no port and remembers nothing: all that matters is in the database, so a killed worker loses nothing
and the next one goes on where it stopped.
"""

from __future__ import annotations

import logging
import os
import signal

from action_api.store import StoreUnavailable, open_store
from action_api.worker.loop import Worker
from action_api.worker.timing import Timing
from pvewatch.config import ConfigError, Problem, Settings, internal_secret

__all__ = ["Timing", "Worker", "run"]


def run(settings: Settings, *, timing: Timing | None = None) -> None:
    """Work until SIGTERM or SIGINT, then stop within 5 s.

    Raises ConfigError when a secret cannot be read or the database not be opened.
    """
    secret = internal_secret(settings, "inventory", create=True)
    try:
        store = open_store(settings.database_url)
    except StoreUnavailable as error:
        remedy = "start the database, or mend action_api.database_url"
        raise ConfigError([Problem("action_api.database_url", str(error), remedy)]) from error
    worker = Worker(settings, store, secret, timing=timing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    if worker.run():
        store.close()
        return
    # A thread still waits for PVE's answer, up to 35 s, and Python would wait for it at exit. What it asked for is
    # on disk as an intent: the next worker finds out what became of it, as after a power cut.
    logging.shutdown()
    os._exit(0)
