"""Makes the database's password once: `password` for the server, `passfile` for the driver of its users."""

import os
import secrets
import sys
from pathlib import Path

FOLDER = Path("/database/secret")
# The form of libpq's password file: host:port:database:user:password.
ENTRY = "database:5432:pvewatch:pvewatch:"


def write_once(place: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    scratch = place.with_name(f".{place.name}")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    scratch.rename(place)


if not os.environ["PVEWATCH_DATABASE_URL"]:
    sys.exit("the profile postgres needs PVEWATCH_DATABASE_URL in .env, or nobody would use it: see docs/containers.md")
password = FOLDER / "password"
if not password.exists():
    write_once(password, secrets.token_urlsafe(32) + "\n")
write_once(FOLDER / "passfile", ENTRY + password.read_text(encoding="utf-8"))
