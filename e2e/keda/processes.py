"""KEDA's operator and adapter, and Debian's Prometheus, as processes beside an API server."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from e2e.autoscaling.external_metrics import NAMESPACE, SERVICE
from e2e.cluster.pki import CertificateAuthority
from e2e.cluster.shell import end
from tests.operator.scaled_fleets import Fleets

STOP_SECONDS = 10.0
SCRAPE = "500ms"
NAMESPACES = ("POD_NAMESPACE", "KEDA_CLUSTER_OBJECT_NAMESPACE")


@contextlib.contextmanager
def program(command: Sequence[str | Path], log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Runs within the block, and ends with us whatever happens."""
    whole = ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)]
    proxies = {name for name in os.environ if name.lower().endswith("_proxy")}
    variables = {name: value for name, value in os.environ.items() if name not in proxies} | dict(environment)
    with log.open("ab") as file:
        process = subprocess.Popen(whole, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=variables)
    try:
        yield
    finally:
        end(process, STOP_SECONDS)


@contextlib.contextmanager
def exposition(fleets: Fleets) -> Iterator[int]:
    """The port on which the operator's ``/metrics`` are served."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = fleets.exposition().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's own name)
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextlib.contextmanager
def prometheus(binary: str, target: int, port: int, folder: Path) -> Iterator[None]:
    """Scrapes the exposition, with its labels kept."""
    config = folder / "prometheus.yml"
    job = f"{{job_name: turbospec, honor_labels: true, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}"
    config.write_text(f"global: {{scrape_interval: {SCRAPE}, scrape_timeout: {SCRAPE}}}\nscrape_configs: [{job}]\n")
    command = [
        binary, f"--config.file={config}", f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with program(command, folder / "prometheus.log", {}):
        yield


@contextlib.contextmanager
def keda(binaries: Path, kubeconfig: Path, ports: Sequence[int], folder: Path) -> Iterator[bytes]:
    """Operator and adapter, the latter on the first of three ports; yields who signed its certificate."""
    authority = CertificateAuthority("keda")
    authority.issue("keda", names=("localhost", f"{SERVICE}.{NAMESPACE}.svc")).write(folder, "tls")
    (folder / "ca.crt").write_bytes(authority.certificate)
    secure, service, metrics = ports
    environment = {"KUBECONFIG": str(kubeconfig), "WATCH_NAMESPACE": ""} | dict.fromkeys(NAMESPACES, NAMESPACE)
    operator: list[str | Path] = [
        binaries / "operator", f"--cert-dir={folder}", f"--metrics-service-bind-address=127.0.0.1:{service}",
        "--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address=127.0.0.1:0",
    ]  # fmt: skip
    adapter: list[str | Path] = [
        binaries / "adapter", f"--cert-dir={folder}", f"--metrics-service-address=localhost:{service}",
        f"--tls-cert-file={folder / 'tls.crt'}", f"--tls-private-key-file={folder / 'tls.key'}",
        f"--secure-port={secure}", "--bind-address=127.0.0.1", f"--port={metrics}",
        *(f"--{name}kubeconfig={kubeconfig}" for name in ("lister-", "authentication-", "authorization-")),
    ]  # fmt: skip
    with (
        program(operator, folder / "keda-operator.log", environment),
        program(adapter, folder / "keda-adapter.log", environment),
    ):
        yield authority.certificate
