from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.heartbeats.tokens import TokenRefused, token, verify
from pvewatch.secrets import Secret

SECRET = Secret("a-secret-of-43-characters-like-the-real-one")
CLUSTERS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)
VMIDS = st.integers(100, 999_999_999)


def test_a_token_is_made_as_documented() -> None:
    signature = hmac.new(SECRET.reveal().encode(), b"v1.home.101", hashlib.sha256).hexdigest()
    assert token(SECRET, "home", 101) == f"v1.home.101.{signature}"


@given(CLUSTERS, VMIDS)
def test_a_token_speaks_for_the_guest_it_was_made_for(cluster: str, vmid: int) -> None:
    assert verify(SECRET, token(SECRET, cluster, vmid)) == (cluster, vmid)


@given(CLUSTERS, VMIDS, CLUSTERS, VMIDS)
def test_a_token_cannot_be_turned_into_another_guests(cluster: str, vmid: int, other: str, number: int) -> None:
    signature = token(SECRET, cluster, vmid).rpartition(".")[2]
    forged = f"v1.{other}.{number}.{signature}"
    if (cluster, vmid) == (other, number):
        assert verify(SECRET, forged) == (cluster, vmid)
    else:
        with pytest.raises(TokenRefused):
            verify(SECRET, forged)


def test_a_token_of_another_secret_is_refused() -> None:
    with pytest.raises(TokenRefused):
        verify(SECRET, token(Secret("another"), "home", 101))


@given(st.text(max_size=120), st.integers(0, 90))
def test_a_changed_token_is_refused(inserted: str, place: int) -> None:
    genuine = token(SECRET, "home", 101)
    changed = genuine[:place] + inserted + genuine[place + len(inserted) :]
    if changed == genuine:
        return
    with pytest.raises(TokenRefused) as caught:
        verify(SECRET, changed)
    assert not str(caught.value)


@pytest.mark.parametrize(("cluster", "vmid"), [("a.b", 101), ("Home", 101), ("", 101), ("home", 99), ("home", 10**9)])
def test_a_guest_that_cannot_exist_gets_no_token(cluster: str, vmid: int) -> None:
    with pytest.raises(ValueError, match="is not a"):
        token(SECRET, cluster, vmid)
