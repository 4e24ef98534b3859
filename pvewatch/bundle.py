"""Where the files are that ship with pvewatch: rules, dashboards, agents.

In a checkout they lie at the repository's root, in an installed wheel under pvewatch/_bundle/.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def bundle_path(name: str) -> Path:
    """The path of a shipped file or folder, such as `prometheus/rules`. Raises FileNotFoundError naming it."""
    for root in (_PACKAGE / "_bundle", _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"{name} is not part of this installation of pvewatch (looked beside {_PACKAGE})")
