"""The ground that both services stand on: configuration, PVE client, rendering, the native stack."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("pvewatch")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+unknown"
