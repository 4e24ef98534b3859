"""`pvewatch init`: a few questions, or their answers as options; then pvewatch.yaml, secret files, and `check`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from pvewatch.access.certificate import NoCertificate, shown_fingerprint
from pvewatch.access.files import CannotWrite, with_cluster, write_files
from pvewatch.config import DEFAULT_CONFIG_FILE, Cluster, HostPort, TokenRef, load_settings
from pvewatch.pve.check import check_all
from pvewatch.pve.check_report import print_report
from pvewatch.pve.client import PveClient
from pvewatch.pve.errors import AuthFailed, PveError
from pvewatch.settings import check_fingerprint

ASK_SECONDS = 15.0
TRIAL_VARIABLE = "PVEWATCH_INIT_TOKEN_SECRET"
MAX_SECRET_BYTES = 4096
HOW_TO_COMPARE = "On the host: openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem"


def _host(_context: click.Context, _parameter: click.Parameter, value: str | None) -> HostPort | None:
    try:
        return None if value is None else HostPort.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _fingerprint(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else check_fingerprint(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option("--host", callback=_host, metavar="HOST[:PORT]", help="A Proxmox VE host; asked for if not given.")
@click.option("--name", help="What the cluster is to be called here; asked for if not given.")
@click.option("--token-id", metavar="USER@REALM!NAME", help="The read-only token; asked for if not given.")
@click.option("--token-secret-file", type=click.File(), help="Its secret in a file, - for standard input; else asked.")
@click.option("--token-secret-env", metavar="VARIABLE", help="Or the environment variable that holds it now.")
@click.option("--power-token-id", metavar="USER@REALM!NAME", help="The token that may start, shut down and reset.")
@click.option("--power-token-secret-file", type=click.File(), help="Its secret in a file.")
@click.option("--fingerprint", callback=_fingerprint, help="What the host's certificate must have; not asked then.")
@click.option("--accept-fingerprint", is_flag=True, help="Pin whatever certificate the host shows now, unseen.")
@click.option("--overwrite", is_flag=True, help="Do not ask before a secret file is replaced; the old one is kept.")
@click.pass_obj
def init(source: Any, /, **given: Any) -> None:
    """Ask for host and token, pin the certificate, write pvewatch.yaml and the secret files, and check them."""
    path: Path = source.path or DEFAULT_CONFIG_FILE
    text, names = _present(path)
    host: HostPort = given["host"] or HostPort.parse(click.prompt("Proxmox VE host", value_proc=_valid_host))
    fingerprint = _trusted(host, given["fingerprint"], accept=given["accept_fingerprint"])
    token_id, secret = _token("monitor", "Read-only token", given, "pvewatch-monitor@pve!main")
    name = _name(given["name"], _ask_host(host, fingerprint, token_id, secret), names, path)
    entry: dict[str, Any] = {"name": name, "hosts": [str(host)], "fingerprint": fingerprint}
    tokens = {"monitor": (token_id, secret)}
    if given["power_token_id"] is not None or given["power_token_secret_file"] is not None:
        # Not asked for: watching needs none, and the worker's token may well live on another machine.
        tokens["power"] = _token("power", "Power token", given, "pvewatch-power@pve!main")
    files: dict[Path, str] = {}
    for kind, (token_id, secret) in tokens.items():
        target = path.parent / "secrets" / f"{name}-{kind}"
        entry[kind] = {"token_id": token_id, "token_secret_file": f"secrets/{name}-{kind}"}
        files[target] = secret + "\n"
        if target.exists() and not given["overwrite"]:
            click.confirm(f"{target} is there already. Replace it (the old one is kept)?", abort=True)
    try:
        # The configuration comes last, so that it never names a secret that is not there.
        written = write_files(files | {path: with_cluster(text, entry, path)})
    except CannotWrite as error:
        raise click.ClickException(f"{error}\nNothing was changed.") from error
    for target, backup in written.items():
        click.echo(f"wrote {target}" + (f"; what was there is {backup}" if backup else ""))
    click.echo()
    report = check_all(load_settings(path))
    print_report(report)
    click.echo(_what_next(path, has_power="power" in tokens))
    sys.exit(report.exit_code)


def _present(path: Path) -> tuple[str, list[str]]:
    """The configuration that is there already, and its clusters' names."""
    if not path.exists():
        return "", []
    try:
        text = path.read_text(encoding="utf-8")
        document = yaml.safe_load(text) or {}
        names = [cluster["name"] for cluster in document.get("clusters") or []]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise click.ClickException(
            f"{path} is there and cannot be read; mend it first (pvewatch check says where)"
        ) from error
    if names:
        click.echo(f"{path} has {', '.join(names)}; a cluster is added, the rest stays as it is.")
    return text, names


