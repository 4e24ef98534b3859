"""The numbers at which a figure is drawn as worth a look, in one table for all panels.

Where an alert judges the same figure, red begins where the alert does. What can be set is the setting's default
(a dashboard does not know what one guest, node or storage was given instead); for numbers that stand in
prometheus/rules a test compares.
"""

from __future__ import annotations

from pvewatch.settings_alerting import Thresholds

_SET = Thresholds()

# Blue is well, orange is worth a look, red needs somebody: told apart by those who cannot tell red from green.
WELL = "blue"
LOOK = "orange"
ACT = "red"

STORAGE_RATIO = ((None, WELL), (0.8, LOOK), (_SET.storage_usage_ratio, ACT))
ROOT_DISK_RATIO = ((None, WELL), (0.8, LOOK), (_SET.node_rootfs_ratio, ACT))
DISK_WEAR = ((None, WELL), (0.75, LOOK), (_SET.node_disk_wear_ratio, ACT))
THIN_METADATA = ((None, WELL), (0.6, LOOK), (_SET.node_thin_metadata_ratio, ACT))
# Ceph itself warns of an OSD that is 85 % full (OSD_NEARFULL), and CephHealthWarning with it.
CEPH_RATIO = ((None, WELL), (0.75, LOOK), (0.85, ACT))
# Any share of placement groups that are not clean.
NOT_CLEAN = ((None, WELL), (0.0001, LOOK))
FILESYSTEM_RATIO = ((None, WELL), (0.8, LOOK), (_SET.guest_filesystem_ratio, ACT))
NODE_MEMORY_RATIO = ((None, WELL), (0.85, LOOK), (_SET.node_memory_ratio, ACT))
GUEST_MEMORY_RATIO = ((None, WELL), (0.85, LOOK), (_SET.guest_memory_ratio, ACT))
# 1 is well, 0 is not.
MUST_BE = ((None, ACT), (1, WELL))
ANY_IS_BAD = ((None, WELL), (1, ACT))
ANY_IS_WORTH_A_LOOK = ((None, WELL), (1, LOOK))
# ExporterBlind: figures older than this many seconds mean that the cluster is not seen.
FIGURES_AGE_SECONDS = 60
FIGURES_AGE = ((None, WELL), (FIGURES_AGE_SECONDS / 2, LOOK), (FIGURES_AGE_SECONDS, ACT))
IO_WAIT_RATIO = ((None, WELL), (0.1, LOOK), (_SET.node_io_wait_ratio, ACT))
# NodeVersionsMixed: more than one version in a cluster is normal during an upgrade, and only then.
MIXED = ((None, WELL), (2, LOOK))
# Seconds until something ends. Certificates are renewed 30 days before; NodeCertificateExpiring.
ENDS_SOON_DAYS = 10
UNTIL_END = ((None, ACT), (ENDS_SOON_DAYS * 86400, LOOK), (28 * 86400, WELL))
# NodeClockOff, in either direction. A node's clock is measured to about a second.
NODE_CLOCK_OFF_SECONDS = 5
CLOCK_SECONDS = ((None, WELL), (3, LOOK), (NODE_CLOCK_OFF_SECONDS, ACT))
# GuestSnapshotsOld is only told of as an information. A snapshot is for a change that is being tried, not for months.
SNAPSHOT_AGE = ((None, WELL), (_SET.guest_snapshot_age_seconds, LOOK))
# StorageFillingUp looks so many days ahead.
FILLING_UP_DAYS = 4
FULL_IN = ((None, ACT), (FILLING_UP_DAYS * 86400, LOOK), (30 * 86400, WELL))
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
# BackupMissing, where a job has run since: a day, and some hours for one that runs long. A job may be weekly.
BACKUP_MISSING_SECONDS = 86400
BACKUP_LATE_HOURS = 6
BACKUP_AGE = ((None, WELL), (BACKUP_MISSING_SECONDS + BACKUP_LATE_HOURS * 3600, LOOK), (7 * 86400, ACT))
