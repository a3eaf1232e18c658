"""``external.metrics.k8s.io/v1beta1`` from the operator's own series: what stands between the operator and the real
HorizontalPodAutoscaler, be it prometheus-adapter or KEDA, in as little as the autoscaler needs. For tests."""

import base64
import json
import math
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from e2e.cluster.pki import CertificateAuthority

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"
SERVICE, NAMESPACE = "external-metrics", "kube-system"
RATIO = "turbospec_expected_load_ratio"
PODS_AT_FULL_LOAD = "turbospec_expected_pods_at_full_load"
WHOLE_PODS = "whole_pods"
"""No series of the operator's: what the query of ``keda-whole-pods.yaml`` makes of the one above."""
SHARE = 0.85
"""What each whole pod is to do of what it can, by that query."""

Manifest = dict[str, Any]


def metric_value(name: str, samples: Iterable[Sample], labels: Mapping[str, str]) -> float | None:
    """What this metric is for the series with these labels; None where there are none, as Prometheus answers nothing.

    Of ratios the largest, of pods the sum, as ``examples/autoscaling`` has them.
    """
    if name == WHOLE_PODS:
        pods = metric_value(PODS_AT_FULL_LOAD, samples, labels)
        return None if pods is None else math.ceil(pods / SHARE)
    found = [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]
    if not found:
        return None
    return sum(found) if name == PODS_AT_FULL_LOAD else max(found)


class ExternalMetrics:
    """Answers the API server over TLS: ``with ExternalMetrics(read, folder) as api: ...``.

    ``read`` gives the operator's exposition and is called for every question, in threads. ``asked`` counts questions by
    namespace: the autoscaler asks once at every sync.
    """

    def __init__(self, read: Callable[[], str], folder: Path, address: str = "127.0.0.1", port: int = 0) -> None:
        self.asked: Counter[str] = Counter()
        self._read = read
        self._authority = CertificateAuthority("external-metrics")
        self._authority.issue(SERVICE, names=(f"{SERVICE}.{NAMESPACE}.svc",)).write(folder, SERVICE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / f"{SERVICE}.crt", folder / f"{SERVICE}.key")
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                status, document = answer(self.path)
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's own name)
                """Nothing: the autoscaler's own log says what it asks."""

        self._server = ThreadingHTTPServer((address, port), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def api_service(self, service_port: int) -> Manifest:
        """Makes the API server pass questions on to the Service, whose certificate it checks."""
        return {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "service": {"name": SERVICE, "namespace": NAMESPACE, "port": service_port},
                "caBundle": base64.b64encode(self._authority.certificate).decode(),
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        }

    def _answer(self, path: str) -> tuple[int, Manifest]:
        split = urlsplit(path)
        parts = split.path.strip("/").split("/")
        if parts == ["apis", GROUP, VERSION]:
            return 200, _resources()
        if parts[:4] == ["apis", GROUP, VERSION, "namespaces"] and len(parts) == 6:
            selector = parse_qs(split.query).get("labelSelector", [""])[0]
            self.asked[parts[4]] += 1
            return 200, self._values(parts[4], parts[5], selector)
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound"}
        return 404, status

    def _values(self, namespace: str, name: str, selector: str) -> Manifest:
        labels = dict(pair.split("=", 1) for pair in selector.split(",") if pair) | {"namespace": namespace}
        samples = [each for family in text_string_to_metric_families(self._read()) for each in family.samples]
        value = metric_value(name, samples, labels)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        item = {"metricName": name, "metricLabels": {}, "timestamp": now, "value": f"{round((value or 0.0) * 1000)}m"}
        items = [] if value is None else [item]
        return {"kind": "ExternalMetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}


def _resources() -> Manifest:
    served = [
        {"name": name, "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
        for name in (RATIO, PODS_AT_FULL_LOAD, WHOLE_PODS)
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": served}
