"""The script that brings the agent and a guest's token into the guest, to be piped into a root shell there.

    pvewatch agents install-command lab 101 --platform linux | ssh root@web bash

Everything is in the script: a guest often reaches nothing but the heartbeat listener, where nothing else answers. The
token travels on standard input and in a file that only root reads, never as an argument that other users see.
"""

from __future__ import annotations

import base64
import io
import re
import shlex
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from pvewatch.bundle import bundle_path
from pvewatch.config import ConfigError, Problem, Settings
from pvewatch.enrolment import Platform

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LINE = 120

_LINUX = """\
#!/bin/bash
# Installs the pvewatch agent of {guest}. Run it as root in that guest. It holds the guest's token: do not keep it.
set -euo pipefail
umask 077
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
base64 -d <<'END' | tar -xz -C "$folder"
{archive}
END
cat >"$folder/agent.token" <<'END'
{token}
END
{ca}\
# By bash, as /tmp may forbid programs; without standard input, which is this script where it comes through ssh.
bash "$folder/pvewatch-agent" install --url {url} --token-file "$folder/agent.token"{options} </dev/null
"""

_WINDOWS = """\
# Installs the pvewatch agent of {guest}. Run it in an elevated PowerShell of that guest. It holds the guest's token:
# do not keep it.
$ErrorActionPreference = 'Stop'
$folder = Join-Path ([IO.Path]::GetTempPath()) ([IO.Path]::GetRandomFileName())
New-Item -ItemType Directory -Path $folder | Out-Null
try {{
    $archive = Join-Path $folder 'agent.zip'
    [IO.File]::WriteAllBytes($archive, [Convert]::FromBase64String(@'
{archive}
'@))
    Expand-Archive -Path $archive -DestinationPath $folder
    [IO.File]::WriteAllText((Join-Path $folder 'agent.token'), '{token}')
{ca}\
    # Windows runs no script file otherwise. For this window alone. Where a group policy sets another this throws,
    # though that one may allow scripts as well; where it does not, running the next one says so.
    try {{ Set-ExecutionPolicy -Scope Process -ExecutionPolicy Bypass -Force }} catch {{ }}
    & (Join-Path $folder '{installer}') -Url {url} -TokenFile (Join-Path $folder 'agent.token'){options}
}} finally {{
    Remove-Item -Recurse -Force -Path $folder
}}
"""
WINDOWS_INSTALLER = "Install-PvewatchAgent.ps1"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


class InstallerMissing(Exception):
    """This installation has no agent for that platform."""


def agents_url(settings: Settings, given: str | None = None) -> str:
    """Where guests reach the heartbeat listener: `given`, else what the configuration says.

    Raises ConfigError for an address that no guest can reach, or one without TLS.
    """
    url = given or settings.heartbeat_url
    parts = urlsplit(url)
    place = "--url" if given else "exporter.heartbeat_url"
    if parts.hostname in (*_LOOPBACK, "0.0.0.0", "::"):  # noqa: S104 - compared with, not listened on
        remedy = "set it to the https address by which guests reach this machine, or give --url"
        raise ConfigError([Problem(place, f"{url} is an address of this machine only", remedy)])
    if parts.scheme != "https":
        remedy = "set exporter.heartbeat_tls_cert and heartbeat_tls_key, or let a proxy in front speak https"
        raise ConfigError([Problem(place, f"{url} would carry the tokens unencrypted", remedy)])
    return url


def trusted_authority(settings: Settings) -> str | None:
    """What agents shall trust (`exporter.heartbeat_ca_file`), PEM; None where guests know the authority anyway.

    Raises ConfigError when the file cannot be read.
    """
    file = settings.exporter.heartbeat_ca_file
    return None if file is None else read_authority(file)


def read_authority(file: Path) -> str:
    """The certificates in a PEM file, and nothing else: a private key beside them stays where it is.

    Raises ConfigError when it cannot be read or holds none.
    """
    remedy = "give a PEM file with the certificate of the authority, or the listener's own if it is self-signed"
    try:
        found = _CERTIFICATE.findall(file.read_text(encoding="ascii"))
    except (OSError, UnicodeError) as error:
        raise ConfigError([Problem(str(file), f"cannot be read: {error}", remedy)]) from error
    if not found:
        raise ConfigError([Problem(str(file), "holds no certificate", remedy)])
    return "\n".join(found)


def cloud_init(script: str) -> str:
    """The Linux script as cloud-config (user or vendor data), run once at the guest's first boot.

    https://cloudinit.readthedocs.io/en/latest/reference/modules.html: write_files comes before runcmd; `b64` keeps
    every byte.
    """
    place = "/run/pvewatch-install"
    document = {
        "write_files": [
            {
                "path": place,
                "owner": "root:root",
                "permissions": "0600",
                "encoding": "b64",
                "content": base64.b64encode(script.encode()).decode(),
            }
        ],
        "runcmd": [f"bash {place}; rm -f {place}"],
    }
    return "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False)


def install_script(platform: Platform, guest: str, token: str, url: str, *, authority: str | None = None) -> str:
    """The script for one guest. `guest` is `cluster/vmid`; `authority` a certificate (PEM) that the agent shall trust.

    Raises InstallerMissing when this installation has no agent for that platform.
    """
    try:
        folder = bundle_path(f"agents/{platform}")
    except FileNotFoundError as error:
        raise InstallerMissing(f"this installation of pvewatch has no agent for {platform}") from error
    if platform == "linux":
        return _LINUX.format(
            guest=guest,
            archive=_lines(_tar(folder)),
            token=token,
            url=shlex.quote(url),
            ca=f"cat >\"$folder/ca.pem\" <<'END'\n{authority.strip()}\nEND\n" if authority else "",
            options=' --ca-file "$folder/ca.pem"' if authority else "",
        )
    written = "    [IO.File]::WriteAllText((Join-Path $folder 'ca.pem'), @'\n{}\n'@)\n"
    return _WINDOWS.format(
        guest=guest,
        archive=_lines(_zip(folder)),
        token=token,
        url="'" + url.replace("'", "''") + "'",
        installer=WINDOWS_INSTALLER,
        ca=written.format(authority.strip()) if authority else "",
        options=" -CaFile (Join-Path $folder 'ca.pem')" if authority else "",
    )


def _files(folder: Path) -> Iterator[Path]:
    """What an installer needs: everything but the documentation and samples."""
    yield from sorted(file for file in folder.iterdir() if file.is_file() and file.suffix not in (".md", ".json"))


def _tar(folder: Path) -> bytes:
    packed = io.BytesIO()
    # The same bytes each time: no names of this machine's users, no times.
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        for file in _files(folder):
            entry = tarfile.TarInfo(file.name)
            entry.size = file.stat().st_size
            entry.mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            with file.open("rb") as content:
                archive.addfile(entry, content)
    return packed.getvalue()


def _zip(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in _files(folder):
            archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _lines(packed: bytes) -> str:
    text = base64.b64encode(packed).decode()
    return "\n".join(text[start : start + _LINE] for start in range(0, len(text), _LINE))
