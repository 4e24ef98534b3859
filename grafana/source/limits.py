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
# 1 is well, 0 is not.
MUST_BE = ((None, ACT), (1, WELL))
ANY_IS_BAD = ((None, WELL), (1, ACT))
ANY_IS_WORTH_A_LOOK = ((None, WELL), (1, LOOK))
# ExporterBlind: figures older than this many seconds mean that the cluster is not seen.
FIGURES_AGE_SECONDS = 60
FIGURES_AGE = ((None, WELL), (FIGURES_AGE_SECONDS / 2, LOOK), (FIGURES_AGE_SECONDS, ACT))
IO_WAIT_RATIO = ((None, WELL), (0.1, LOOK), (0.3, ACT))
# More than one version in a cluster is normal during an upgrade, and only then.
MIXED = ((None, WELL), (2, LOOK))
# Seconds until something ends: certificates are renewed 30 days before.
UNTIL_END = ((None, ACT), (7 * 86400, LOOK), (28 * 86400, WELL))
# A node's clock is measured to about a second.
CLOCK_SECONDS = ((None, WELL), (3, LOOK), (60, ACT))
# A snapshot is for a change that is being tried, not for months.
SNAPSHOT_AGE = ((None, WELL), (7 * 86400, LOOK))
FULL_IN = ((None, ACT), (7 * 86400, LOOK), (30 * 86400, WELL))
# The HA manager reports every 10 s and counts as dead after 120.
HA_REPORT_AGE = ((None, WELL), (60, LOOK), (120, ACT))
# GuestClockOff, in either direction.
GUEST_CLOCK_OFF_SECONDS = 60
GUEST_CLOCK_SECONDS = ((None, LOOK), (-GUEST_CLOCK_OFF_SECONDS, WELL), (GUEST_CLOCK_OFF_SECONDS, LOOK))
# Shares of what a guest has that it used at its busiest in a week: less is worth a look by who plans.
LITTLE_MEMORY = 0.5
LITTLE_CPU = 0.25
# Bytes promised for each byte that is there, and the share in use once the largest node is lost.
MEMORY_PROMISED = ((None, WELL), (1, LOOK))
ONE_NODE_LESS = ((None, WELL), (0.9, LOOK), (1, ACT))
# A job each night, and half a day for one that runs long.
BACKUP_AGE = ((None, WELL), (36 * 3600, LOOK), (7 * 86400, ACT))
