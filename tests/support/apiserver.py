"""A real kube-apiserver (and its etcd) on loopback for tests: no root, no kubelet, RBAC on, up in seconds.

There are no controllers: pods stay Pending until a test writes their status, namespaces never finish terminating,
owner references do not cascade, and no `default` service account is needed to create a pod.
"""

import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from e2e.cluster.api import wait_ready
from e2e.cluster.config import audit_policy_yaml
from e2e.cluster.paths import binary
from e2e.cluster.pki import CertificateAuthority, kubeconfig, service_account_keys
from e2e.cluster.shell import end
from tests.support.ports import free_ports

START_TIMEOUT_SECONDS = 60.0  # 5 s on an idle machine; several builds may run beside
STOP_TIMEOUT_SECONDS = 10.0
START_ATTEMPTS = 3  # a free port may be taken between asking for it and listening on it


class ApiServer:
    """etcd and kube-apiserver of one test session; all files live under `folder`.

    `kubeconfig` is an administrator's (group system:masters); `kubeconfig_for` and `service_account_kubeconfig`
    make identities that may do only what RBAC objects grant them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "admin.kubeconfig"
        self.ca_file = folder / "ca.crt"
        self.url = ""
        self._authority = CertificateAuthority("turbospec-tests")
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both servers and return when the API answers.

        Raises:
            ClusterError: a binary is missing.
            RuntimeError: the servers did not come up; the message ends with the tail of their logs.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_keys()
        for attempt in range(1, START_ATTEMPTS + 1):
            self._launch(attempt)
            if self._wait_ready():
                return
            self.stop()
        raise RuntimeError(f"kube-apiserver did not become ready; {self._log_tail()}")

    def stop(self) -> None:
        """Stop both servers by their own process ids; harmless when they are not running."""
        for process in reversed(self._processes):
            end(process, STOP_TIMEOUT_SECONDS)
        self._processes.clear()

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig whose client certificate names `user` and `groups`: it may do nothing until RBAC grants it."""
        pair = self._authority.issue(user, organizations=groups)
        path = self.folder / f"{user.replace(':', '-')}.kubeconfig"
        path.write_text(kubeconfig(self.url, self._authority.certificate, pair))
        return path

    def client_files(self, user: str, groups: Sequence[str] = ()) -> tuple[Path, Path]:
        """Files with a client certificate of `user` and `groups`, and its key."""
        self._authority.issue(user, organizations=groups).write(self.folder, f"client-{user}")
        return self.folder / f"client-{user}.crt", self.folder / f"client-{user}.key"

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a fresh token of an existing service account."""
        token = self.kubectl("create", "token", name, "--namespace", namespace).strip()
        path = self.folder / f"{namespace}-{name}.kubeconfig"
        path.write_text(kubeconfig(self.url, self._authority.certificate, token))
        return path

    def kubectl(self, *arguments: str, manifest: str | None = None, as_kubeconfig: Path | None = None) -> str:
        """Standard output of kubectl.

        Raises:
            RuntimeError: kubectl failed; the message is its standard error.
        """
        config = as_kubeconfig or self.kubeconfig
        command = [str(binary("kubectl")), f"--kubeconfig={config}", *arguments]
        done = subprocess.run(command, input=manifest, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout

    def apply(self, *documents: dict[str, object]) -> None:
        """Apply manifests given as dictionaries."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "-f", "-", manifest=json.dumps(items))

    def post(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """What the API server makes of a document that is posted to this path, in a tenth of the time of a kubectl.

        Raises:
            RuntimeError: it refused; the message is its own.
        """
        connection = http.client.HTTPSConnection(urlsplit(self.url).netloc, timeout=60, context=self._administrator)
        try:
            connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content: dict[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status >= 300:
            raise RuntimeError(content["message"])
        return content

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """A namespace that is not there yet."""
        metadata = {"name": name, "labels": dict(labels or {})}
        self.post("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    @cached_property
    def _administrator(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.load_cert_chain(*self.client_files("admin", ("system:masters",)))
        return context

    @property
    def audit_log(self) -> Path:
        """What service accounts asked, an event a line (``e2e.audit``)."""
        return self.folder / "audit.log"

    def _write_keys(self) -> None:
        (self.folder / "audit-policy.yaml").write_text(audit_policy_yaml("system:serviceaccounts"))
        self.ca_file.write_bytes(self._authority.certificate)
        names = ("localhost", "127.0.0.1", "kubernetes", "kubernetes.default.svc", "10.0.0.1")
        self._authority.issue("kube-apiserver", names=names).write(self.folder, "apiserver")
        private, public = service_account_keys()
        (self.folder / "sa.key").write_bytes(private)
        (self.folder / "sa.pub").write_bytes(public)

    def _launch(self, attempt: int) -> None:
        client_port, peer_port, api_port = free_ports(3)
        etcd, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
        self.url = f"https://127.0.0.1:{api_port}"
        admin = self._authority.issue("admin", organizations=("system:masters",))
        self.kubeconfig.write_text(kubeconfig(self.url, self._authority.certificate, admin))
        self._spawn(
            "etcd",
            f"--data-dir={self.folder / f'etcd-{attempt}'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # the data is thrown away with the test session
            "--log-level=warn",
        )
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={api_port}",
            "--service-cluster-ip-range=10.0.0.0/16",
            f"--tls-cert-file={self.folder / 'apiserver.crt'}",
            f"--tls-private-key-file={self.folder / 'apiserver.key'}",
            f"--client-ca-file={self.ca_file}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",  # no controller makes the `default` account it asks for
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self.folder / 'sa.key'}",
            f"--service-account-key-file={self.folder / 'sa.pub'}",
            f"--audit-policy-file={self.folder / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            "--endpoint-reconciler-type=none",  # it refuses loopback addresses, noisily
            "--allow-privileged=true",
            "--profiling=false",
        )

    def _spawn(self, name: str, *arguments: str) -> None:
        # setpriv makes the kernel end the server with us, however we end: a killed pytest leaves nothing behind
        command = ["setpriv", "--pdeathsig", "KILL", "--", str(binary(name)), *arguments]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def _wait_ready(self) -> bool:
        def alive() -> bool:
            return all(process.poll() is None for process in self._processes)

        return wait_ready(self.url, self.ca_file, START_TIMEOUT_SECONDS, alive=alive) and self._has_default_namespace()

    def _has_default_namespace(self) -> bool:
        """/readyz answers a moment before the server has made the namespaces that every test takes for granted."""
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            try:
                self.kubectl("get", "namespace", "default", "-o", "name")
            except RuntimeError:
                time.sleep(0.1)
            else:
                return True
        return False

    def _log_tail(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs)
