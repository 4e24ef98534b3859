"""`python -m pvewatch.render --write-committed`: write the committed configuration files again."""

from __future__ import annotations

import sys
from pathlib import Path

from pvewatch.render.documents import write
from pvewatch.render.files import committed

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Write the committed files of the checkout and name them."""
    if arguments != ["--write-committed"]:
        print("usage: python -m pvewatch.render --write-committed", file=sys.stderr)
        return 2
    for name, text in committed().items():
        print(write(ROOT / name, text).relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
