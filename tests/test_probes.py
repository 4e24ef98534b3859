"""What guests may ask to be probed: how it is written, and that nobody gets further than allowed."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvewatch.config import Settings
from pvewatch.probes import (
    MOST_CHARACTERS,
    MOST_PER_GUEST,
    NotGranted,
    Probe,
    grant,
    granted,
    in_notes,
    in_tags,
    parse,
)
from pvewatch.settings_probes import ProbesSettings

USUAL = ProbesSettings()
OWN = ("fe80::1", "2001:db8::7", "192.0.2.7", "127.0.0.1", "169.254.169.254")


def target(request: str, own: tuple[str, ...] = OWN, settings: ProbesSettings = USUAL) -> tuple[str, str]:
    found = grant(request, own, settings)
    return found.module, found.target


@pytest.mark.parametrize(
    ("request_", "module", "to"),
    [
        ("icmp", "icmp", "192.0.2.7"),
        ("tcp:22", "tcp", "192.0.2.7:22"),
        ("http", "http", "http://192.0.2.7/"),
        ("http:8080/health?full=1", "http", "http://192.0.2.7:8080/health?full=1"),
        ("https:8443", "http_unverified", "https://192.0.2.7:8443/"),
        ("https://192.0.2.7:8443/x", "http_unverified", "https://192.0.2.7:8443/x"),
        ("tcp://[2001:db8::7]:22", "tcp", "[2001:db8::7]:22"),
        ("icmp://2001:db8::7".replace("2001:db8::7", "[2001:db8::7]"), "icmp", "2001:db8::7"),
    ],
)
def test_a_request_is_turned_to_the_guests_own_address(request_: str, module: str, to: str) -> None:
    assert target(request_) == (module, to)


def test_tags_ask_in_the_form_of_the_notes() -> None:
    tags = ("web", "probe-http", "probe-https-8443", "probe-icmp", "probe-tcp-22", "probe-udp-53", "probe-tcp-22-23")
    assert in_tags(tags) == ("http", "https:8443", "icmp", "tcp:22")


def test_notes_may_be_markdown() -> None:
    notes = "# Shop\n\n* `pvewatch-probe: https:8443/health`\npvewatch-probe: icmp\r\nsee pvewatch-probe: tcp:1\n"
    assert in_notes(notes) == ("https:8443/health", "icmp")


@pytest.mark.parametrize(
    "request_",
    [
        "http://192.0.2.8/",
        "http://localhost:9090/",
        "http://127.0.0.1:9093/",
        "http://169.254.169.254/latest/meta-data/",
        "http://user@192.0.2.7/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/",
        "tcp://prometheus:9090",
        "tcp://[fe80::1]:22",
        "http://192.0.2.7@evil.example/",
    ],
)
def test_another_host_is_refused(request_: str) -> None:
    with pytest.raises(NotGranted):
        grant(request_, OWN, USUAL)


@pytest.mark.parametrize(
    "request_", ["ftp", "tcp", "tcp:0", "http:99999", "icmp:7", "icmp/x", "http://", "http:80 x", ""]
)
def test_what_is_not_understood_is_refused_with_a_reason(request_: str) -> None:
    with pytest.raises(NotGranted, match=r"\w"):
        parse(request_)


def test_the_settings_may_permit_other_hosts() -> None:
    permitted = ProbesSettings(other_hosts=("www.example.com", "127.0.0.0/8"))
    assert target("https://www.example.com/x", (), permitted) == ("http", "https://www.example.com/x")
    assert target("http://127.0.0.1:8080", (), permitted) == ("http", "http://127.0.0.1:8080/")
    with pytest.raises(NotGranted, match=r"probes\.other_hosts"):
        grant("http://mail.example.com/", (), permitted)


def test_only_addresses_in_the_chosen_networks_are_probed() -> None:
    here = ProbesSettings(networks=("198.51.100.0/24",))
    assert target("icmp", ("172.17.0.1", "198.51.100.4"), here) == ("icmp", "198.51.100.4")
    with pytest.raises(NotGranted, match="no address"):
        grant("icmp", ("172.17.0.1",), here)
    with pytest.raises(NotGranted):
        grant("tcp://172.17.0.1:22", ("172.17.0.1",), here)


def test_a_guest_is_given_so_many_probes_and_told_of_the_rest() -> None:
    found = granted([f"tcp:{port}" for port in range(1, 20)], OWN, USUAL)
    assert [isinstance(one, Probe) for one in found] == [True] * MOST_PER_GUEST + [False]


@pytest.mark.parametrize("wrong", ["300.0.0.0/8", "192.0.2.1/24", "Example.com", "a b", "10.0.0.999"])
def test_a_wrong_network_or_host_in_the_settings_is_a_mistake(wrong: str) -> None:
    with pytest.raises(ValueError, match="network"):
        Settings.model_validate({"probes": {"other_hosts": [wrong]}})


addresses = st.lists(st.ip_addresses().map(str) | st.text(max_size=20), max_size=8)
schemes = st.sampled_from(["icmp", "tcp", "http", "https"])
hosts = st.ip_addresses().map(lambda a: f"[{a}]" if a.version == 6 else str(a)) | st.text(max_size=15)
written = st.builds(lambda s, h, p, t: f"{s}://{h}:{p}{t}", schemes, hosts, st.integers(0, 70000), st.text(max_size=9))
own_forms = st.builds(
    lambda s, p, t: f"{s}:{p}{t}", schemes, st.integers(0, 70000), st.sampled_from(["", "/", "/a?b=c"])
)


@given(written | own_forms | st.text(max_size=40), addresses)
def test_whatever_is_written_only_an_own_ordinary_address_is_ever_probed(request_: str, own: list[str]) -> None:
    try:
        found = grant(request_, own, USUAL)
    except NotGranted:
        return
    to = (
        found.target
        if found.module == "icmp"
        else urlsplit(found.target if "//" in found.target else f"//{found.target}").hostname
    )
    address = ipaddress.ip_address(to or "")
    assert address in {ipaddress.ip_address(a) for a in own if _is_address(a)}
    special = (address.is_loopback, address.is_link_local, address.is_multicast, address.is_unspecified)
    assert not any(special)


@given(st.text(), st.lists(own_forms, max_size=20))
def test_reading_notes_is_bounded(before: str, asked: list[str]) -> None:
    notes = before + "".join(f"\npvewatch-probe: {request}" for request in asked)
    found = in_notes(notes)
    assert len(found) <= MOST_PER_GUEST + 1
    assert all(len(request) <= MOST_CHARACTERS + 1 for request in found)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
