"""Images under the names that Dockerfile and compose.yaml ask for, made of Debian packages: no registry is needed.

`python`, `prom/…` and `postgres` hold the real programs, with the users, paths, entry points and
defaults of the official images. `grafana/grafana` does not: Grafana is in no package archive, so its stand-in only
answers /api/health, and proves nothing about Grafana itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests import newer
from tests.deploy.docker_engine import run

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
MIRROR = "http://deb.debian.org/debian"

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_BASE = "pvewatch-test/base"

# The registries' certificates may end in an authority that only this machine knows: the host's list goes in.
_PYTHON = f"""\
FROM {_BASE}
COPY ca-certificates.crt {_CERTIFICATES}
ENV PIP_CERT={_CERTIFICATES} PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
RUN ln -s /usr/bin/python3 /usr/local/bin/python
CMD ["python3"]
"""

# User, paths and words as in https://github.com/prometheus/prometheus/blob/v2.42.0/Dockerfile
_PROMETHEUS = f"""\
FROM {_BASE}
RUN apt-get -q update && apt-get -q install -y --no-install-recommends prometheus \\
 && mkdir -p /prometheus && chown -R nobody:nogroup /prometheus /etc/prometheus && ln -s busybox /bin/wget
USER nobody
EXPOSE 9090
VOLUME ["/prometheus"]
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""

# https://github.com/prometheus/alertmanager/blob/v0.25.0/Dockerfile
_ALERTMANAGER = f"""\
FROM {_BASE}
RUN apt-get -q update && apt-get -q install -y --no-install-recommends prometheus-alertmanager \\
 && ln -s prometheus-alertmanager /bin/alertmanager && ln -s busybox /bin/wget \\
 && mkdir -p /alertmanager && chown -R nobody:nogroup /alertmanager
USER nobody
EXPOSE 9093
VOLUME ["/alertmanager"]
WORKDIR /alertmanager
ENTRYPOINT ["/bin/alertmanager"]
CMD ["--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/alertmanager"]
"""

# https://github.com/prometheus/blackbox_exporter/blob/v0.23.0/Dockerfile
_BLACKBOX = f"""\
FROM {_BASE}
RUN apt-get -q update && apt-get -q install -y --no-install-recommends prometheus-blackbox-exporter \\
 && ln -s prometheus-blackbox-exporter /bin/blackbox_exporter && ln -s busybox /bin/wget
EXPOSE 9115
ENTRYPOINT ["/bin/blackbox_exporter"]
CMD ["--config.file=/etc/blackbox_exporter/config.yml"]
"""

# The steps of https://github.com/docker-library/postgres/blob/master/docker-entrypoint.sh that compose.yaml relies on,
# for a user that /etc/passwd does not know.
_POSTGRES_ENTRYPOINT = """\
#!/bin/bash
set -eu
printf 'postgres:x:%s:%s::/:/bin/false\\n' "$(id -u)" "$(id -g)" > /tmp/passwd
printf 'postgres:x:%s:\\n' "$(id -g)" > /tmp/group
export NSS_WRAPPER_PASSWD=/tmp/passwd NSS_WRAPPER_GROUP=/tmp/group LD_PRELOAD=libnss_wrapper.so
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-host=scram-sha-256 --auth-local=trust
  printf '\\nhost all all all scram-sha-256\\n' >> "$PGDATA/pg_hba.conf"
  pg_ctl -o '-c listen_addresses=' -w start
  createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl -m fast -w stop
fi
unset LD_PRELOAD
exec "$@"
"""

_POSTGRES = f"""\
FROM {_BASE}
RUN apt-get -q update && apt-get -q install -y --no-install-recommends postgresql-15 libnss-wrapper \\
 && install -d -m 1777 /var/run/postgresql /var/lib/postgresql/data
ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin LANG=C.UTF-8
COPY entrypoint /usr/local/bin/docker-entrypoint.sh
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]
CMD ["postgres", "-c", "listen_addresses=*"]
"""

_GRAFANA = f"""\
FROM {_BASE}
RUN ln -s busybox /bin/wget && mkdir -p /srv/api /var/lib/grafana && chown 472:0 /var/lib/grafana \\
 && echo '{{"database": "ok", "version": "stand-in"}}' > /srv/api/health \\
 && printf '#!/bin/sh\\nexec python3 -m http.server --directory /srv 3000\\n' > /run.sh && chmod 755 /run.sh
USER 472
EXPOSE 3000
ENTRYPOINT ["/run.sh"]
"""


def build_all(environment: dict[str, str], images: Mapping[str, str]) -> None:
    """Make the stand-ins under the image names of those services, in the engine that `environment` points at."""
    # The plain builder: the other one needs a plug-in that Debian 12 does not have.
    environment = {**environment, "DOCKER_BUILDKIT": "0"}
    run(["docker", "import", _base_tree(), _BASE], env=environment)
    for name, dockerfile in (
        ("python:3.11-slim-bookworm", _PYTHON),
        (images["prometheus"], _PROMETHEUS),
        (images["alertmanager"], _ALERTMANAGER),
        (images["blackbox"], _BLACKBOX),
        (images["database"], _POSTGRES),
        (images["grafana"], _GRAFANA),
    ):
        with tempfile.TemporaryDirectory() as context:
            Path(context, "Dockerfile").write_text(dockerfile, encoding="utf-8")
            entrypoint = Path(context, "entrypoint")
            entrypoint.write_text(_POSTGRES_ENTRYPOINT, encoding="utf-8")
            entrypoint.chmod(0o755)
            shutil.copyfile(_CERTIFICATES, Path(context, _CERTIFICATES.name))
            run(["docker", "build", "--quiet", "--tag", name, context], env=environment)


def compose_program() -> Path:
    """The compose 2 program of a newer Debian: Debian 12 has only the first, whose format is another one."""
    return newer.program("docker-compose", "usr/libexec/docker/cli-plugins/docker-compose")


def _base_tree() -> Path:
    """A minimal Debian 12 with Python 3.11, as a tar, made once in .cache/docker."""
    tree = CACHE / "docker" / "base-bookworm.tar"
    if not tree.exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        unfinished = tree.with_name("unfinished.tar")  # mmdebstrap goes by the ending
        packages = "--include=ca-certificates,python3,python3-venv,busybox"
        run(["mmdebstrap", "--variant=minbase", packages, "bookworm", unfinished, MIRROR])
        unfinished.rename(tree)
    return tree