def _valid_host(text: str) -> str:
    try:
        HostPort.parse(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from error  # click asks again
    return text


def _trusted(host: HostPort, expected: str | None, *, accept: bool) -> str:
    try:
        shown = shown_fingerprint(host)
    except NoCertificate as error:
        raise click.ClickException(f"{error} Nothing was written.") from error
    if expected is not None:
        if shown != expected:
            raise click.ClickException(
                f"{host} shows the certificate {shown}, not {expected}: another host, or somebody in between. "
                f"{HOW_TO_COMPARE}. Nothing was written."
            )
        return shown
    click.echo(f"{host} shows a certificate with the SHA-256 fingerprint\n  {shown}\n{HOW_TO_COMPARE}")
    click.echo("(with /etc/pve/local/pveproxy-ssl.pem where that file exists)")
    if not accept:
        click.confirm("Is it the same there?", abort=True)
    return shown


def _token(kind: str, words: str, given: dict[str, Any], default: str) -> tuple[str, str]:
    prefix = "" if kind == "monitor" else f"{kind}_"
    token_id = given[f"{prefix}token_id"] or click.prompt(words, default=default)
    variable = given.get(f"{prefix}token_secret_env")
    if given[f"{prefix}token_secret_file"] is not None:
        secret = given[f"{prefix}token_secret_file"].read(MAX_SECRET_BYTES)
    elif variable is not None:
        secret = os.environ.get(variable, "")
    else:
        secret = click.prompt(f"Secret of {token_id}", hide_input=True)
    secret = secret.strip()
    if not re.fullmatch(r"[\x21-\x7e]+", secret):
        raise click.ClickException(f"the secret of {token_id} is empty or not one line of text; nothing was written")
    try:
        TokenRef(token_id=token_id, token_secret_env=TRIAL_VARIABLE)
    except ValueError as error:
        raise click.ClickException(f"{token_id!r} is not a token id such as {default}; nothing was written") from error
    return token_id, secret


def _ask_host(host: HostPort, fingerprint: str, token_id: str, secret: str) -> str:
    """Whether the token is good; returns a name to propose."""
    cluster = Cluster(name="unnamed", hosts=(host,), fingerprint=fingerprint)
    token = TokenRef(token_id=token_id, token_secret_env=TRIAL_VARIABLE)
    os.environ[TRIAL_VARIABLE] = secret  # nothing is on disk until all is known; no other process is started meanwhile
    try:
        with PveClient(cluster, token, read_timeout=ASK_SECONDS) as client:
            click.echo(f"{host} is Proxmox VE {client.version().version}")
            try:
                name = client.cluster_status().name or "home"
            except PveError:
                name = "home"  # the token may not see it; `check` will say so
    except AuthFailed as error:
        raise click.ClickException(
            f"{host} does not know this token: {token_id} or its secret is wrong, or it expired. Nothing was written."
        ) from error
    except PveError as error:
        raise click.ClickException(f"{error}. Nothing was written.") from error
    finally:
        del os.environ[TRIAL_VARIABLE]
    return re.sub(r"[^a-z0-9_-]", "-", name.lower()).lstrip("-_")[:63] or "home"


def _name(given: str | None, proposed: str, taken: list[str], path: Path) -> str:
    name: str = given or click.prompt("Name of the cluster in pvewatch", default=proposed)
    if name in taken:
        raise click.ClickException(
            f"{path} has a cluster {name!r} already; give another --name, or remove that entry. Nothing was written."
        )
    try:
        Cluster(name=name, hosts=(HostPort(host="unused"),))
    except ValueError as error:
        raise click.ClickException(
            f"{name!r} cannot be a name: use lower-case letters, digits, - and _. Nothing was written."
        ) from error
    return name


def _what_next(path: Path, *, has_power: bool) -> str:
    option = "" if path == DEFAULT_CONFIG_FILE else f" --config {path}"
    lines = [
        "",
        "Next",
        f"  pvewatch{option} up              starts everything on this machine",
        "  docker compose up -d     or in containers, see docs/containers.md",
    ]
    if not has_power:
        lines.append("  Without a power token pvewatch watches and does not act; see docs/automation.md.")
    return "\n".join(lines)
