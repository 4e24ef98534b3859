"""The numbers at which a figure is drawn as worth a look, in one table for all panels.

Where an alert judges the same figure, its number stands in prometheus/rules and a test compares.
"""

from __future__ import annotations

# Blue is well, orange is worth a look, red needs somebody: told apart by those who cannot tell red from green.
WELL = "blue"
LOOK = "orange"
ACT = "red"

STORAGE_RATIO = ((None, WELL), (0.8, LOOK), (0.9, ACT))
MEMORY_RATIO = ((None, WELL), (0.85, LOOK), (0.95, ACT))
ANY_IS_BAD = ((None, WELL), (1, ACT))
# ExporterBlind: figures older than this many seconds mean that the cluster is not seen.
FIGURES_AGE_SECONDS = 60
FIGURES_AGE = ((None, WELL), (FIGURES_AGE_SECONDS / 2, LOOK), (FIGURES_AGE_SECONDS, ACT))
