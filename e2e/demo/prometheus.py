"""Debian's Prometheus inside the cluster's network, scraping vLLM's series and ours by pod address."""

import json
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e.cluster.errors import ClusterError
from e2e.demo.engines import CONTROL_PORT, SERVING_PORT

PORT = 9090
CONFIG = """\
global: {scrape_interval: 2s, scrape_timeout: 2s}
scrape_configs:
- job_name: vllm
  file_sd_configs: [{files: [vllm.json], refresh_interval: 2s}]
- job_name: turbospec-engines
  file_sd_configs: [{files: [turbospec.json], refresh_interval: 2s}]
"""


class Prometheus:
    """``with Prometheus(): ...`` runs it with a store of its own, gone afterwards."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="turbospec-prometheus-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("prometheus")
        if program is None:
            raise ClusterError("prometheus is not installed: apt-get install prometheus")
        self.scrape({}, "")
        (self._folder / "prometheus.yml").write_text(CONFIG)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, f"--config.file={self._folder / 'prometheus.yml'}",
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

    def scrape(self, addresses: dict[str, str], namespace: str) -> None:
        """Scrape these pods (name -> address) from now on; Prometheus notices by itself."""
        for file, port in (("vllm.json", SERVING_PORT), ("turbospec.json", CONTROL_PORT)):
            groups = [
                {"targets": [f"{address}:{port}"], "labels": {"namespace": namespace, "pod": pod}}
                for pod, address in addresses.items()
            ]
            beside = self._folder / f"{file}.new"
            beside.write_text(json.dumps(groups))
            beside.replace(self._folder / file)
