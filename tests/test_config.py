"""What an administrator sees of the configuration: defaults, places of mistakes, and no secret anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pvewatch.config import ConfigError, HostPort, Settings, internal_secret, load_settings
from pvewatch.config_problems import problems_of

GOOD = """
clusters:
  - name: home
    hosts: [pve1.lan, "10.0.0.2:8007"]
    fingerprint: "{fingerprint}"
    monitor: {{token_id: "pvewatch@pve!monitor", token_secret_file: secrets/monitor}}
"""
FINGERPRINT = ":".join(["AB"] * 32)


def write(folder: Path, text: str) -> Path:
    path = folder / "pvewatch.yaml"
    path.write_text(text)
    return path


def problems(folder: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(folder, text), env or {})
    return [str(problem) for problem in caught.value.problems]


def test_a_small_file_is_enough_and_the_rest_has_defaults(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD.format(fingerprint=FINGERPRINT)), {})

    assert [str(host) for host in settings.clusters[0].hosts] == ["pve1.lan:8006", "10.0.0.2:8007"]
    assert settings.exporter.listen == "127.0.0.1:9221"
    assert settings.prometheus.retention == "90d"
    assert settings.action_api.require_second_factor


def test_relative_paths_are_those_of_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, GOOD.format(fingerprint=FINGERPRINT))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    settings = load_settings(path, {})

    assert settings.clusters[0].monitor is not None
    assert settings.clusters[0].monitor.token_secret_file == tmp_path / "secrets" / "monitor"
    assert settings.data_dir == tmp_path / "data"


def test_all_mistakes_are_reported_at_once_each_with_place_and_remedy(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
clusters:
  - name: Home Lab
    hosts: ["https://pve1/"]
    fingerprint: "12:34"
    monitor: {token_id: monitor, token_secret_file: a}
exporter: {listen: everywhere, pol_interval_seconds: 3}
prometheus: {retention: long}
""",
    )

    text = "\n".join(found)
    for place in (
        "clusters[0].name",
        "clusters[0].hosts[0]",
        "clusters[0].fingerprint",
        "clusters[0].monitor.token_id",
        "exporter.listen",
        "exporter.pol_interval_seconds",
        "prometheus.retention",
    ):
        assert place in text
    assert len(found) == 7
    assert all("Remedy: " in line for line in found)


def test_a_secret_written_into_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
clusters:
  - name: home
    hosts: [pve1]
    monitor: {token_id: "a@pve!b", token_secret: 3f1c0e2a-hidden}
