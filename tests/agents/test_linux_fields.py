from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.heartbeats.schema import parse
from tests.agents.linux_agent import call

# Shadows the one function that asks the running system about a mount point.
BLOCKS = 'filesystem_blocks() { [[ $1 == / ]] && echo "4096 1000 250" || echo "512 8 2"; }'


def field(script: str, tree: str, **variables: object) -> Any:
    """What one field's function prints, as the object it becomes part of."""
    return json.loads("{" + call(script, tree=tree, **variables) + "}")


def test_memory_counts_the_page_cache_as_available() -> None:
    memory = field("field_memory", "machine")["memory"]
    assert memory == {"size_bytes": 24684084 * 1024, "available_bytes": 24177356 * 1024}


def test_a_containers_memory_limit_is_its_size() -> None:
    memory = field("field_memory", "container")["memory"]
    in_use = 201326592 - 67108864
    assert memory == {"size_bytes": 536870912, "available_bytes": 536870912 - in_use}


def test_a_containers_memory_limit_is_its_size_under_control_groups_version_1_too() -> None:
    memory = field("field_memory", "container-v1")["memory"]
    in_use = 167772160 - 67108864
    assert memory == {"size_bytes": 268435456, "available_bytes": 268435456 - in_use}


@pytest.mark.parametrize(("tree", "cores"), [("machine", 2), ("container", 2), ("container-v1", 1)])
def test_a_containers_cores_are_no_more_than_its_limit(tree: str, cores: int) -> None:
    """150 % of a core counts as two, 50 % as one."""
    assert field("field_cpu", tree) == {"cpu": {"cores": cores}}


def test_no_limit_is_not_taken_for_one() -> None:
    script = """CGROUP=$(mktemp -d); mkdir -p "$CGROUP"/{memory,cpu}
    echo 9223372036854771712 >"$CGROUP/memory/memory.limit_in_bytes"; echo -1 >"$CGROUP/cpu/cpu.cfs_quota_us"
    echo 1 >"$CGROUP/memory/memory.usage_in_bytes"; echo 100000 >"$CGROUP/cpu/cpu.cfs_period_us"
    join_fields "$(field_memory)" "$(field_cpu)"; rm -r "$CGROUP" """
    found = field(script, "machine")
    assert found["memory"]["size_bytes"] == 24684084 * 1024
    assert found["cpu"]["cores"] == 2


def test_a_swap_limit_below_the_hosts_swap_counts() -> None:
    script = """meminfo_bytes() { echo 4096; }; CGROUP=$(mktemp -d)
    echo 1024 >"$CGROUP/memory.swap.max"; echo 256 >"$CGROUP/memory.swap.current"; field_swap; rm -r "$CGROUP" """
    assert field(script, "container") == {"swap": {"size_bytes": 1024, "free_bytes": 768}}


def test_network_is_interfaces_that_are_up_without_loopback_and_the_hosts_ends_of_others() -> None:
    assert field("field_network", "container") == {
        "network": [{"interface": "eth0", "received_bytes": 918273645, "sent_bytes": 55443322}]
    }
    assert [entry["interface"] for entry in field("field_network", "machine")["network"]] == ["eth0"]


def test_at_most_16_interfaces_are_sent() -> None:
    script = """PROC=$(mktemp -d); SYS=$PROC; mkdir -p "$PROC"/net "$PROC"/class/net/eth{1..20}
    for n in {1..20}; do
      echo "eth$n: 1 2 3 4 5 6 7 8 9" >>"$PROC/net/dev"; echo up >"$PROC/class/net/eth$n/operstate"
    done
    field_network; rm -r "$PROC" """
    assert len(field(script, "machine")["network"]) == 16


def test_services_and_the_last_repair_are_what_the_watcher_wrote_down() -> None:
    assert field("field_services", "server")["services"] == [
        {"name": "nginx.service", "state": "running", "restarts": 1},
        {"name": "postgresql.service", "state": "stopped", "restarts": 0},
    ]
    repair = {"time": 1787220000.5, "service": "nginx.service", "outcome": "succeeded"}
    assert field("field_last_repair", "server") == {"last_repair": repair}


def test_states_that_nobody_looked_at_for_minutes_are_unknown() -> None:
    script = "SERVICES_BELIEVED_SECONDS=10; field_services"
    assert {entry["state"] for entry in field(script, "server")["services"]} == {"unknown"}


def test_a_reboot_waits_when_the_system_says_so_or_the_running_kernels_modules_are_gone() -> None:
    assert field("field_pending_reboot", "server") == {"pending_reboot": True}
    assert field("field_pending_reboot", "machine") == {}
    gone = "MODULES=$(mktemp -d); mkdir $MODULES/9.9; {}; rm -r $MODULES"
    assert field(gone.format("field_pending_reboot"), "machine") == {"pending_reboot": True}
    # A container has no modules of its own.
    assert field(gone.format("field_pending_reboot"), "container") == {}
    assert field("NOTIFY_REBOOT=/bin/true; field_pending_reboot", "machine") == {"pending_reboot": False}


def test_a_virtual_machine_says_its_uuid_and_a_container_never_the_hosts() -> None:
    assert field("field_smbios_uuid", "server") == {"smbios_uuid": "64574daf-5cf2-450b-9466-bedf8f66e766"}
    assert field("field_smbios_uuid", "container") == {}


def test_the_agent_of_a_simulated_guest_does_not_tell_this_machines_uuid() -> None:
    assert field("field_smbios_uuid", "server", PVEWATCH_SMBIOS_UUID="") == {}


def test_swap_of_a_machine_without_swap_is_zero_and_not_missing() -> None:
    assert field("field_swap", "machine") == {"swap": {"size_bytes": 0, "free_bytes": 0}}


