"""The logins of pve.yml, or of PVE_* in the environment, as prometheus-pve-exporter reads them.

A file has one mapping for each module, whose keys are arguments of proxmoxer.ProxmoxAPI:
https://proxmoxer.github.io/docs/latest/authentication/
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pvewatch.config import ConfigError, Problem, Secret
from pvewatch.pve.one_host import DEFAULT_TIMEOUT_SECONDS, Login
from pvewatch.settings import DEFAULT_PVE_PORT

_log = logging.getLogger(__name__)

DEFAULT_MODULE = "default"
LONGEST_TIMEOUT_SECONDS = 60.0
MOST_MODULES = 200

_TEXTS = ("user", "password", "token_name", "token_value", "path_prefix", "cert")
# Without quotes YAML makes a number of 12345; proxmoxer writes it out again.
_MAYBE_NUMBERS = {"user", "password", "token_name", "token_value"}
_KNOWN = {*_TEXTS, "verify_ssl", "port", "timeout", "proxies", "service", "backend", "mode"}
# Keys that are right for one value only: this endpoint speaks to Proxmox VE, over https, in JSON.
_FIXED = {"service": "pve", "backend": "https", "mode": "json"}


def read_modules(path: Path) -> dict[str, Login]:
    """The modules of a pve.yml. Raises ConfigError with every mistake; no message shows a value."""
    try:
        mode = path.stat().st_mode
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "check the path of --pve-config or exporter.pve_config"
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}", remedy)]) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, no such date, a number of 5000 digits
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        # The parser's own text would quote the line, and so perhaps a password.
        raise ConfigError([Problem(place, "is not YAML", "mend the line (indentation, quotes, colons)")]) from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        _log.warning("%s can be read or changed by others, and holds secrets; run: chmod 640 %s", path, path)
    if not isinstance(document, dict) or not document:
        remedy = "write a module, such as `default:` with user, token_name and token_value below it"
        raise ConfigError([Problem(str(path), "holds no module", remedy)])
    if len(document) > MOST_MODULES:
        raise ConfigError([Problem(str(path), f"holds more than {MOST_MODULES} modules", "split the file")])
    problems: list[Problem] = []
    modules = {str(name): _login(f"{path}: {name}", values, problems) for name, values in document.items()}
    if problems:
        raise ConfigError(problems)
    return {name: login for name, login in modules.items() if login is not None}


def modules_of_environment(env: Mapping[str, str]) -> dict[str, Login] | None:
    """The one module that PVE_USER and its companions describe; None without PVE_USER. Raises ConfigError."""
    if "PVE_USER" not in env:
        return None
    values: dict[str, Any] = {"user": env["PVE_USER"]}
    for variable, key in (
        ("PVE_PASSWORD", "password"),
        ("PVE_TOKEN_NAME", "token_name"),
        ("PVE_TOKEN_VALUE", "token_value"),
    ):
        if env.get(variable):
            values[key] = env[variable]
    values["verify_ssl"] = env.get("PVE_VERIFY_SSL", "true").strip().lower() not in ("false", "0")
    problems: list[Problem] = []
    login = _login("environment: PVE_*", values, problems)
    if problems or login is None:
        raise ConfigError(problems)
    return {env.get("PVE_MODULE") or DEFAULT_MODULE: login}


def _login(place: str, values: object, problems: list[Problem]) -> Login | None:
    if not isinstance(values, dict) or not values:
        problems.append(Problem(place, "is no mapping of settings", "write user, token_name and token_value below it"))
        return None
    values = {key: _plain(key, value) for key, value in values.items()}
    found = [*_wrong_keys(values), *_wrong_login(values), *_wrong_connection(values)]
    problems += [Problem(f"{place}.{key}" if key else place, words, remedy) for key, words, remedy in found]
    if found:
        return None
    token = "token_name" in values
    verify = values.get("verify_ssl", True)
    if verify is False:
        _log.warning("%s: verify_ssl is off, so whoever is on the network can take its secret", place)
    timeout = values.get("timeout", DEFAULT_TIMEOUT_SECONDS)
    if timeout > LONGEST_TIMEOUT_SECONDS:
        _log.warning("%s.timeout: longer than an answer may take; %g s is used", place, LONGEST_TIMEOUT_SECONDS)
    return Login(
        user=values["user"],
        secret=Secret(values["token_value"] if token else values["password"]),
        token_name=values["token_name"] if token else None,
        verify=verify,
        port=int(values.get("port", DEFAULT_PVE_PORT)),
        timeout_seconds=float(min(timeout, LONGEST_TIMEOUT_SECONDS)),
        path_prefix=values.get("path_prefix"),
        client_certificate=values.get("cert"),
        proxies=values.get("proxies", {}),
    )


def _plain(key: object, value: Any) -> Any:
    """What proxmoxer makes of a value that has another type than is documented; all others as they are."""
    if key in _MAYBE_NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # thousands of digits
            return value
    if key == "verify_ssl" and value in (0, 1):
        return bool(value)
    return value


# Each gives (key, what is wrong, remedy); an empty key means the module as a whole.
_Wrong = Iterator[tuple[str, str, str]]


def _wrong_keys(values: Mapping[Any, Any]) -> _Wrong:
    for key in sorted(map(str, values)):
        if key == "otp":
            yield key, "cannot be used: a one-time password is good once", "use an API token instead"
        elif key not in _KNOWN:
            yield key, "is not known", f"known are: {', '.join(sorted(_KNOWN))}"
        elif key in _FIXED and str(values[key]).lower() != _FIXED[key]:
            yield key, f"can only be {_FIXED[key]} here", "remove it"
        elif key in _TEXTS and not (isinstance(values[key], str) and values[key] and values[key].isprintable()):
            yield key, "is no text, or empty", "put the value into quotes"


def _wrong_login(values: Mapping[Any, Any]) -> _Wrong:
    if "user" not in values:
        yield "user", "is missing", "name it with its realm, such as prometheus@pve"
    if ("token_name" in values) != ("token_value" in values):
        missing = "token_value" if "token_name" in values else "token_name"
        yield missing, "is missing", "a token is a name and a value: give both"
    elif "token_name" not in values and "password" not in values:
        yield "", "has no login", "give token_name and token_value, or password"


def _wrong_connection(values: Mapping[Any, Any]) -> _Wrong:
    if not isinstance(values.get("verify_ssl", True), bool | str):
        yield "verify_ssl", "is neither true, false nor the path of a CA file", "correct it"
    port = str(values.get("port", DEFAULT_PVE_PORT))
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= 65535):
        yield "port", "is no port", "give a number from 1 to 65535"
    timeout = values.get("timeout", DEFAULT_TIMEOUT_SECONDS)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        yield "timeout", "is no usable time", f"give seconds, more than 0 and at most {LONGEST_TIMEOUT_SECONDS:g}"
    proxies = values.get("proxies", {})
    if not isinstance(proxies, dict) or not all(isinstance(part, str) for pair in proxies.items() for part in pair):
        yield "proxies", "is no mapping of texts", "write `https: http://proxy:3128`"