""",
    )

    assert "token_secret" in "\n".join(found)
    assert "hidden" not in "\n".join(found)


def test_broken_yaml_names_file_and_line(tmp_path: Path) -> None:
    assert "pvewatch.yaml:3" in problems(tmp_path, "clusters:\n  - name: a\n   hosts: [b\n")[0]


def test_two_clusters_of_one_name_are_refused(tmp_path: Path) -> None:
    text = "clusters:\n  - {name: a, hosts: [x]}\n  - {name: a, hosts: [y]}\n"
    assert "used twice" in problems(tmp_path, text)[0]


def test_a_missing_file_names_itself(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml.*cannot be read"):
        load_settings(tmp_path / "nowhere.yaml", {})


def test_nothing_configured_says_what_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="PROXMOX_NODE_1_NAME"):
        load_settings(None, {})


def environment(number: int, name: str) -> dict[str, str]:
    prefix = f"PROXMOX_NODE_{number}_"
    return {
        f"{prefix}NAME": name,
        f"{prefix}HOST": f"{name}.lan",
        f"{prefix}TOKEN_ID": "pvewatch@pve!monitor",
        f"{prefix}TOKEN_SECRET": f"secret-of-{name}",
    }


def test_the_environment_alone_describes_any_number_of_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = environment(2, "pve2") | environment(1, "pve1") | environment(11, "pve11")
    env |= {"PROXMOX_NODE_1_POWER_TOKEN_ID": "pvewatch@pve!power", "PROXMOX_NODE_1_POWER_TOKEN_SECRET": "hush"}

    settings = load_settings(None, env)

    assert [cluster.name for cluster in settings.clusters] == ["pve1", "pve2", "pve11"]
    assert settings.clusters[0].power is not None
    assert settings.clusters[0].power.secret.resolve(env).reveal() == "hush"
    assert all(cluster.from_environment for cluster in settings.clusters)
    assert "secret-of" not in repr(settings)


def test_half_a_token_in_the_environment_names_the_missing_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = environment(1, "pve1")
    del env["PROXMOX_NODE_1_TOKEN_SECRET"]
    env["PROXMOX_NODE_1_TOKEN"] = "x"

    with pytest.raises(ConfigError) as caught:
        load_settings(None, env)

    text = str(caught.value)
    assert "PROXMOX_NODE_1_TOKEN_SECRET: is missing" in text
    assert "PROXMOX_NODE_1_TOKEN: is not known" in text


def test_any_single_setting_can_be_overridden_by_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.format(fingerprint=FINGERPRINT) + "exporter: {poll_interval_seconds: 20}\n")
    env = {
        "PVEWATCH_EXPORTER_LISTEN": "0.0.0.0:1234",
        "PVEWATCH_ACTION_API_REQUIRE_SECOND_FACTOR": "false",
        "PVEWATCH_AUTOMATION_GUESTS": "home/101, home/102",
        "PVEWATCH_DATA_DIR": "/var/lib/pvewatch",
    }

    settings = load_settings(path, env)

    assert settings.exporter.listen == "0.0.0.0:1234"
    assert settings.exporter_url == "http://127.0.0.1:1234"
    assert settings.exporter.poll_interval_seconds == 20
    assert not settings.action_api.require_second_factor
    assert settings.automation.guests == ("home/101", "home/102")
    assert settings.data_dir == Path("/var/lib/pvewatch")


def test_a_misspelt_override_is_refused_rather_than_ignored(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.format(fingerprint=FINGERPRINT), {"PVEWATCH_EXPORTER_LISTN": "x"})
    assert "PVEWATCH_EXPORTER_LISTN" in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pve1", "pve1:8006"),
        ("pve1:443", "pve1:443"),
        ("10.0.0.1", "10.0.0.1:8006"),
        ("2001:db8::1", "[2001:db8::1]:8006"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443"),
    ],
)
def test_hosts_may_be_names_and_addresses_with_and_without_port(text: str, expected: str) -> None:
    assert str(HostPort.parse(text)) == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda s: (
            st.lists(s) | st.dictionaries(st.sampled_from(["clusters", "name", "hosts", "exporter", "listen", "x"]), s)
        ),
        max_leaves=8,
    )
)
def test_no_document_escapes_as_anything_but_settings_or_problems(document: object) -> None:
    try:
        Settings.model_validate(document)
    except ValidationError as error:
        found = problems_of(error, "x")
    else:
        return
    assert all(problem.remedy for problem in found)
    assert found


def test_a_secret_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD.format(fingerprint=FINGERPRINT)), {})
    (tmp_path / "secrets").mkdir()
    secret = tmp_path / "secrets" / "monitor"
    secret.write_text("abc\n")
    secret.chmod(0o644)
    assert settings.clusters[0].monitor is not None

    with pytest.raises(ConfigError, match="chmod 600"):
        settings.clusters[0].monitor.secret.resolve()

    secret.chmod(0o600)
    assert settings.clusters[0].monitor.secret.resolve().reveal() == "abc"
    assert "abc" not in repr(settings.clusters[0].monitor.secret.resolve())


def test_a_data_directory_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    settings = Settings(data_dir=tmp_path / "data")
    with pytest.raises(ConfigError) as caught:
        internal_secret(settings, "webhook", create=True)
    (problem,) = caught.value.problems
    assert problem.place == str(tmp_path / "data" / "secrets" / "webhook")
    assert problem.message == "cannot be made: Not a directory"
    assert "data_dir" in problem.remedy


def test_an_internal_secret_is_made_once_for_the_owner_only(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD.format(fingerprint=FINGERPRINT)), {})
    with pytest.raises(ConfigError, match="is missing"):
        internal_secret(settings, "webhook")

    made = internal_secret(settings, "webhook", create=True).reveal()

    assert internal_secret(settings, "webhook", create=True).reveal() == made
    assert len(made) == 43
    assert (tmp_path / "data" / "secrets" / "webhook").stat().st_mode & 0o777 == 0o600
