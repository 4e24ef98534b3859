"""The agent in an unprivileged container with limits: user, process, mount and control group namespaces of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.ingest import Authority, Ingest, token_file
from tests.agents.linux_agent import AGENT, environment

pytestmark = pytest.mark.root

NOBODY = 65534
MEMORY_BYTES = 256 * 1024 * 1024
GROUPS = Path("/sys/fs/cgroup")
IS_VERSION_2 = (GROUPS / "cgroup.controllers").exists()

# Joins the groups as root, gives up every privilege, and inside mounts what it may see of the groups, as LXC does.
ENTER = """
for group in $JOINED; do echo $$ >"$group/cgroup.procs"; done
exec setpriv --reuid=65534 --regid=65534 --clear-groups \
  unshare --user --map-root-user --mount --pid --fork --kill-child --mount-proc --cgroup --uts --ipc \
  bash -c "$INSIDE"
"""
MOUNT_VERSION_1 = """mount -t tmpfs none $PVEWATCH_CGROUP && cd $PVEWATCH_CGROUP && mkdir memory cpu &&
mount -t cgroup -o memory none memory && mount -t cgroup -o cpu none cpu"""
MOUNT_VERSION_2 = "mount -t cgroup2 none $PVEWATCH_CGROUP"


@pytest.fixture
def groups() -> Iterator[list[Path]]:
    """Control groups of 256 MiB of memory and half a core."""
    name = f"pvewatch-test-{uuid.uuid4().hex[:8]}"
    if IS_VERSION_2:
        made = [GROUPS / name]
        limits = {made[0] / "memory.max": str(MEMORY_BYTES), made[0] / "cpu.max": "50000 100000"}
    else:
        made = [GROUPS / "memory" / name, GROUPS / "cpu" / name]
        limits = {made[0] / "memory.limit_in_bytes": str(MEMORY_BYTES), made[1] / "cpu.cfs_quota_us": "50000"}
    for group in made:
        group.mkdir()
    try:
        for file, limit in limits.items():
            file.write_text(limit)
        yield made
    finally:
        for group in made:
            group.rmdir()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that nobody may look into, too: pytest's own are root's."""
    folder = Path(tempfile.mkdtemp(prefix="pvewatch-container-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_it_is_heard_and_tells_the_containers_own_limits(
    ingest: Ingest, authority: Authority, groups: list[Path], shared: Path
) -> None:
    program = shutil.copytree(AGENT.parent, shared / "linux") / AGENT.name
    # By this file systemd tells its container from the machine (container interface of systemd).
    (shared / "run" / "systemd").mkdir(parents=True)
    (shared / "run" / "systemd" / "container").write_text("lxc\n")
    token = token_file(shared)
    os.chown(token, NOBODY, NOBODY)
    variables = environment(
        None,
        JOINED=" ".join(map(str, groups)),
        INSIDE=f"{MOUNT_VERSION_2 if IS_VERSION_2 else MOUNT_VERSION_1} && exec bash {program} once",
        PVEWATCH_CGROUP=shared / "cgroup",
        PVEWATCH_RUN=shared / "run",
        PVEWATCH_URL=ingest.url,
        PVEWATCH_CA_FILE=shutil.copy(authority.ca, shared / "ca.pem"),
        PVEWATCH_TOKEN_FILE=token,
    )
    (shared / "cgroup").mkdir()
    done = subprocess.run(["bash", "-c", ENTER], env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    heartbeat = ingest.heartbeat()
    assert heartbeat.memory is not None
    assert heartbeat.memory.size_bytes == MEMORY_BYTES
    assert 0 < heartbeat.memory.available_bytes < MEMORY_BYTES
    assert heartbeat.cpu is not None
    assert heartbeat.cpu.cores == 1
    assert heartbeat.smbios_uuid is None
    # The host's boot id, with the start of the container's own first process.
    kernels = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert heartbeat.boot_id.startswith(f"{kernels}-")
