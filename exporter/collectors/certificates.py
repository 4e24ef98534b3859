"""When each node's certificates end, out of `GET /nodes/{node}/certificates/info`. Any token may ask.

    pve_node_certificate_expiry_timestamp_seconds{cluster="home",id="node/pve1",filename="pve-ssl.pem"} 1858237607

By hand: `pvesh get /nodes/pve1/certificates/info`. Where there is a pveproxy-ssl.pem, that is what browsers are shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.collectors.definition import Collector, Request, every, keep
from exporter.exposition import Metric, Sample
from exporter.snapshot import View
from pvewatch.pve.models_node import NodeCertificates

INTERVAL_SECONDS = 3600.0


def read(request: Request) -> NodeCertificates:
    """Ask one node for its certificates."""
    return request.client.certificates(request.node)


def _expiry(view: View) -> Iterator[Sample]:
    for node in view.answers(COLLECTOR.name, NodeCertificates):
        for certificate in node.certificates:
            yield (f"node/{node.node}", certificate.filename), certificate.not_after


METRICS = (
    Metric(
        "pve_node_certificate_expiry_timestamp_seconds",
        "gauge",
        "When the certificate in that file ends.",
        ("id", "filename"),
        _expiry,
    ),
)

COLLECTOR = Collector(
    "certificates",
    "node",
    read,
    METRICS,
    every(INTERVAL_SECONDS),
    keep(INTERVAL_SECONDS),
)
