"""Debian's Prometheus inside the cluster's network, scraping vLLM's series and ours by pod address."""

import json
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from e2e.cache import build_into, cache_folder
from e2e.cluster.progress import Say
from e2e.cluster.shell import run
from e2e.demo.engines import CONTROL_PORT, SERVING_PORT

PORT = 9090
OPERATOR_PORT = 8080
CONFIG = """\
global: {scrape_interval: 2s, scrape_timeout: 2s}
scrape_configs:
- job_name: vllm
  file_sd_configs: [{files: [vllm.json], refresh_interval: 2s}]
- job_name: turbospec-engines
  file_sd_configs: [{files: [turbospec.json], refresh_interval: 2s}]
- job_name: turbospec-operator
  honor_labels: true
  file_sd_configs: [{files: [operator.json], refresh_interval: 2s}]
"""


def find_program(say: Say) -> str:
    """Prometheus of the PATH, else Debian's, unpacked into the cache: installing the package would start a service.

    Raises:
        ClusterError: there is neither, nor an apt-get to fetch it with.
    """
    if installed := shutil.which("prometheus"):
        return installed
    folder = build_into(cache_folder() / "prometheus", "debian", lambda target: _unpack(target, say))
    return str(folder / "usr/bin/prometheus")


def _unpack(target: Path, say: Say) -> None:
    say("fetching Debian's Prometheus")
    with tempfile.TemporaryDirectory() as fetched:
        # apt-get writes the package into its working directory and takes no other
        run(["sh", "-c", 'cd "$1" && apt-get download -qq prometheus', "sh", fetched])
        [package] = Path(fetched).glob("prometheus_*.deb")
        run(["dpkg-deb", "--extract", package, target])


class Prometheus:
    """``with Prometheus(program): ...`` runs it with a store of its own, gone afterwards."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="turbospec-prometheus-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.scrape({}, "")
        self.scrape_operator([])
        (self._folder / "prometheus.yml").write_text(CONFIG)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, f"--config.file={self._folder / 'prometheus.yml'}",
                 f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address=0.0.0.0:{PORT}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def scrape_operator(self, addresses: list[str]) -> None:
        """Scrape the operator's pods too, whose series name the policies' namespaces themselves."""
        self._put("operator.json", [{"targets": [f"{address}:{OPERATOR_PORT}" for address in addresses]}])

    def scrape(self, addresses: dict[str, str], namespace: str) -> None:
        """Scrape these pods (name -> address) from now on; Prometheus notices by itself."""
        for file, port in (("vllm.json", SERVING_PORT), ("turbospec.json", CONTROL_PORT)):
            groups = [
                {"targets": [f"{address}:{port}"], "labels": {"namespace": namespace, "pod": pod}}
                for pod, address in addresses.items()
            ]
            self._put(file, groups)

    def _put(self, file: str, groups: list[dict[str, Any]]) -> None:
        beside = self._folder / f"{file}.new"
        beside.write_text(json.dumps(groups))
        beside.replace(self._folder / file)
