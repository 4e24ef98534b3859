"""`python -m pvewatch.simulator`: the same command as `pvewatch simulator`."""

from pvewatch.simulator.cli import simulator

if __name__ == "__main__":
    simulator()
