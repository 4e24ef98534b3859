"""Hands out what the simulator made up: monitor token, power token and certificate, each to its own volume."""

import json
import os
from pathlib import Path

DEMO = Path("/demo")


def hand_out(place: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    place.unlink(missing_ok=True)
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


simulator = json.loads((DEMO / "simulator/simulator.json").read_text(encoding="utf-8"))
for kind in ("monitor", "power"):
    hand_out(DEMO / kind / "demo", simulator["tokens"][kind]["secret"] + "\n")
hand_out(DEMO / "trust/demo.pem", (DEMO / "simulator/cert.pem").read_text(encoding="utf-8"))
