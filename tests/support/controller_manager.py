"""A real kube-controller-manager beside a real API server, with the controllers that an autoscaler needs."""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e.cluster.paths import binary
from e2e.cluster.shell import end
from tests.support.apiserver import STOP_TIMEOUT_SECONDS, ApiServer

CONTROLLERS = ("horizontal-pod-autoscaler-controller", "deployment-controller", "replicaset-controller")


class ControllerManager:
    """``with ControllerManager(api, folder, sync_seconds): ...``; it works by itself from some second on.

    ``sync_seconds`` is how often autoscalers look, 15 in production.
    """

    def __init__(self, api: ApiServer, folder: Path, sync_seconds: float) -> None:
        self.log = folder / "kube-controller-manager.log"
        self._command = [
            "setpriv", "--pdeathsig", "KILL", "--", str(binary("kube-controller-manager")),
            f"--kubeconfig={api.kubeconfig}",
            f"--controllers={','.join(CONTROLLERS)}",
            f"--horizontal-pod-autoscaler-sync-period={sync_seconds}s",
            "--controller-start-interval=0s",
            "--leader-elect=false",
            "--secure-port=0",  # nobody asks it anything
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            end(self._process, STOP_TIMEOUT_SECONDS)
