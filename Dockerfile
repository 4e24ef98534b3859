# One image for every process of pvewatch: the command picks which one (`exporter`, `action-api`, `worker`, …).

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
# Builds and installs from outside the environment that ships, so that no pip is in it.
RUN python -m venv /opt/build && python -m venv --without-pip /opt/pvewatch
COPY pyproject.toml README.md LICENSE ./
COPY agents agents
COPY alertmanager alertmanager
COPY deploy/setup-token.sh deploy/setup-token.sh
COPY docs/runbooks docs/runbooks
COPY grafana grafana
COPY prometheus prometheus
COPY pvewatch pvewatch
COPY exporter exporter
COPY action_api action_api
# --only-binary: a dependency that would need a compiler stops the build instead of bringing one in.
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/pvewatch/bin/python install --no-cache-dir --only-binary :all: \
    "$(echo /wheels/pvewatch-*.whl)[postgres]"


FROM python:3.11-slim-bookworm AS pvewatch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pvewatch" \
      org.opencontainers.image.description="Monitoring, alerting and safe automation for Proxmox VE" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
# A fixed number: secret files and volumes on the host are given to it by number.
RUN groupadd --gid 10001 pvewatch \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin pvewatch \
 # A named volume takes the owner of the folder it is first mounted on: those of compose.yaml, in `config` and the demo.
 && install --directory --owner=10001 --group=10001 --mode=0700 \
    /var/lib/pvewatch /var/lib/pvewatch/secrets \
    /config/prometheus /config/alertmanager /config/blackbox /config/grafana/provisioning /config/grafana/dashboards \
    /volumes/prometheus /volumes/alertmanager /volumes/grafana \
    /database/secret /database/data \
    /run/database /demo/simulator /demo/monitor /demo/power /demo/trust
COPY --from=build /opt/pvewatch /opt/pvewatch
ENV PATH=/opt/pvewatch/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PVEWATCH_DATA_DIR=/var/lib/pvewatch
WORKDIR /var/lib/pvewatch
USER 10001:10001
ENTRYPOINT ["pvewatch"]
CMD ["--help"]


# What the demo's simulated guests run: the same, and curl, which the Linux agent sends with. Not for a real cluster.
FROM pvewatch AS demo
USER 0
# Debian keeps one version of curl in a release: naming it would only break the build at the next security update.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends curl && rm -rf /var/lib/apt/lists/*
USER 10001:10001


# The last stage is what `docker build .` makes.
FROM pvewatch
