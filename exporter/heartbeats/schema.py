"""The wire format of a heartbeat: what an agent inside a guest says about it.

This is the one source: `make docs` writes `agents/heartbeat.schema.json` from it.

Fields that a newer agent adds are ignored, so that agents may be newer than the exporter. A field of the wrong type is
refused and named. A figure that an agent could not read is left out; it is never sent as 0. Every string, list and
number is bounded: the sender is a guest, and a guest may be broken into.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_FILESYSTEMS = 32
MAX_INTERFACES = 16
MAX_SERVICES = 32
MAX_PROBLEMS = 8

# 2^53 - 1: the largest whole number that every JSON reader, and a Prometheus sample, holds exactly.
Count = Annotated[int, Field(ge=0, le=9_007_199_254_740_991)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Load = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
# Up to the end of the year 9999; a clock may be wrong, and how wrong is a figure of its own.
UnixSeconds = Annotated[float, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
ShortText = Annotated[str, Field(min_length=1, max_length=64)]
PathText = Annotated[str, Field(min_length=1, max_length=255)]
UUID_PATTERN = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"

Platform = Literal["linux", "windows"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Agent(_Part):
    """The program that speaks."""

    version: ShortText
    platform: Platform


class Cpu(_Part):
    """All cores together; `usage_ratio` is the share in use since the heartbeat before."""

    usage_ratio: Ratio | None = None
    cores: Annotated[int, Field(ge=1, le=65_536)] | None = None


class LoadAverage(_Part):
    """Runnable and waiting tasks, averaged over 1, 5 and 15 minutes. Windows has none."""

    one: Load | None = Field(default=None, alias="1m")
    five: Load | None = Field(default=None, alias="5m")
    fifteen: Load | None = Field(default=None, alias="15m")


class Memory(_Part):
    """`available_bytes` is what programs could still get; the page cache counts as available."""

    size_bytes: Count
    available_bytes: Count


class Swap(_Part):
    """Swap space; `size_bytes` is 0 where there is none."""

    size_bytes: Count
    free_bytes: Count


class Filesystem(_Part):
    """A mounted local filesystem; `available_bytes` is what an ordinary user may still write."""

    mountpoint: PathText
    type: ShortText
    size_bytes: Count
    available_bytes: Count


class Interface(_Part):
    """A network interface that is up, without loopback; the counters begin at 0 at each boot."""

    interface: PathText
    received_bytes: Count
    sent_bytes: Count


ServiceState = Literal["running", "starting", "stopping", "stopped", "failed", "missing", "unknown"]


class Service(_Part):
    """A service that the agent was told to watch.

    `missing`: the system has no service of that name. `restarts` counts the agent's own restarts of it since the agent
    was installed or the guest booted, whichever the agent can remember.
    """

    name: PathText
    state: ServiceState
    restarts: Count = 0


class Repair(_Part):
    """The last time that the agent restarted a service.

    `succeeded`: it ran afterwards. `failed`: it did not. `given_up`: the limit of restarts is used up.
    """

    time: Annotated[UnixSeconds, Field(description="The guest's clock, unix seconds.")]
    service: PathText
    outcome: Literal["succeeded", "failed", "given_up"]


class OperatingSystem(_Part):
    """NAME and VERSION_ID of os-release(5), or what Windows calls itself."""

    name: ShortText
    version: ShortText | None = None


class Heartbeat(_Part):
    """One message of an agent. It does not say which guest it is from: the token does."""

    # The wire name is `schema`, which BaseModel has a method of.
    schema_version: Annotated[
        # Not Literal[1]: true would pass as that.
        int, Field(ge=1, le=1, alias="schema", description="Raised only when an old reader would misread it.")
    ]
    agent: Agent
    boot_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z._:-]{1,64}$", description="Another one after each boot.")]
    sequence: Annotated[Count, Field(description="1 for the first message of an agent process, then one more each.")]
    missed: Annotated[
        Count, Field(description="How many messages in a row could not be delivered before this one.")
    ] = 0
    time: Annotated[
        UnixSeconds, Field(description="The guest's clock, unix seconds. Never used as the time of arrival.")
    ]
    uptime_seconds: Seconds
    interval_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=86_400,
            allow_inf_nan=False,
            description="Seconds from one message to the next. More than 60 brings alerts about guests that are well.",
        ),
    ]
    cpu: Cpu | None = None
    load: LoadAverage | None = None
    memory: Memory | None = None
    swap: Swap | None = None
    filesystems: Annotated[list[Filesystem], Field(max_length=MAX_FILESYSTEMS)] = []
    network: Annotated[list[Interface], Field(max_length=MAX_INTERFACES)] = []
    services: Annotated[list[Service], Field(max_length=MAX_SERVICES)] = []
    last_repair: Repair | None = None
    pending_reboot: Annotated[
        bool | None, Field(description="Whether the system says that it waits for a restart; left out if unknown.")
    ] = None
    os: OperatingSystem | None = None
    smbios_uuid: Annotated[
        str | None,
        Field(
            pattern=UUID_PATTERN,
            description="The machine's UUID as its firmware tells; virtual machines only. Must fit Proxmox VE's.",
        ),
    ] = None


class InvalidHeartbeat(Exception):
    """The body is not a heartbeat. `problems` are (field, what is wrong) and never repeat what was sent."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        field, problem = problems[0]
        super().__init__(f"{field}: {problem}")
        self.problems = problems


def parse(body: bytes) -> Heartbeat:
    """Read a heartbeat from JSON. Raises InvalidHeartbeat naming at most MAX_PROBLEMS fields."""
    try:
        return Heartbeat.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_PROBLEMS]
        raise InvalidHeartbeat([(_field(item["loc"]), item["msg"][:200]) for item in found]) from None


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(body)"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the wire format."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Heartbeat.model_json_schema(by_alias=True)


def json_schema_text() -> str:
    """What agents/heartbeat.schema.json has to hold."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