def test_load_and_uptime_are_read_as_they_are() -> None:
    assert field("field_load", "machine") == {"load": {"1m": 0.01, "5m": 0.08, "15m": 0.09}}
    assert field("field_uptime", "machine")["uptime_seconds"] > 0


def test_cpu_usage_is_the_share_since_the_reading_before() -> None:
    before = 'CPU_BEFORE="100 50"; cpu_counters() { echo "300 100"; }; field_cpu'
    assert field(before, "machine") == {"cpu": {"usage_ratio": 0.75, "cores": 2}}


def test_cpu_counters_count_guest_time_once_and_waiting_for_disks_as_idle() -> None:
    total = 19919 + 1 + 10306 + 594951 + 2538 + 0 + 479 + 60
    assert call("cpu_counters", tree="machine") == f"{total} {594951 + 2538}"


@pytest.mark.parametrize("after", ["100 50", "90 40", "200 40", "200 250", ""])
def test_cpu_usage_that_cannot_be_known_is_left_out(after: str) -> None:
    script = f'CPU_BEFORE="100 50"; cpu_counters() {{ echo "{after}"; }}; field_cpu'
    assert field(script, "machine") == {"cpu": {"cores": 2}}


def test_the_boot_id_of_a_machine_is_the_kernels() -> None:
    kernels = call('cat "$PROC/sys/kernel/random/boot_id"', tree="machine").strip()
    assert field("field_boot_id", "machine") == {"boot_id": kernels}


def test_a_container_has_a_boot_id_of_its_own_although_it_shares_the_hosts_kernel() -> None:
    kernels = call('cat "$PROC/sys/kernel/random/boot_id"', tree="container").strip()
    assert field("field_boot_id", "container") == {"boot_id": f"{kernels}-918273"}


def test_a_given_boot_id_wins() -> None:
    assert field("field_boot_id", "container", PVEWATCH_BOOT_ID="boot-3") == {"boot_id": "boot-3"}


def test_filesystems_are_local_ones_each_device_once() -> None:
    assert field(f"{BLOCKS}; field_filesystems", "machine")["filesystems"] == [
        {"mountpoint": "/", "type": "ext4", "size_bytes": 4096000, "available_bytes": 1024000}
    ]


def test_odd_mount_points_keep_their_name_and_networks_and_foreign_overlays_are_not_asked() -> None:
    found = field(f"{BLOCKS}; field_filesystems", "container")["filesystems"]
    assert [(entry["mountpoint"], entry["type"]) for entry in found] == [
        ("/", "ext4"),
        ("/srv/two words\\and\ttab", "xfs"),
    ]


def test_a_filesystem_that_does_not_answer_is_left_out() -> None:
    assert field("filesystem_blocks() { return 124; }; field_filesystems", "container") == {"filesystems": []}


def test_at_most_32_filesystems_are_sent() -> None:
    script = f"""{BLOCKS}
    PROC=$(mktemp -d)
    for n in {{1..50}}; do echo "/dev/sd$n /mnt/$n ext4 rw 0 0"; done >"$PROC/mounts"
    field_filesystems
    rm -r "$PROC" """
    assert len(field(script, "machine")["filesystems"]) == 32


def test_the_operating_system_is_read_with_and_without_quotes() -> None:
    assert field("field_os", "machine") == {"os": {"name": "Debian GNU/Linux", "version": "12"}}
    assert field("field_os", "container") == {"os": {"name": "Alpine Linux", "version": "3.20.1"}}


@pytest.mark.parametrize("tree", ["garbage", "not-there"])
@pytest.mark.parametrize(
    "name",
    ["boot_id", "uptime", "cpu", "load", "memory", "swap", "last_repair", "pending_reboot", "os", "smbios_uuid"],
)
def test_what_cannot_be_read_is_left_out_without_a_word(name: str, tree: str) -> None:
    assert call(f"field_{name} || true", tree=tree) == ""


def test_the_whole_message_stays_json_when_nothing_can_be_read() -> None:
    message = json.loads(call("INTERVAL=60; payload", tree="garbage"))
    always = {"schema", "agent", "sequence", "missed", "time", "interval_seconds"}
    assert set(message) == always | {"filesystems", "network", "services"}
    assert message["network"] == message["services"] == []


@pytest.mark.parametrize("tree", ["machine", "server", "container", "container-v1"])
def test_the_message_from_a_recorded_tree_is_a_heartbeat(tree: str) -> None:
    heartbeat = parse(call(f"{BLOCKS}; INTERVAL=60 SEQUENCE=3 MISSED=1; payload", tree=tree).encode())
    assert (heartbeat.sequence, heartbeat.missed, heartbeat.interval_seconds) == (3, 1, 60)
    assert heartbeat.memory
    assert heartbeat.filesystems


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_any_text_survives_as_a_json_string(text: str) -> None:
    assert json.loads(call('json_string "$1"', text)) == text


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=12).filter(lambda data: b"\0" not in data))
def test_any_bytes_become_a_json_string_that_is_utf_8(data: bytes) -> None:
    """What is UTF-8 is kept; of anything else each byte above 127 becomes a question mark."""
    try:
        expected = data.decode()
    except UnicodeDecodeError:
        expected = "".join(chr(byte) if byte < 128 else "?" for byte in data)
    assert json.loads(call('json_string "$1"', data)) == expected


@pytest.mark.parametrize("text", ["", "-1", "1e5", "NaN", "01", ".5", "5.", "0x10", "1 2", "1\n2", "9" * 30])
def test_what_is_not_a_plain_number_is_never_sent_as_one(text: str) -> None:
    assert call('json_number figure "$1"', text) == ""
