"""The demo's view of a cluster: kubectl and helm for changes, the Kubernetes client for what is polled."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.rest import ApiException

from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import binary

GROUP, VERSION = "turbospec.io", "v1alpha1"
POLICIES, PROFILES = "speculationpolicies", "speculationprofiles"
SYSTEM_NAMESPACE = "turbospec-system"
REQUEST_SECONDS = 10

Manifest = dict[str, Any]


class Kube:
    """One cluster, through one kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        api = config.new_client_from_config(config_file=str(kubeconfig))
        self.core = client.CoreV1Api(api)
        self.apps = client.AppsV1Api(api)
        self.batch = client.BatchV1Api(api)
        self.custom = client.CustomObjectsApi(api)

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Standard output. Raises ClusterError with what kubectl said."""
        return _run([str(binary("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments], text)

    def helm(self, *arguments: str) -> str:
        """Standard output. Raises ClusterError with what helm said."""
        return _run([str(binary("helm")), f"--kubeconfig={self.kubeconfig}", *arguments], None)

    def apply(self, *manifests: Manifest) -> None:
        """Server-side apply. Raises ClusterError with the API server's words, CEL messages included."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(items))

    def pods(self, namespace: str, labels: str) -> list[Any]:
        """Pods that are not on their way out."""
        found = self.core.list_namespaced_pod(namespace, label_selector=labels, _request_timeout=REQUEST_SECONDS)
        return [pod for pod in found.items if pod.metadata.deletion_timestamp is None]

    def objects(self, plural: str, namespace: str) -> list[Manifest]:
        """Our custom resources of a kind."""
        found = self.custom.list_namespaced_custom_object(
            GROUP, VERSION, namespace, plural, _request_timeout=REQUEST_SECONDS
        )
        items: list[Manifest] = found["items"]
        return items

    def policy(self, namespace: str, name: str) -> Manifest:
        """One SpeculationPolicy. Raises ApiException where it is not there."""
        found: Manifest = self.custom.get_namespaced_custom_object(
            GROUP, VERSION, namespace, POLICIES, name, _request_timeout=REQUEST_SECONDS
        )
        return found

    def patch_policy(self, namespace: str, name: str, spec: Manifest) -> int:
        """Merge into the spec; returns the generation that the change made."""
        patched = self.custom.patch_namespaced_custom_object(
            GROUP, VERSION, namespace, POLICIES, name, {"spec": spec}, _request_timeout=REQUEST_SECONDS
        )
        return int(patched["metadata"]["generation"])

    def profiling_jobs(self, namespace: str) -> list[Any]:
        """The Jobs that the operator has made."""
        found = self.batch.list_namespaced_job(
            namespace, label_selector="turbospec.io/profiling-key", _request_timeout=REQUEST_SECONDS
        )
        return list(found.items)

    def log(self, namespace: str, pod: str, lines: int = 20) -> str:
        """The end of a pod's log; empty while there is none."""
        try:
            text: str = self.core.read_namespaced_pod_log(
                pod, namespace, tail_lines=lines, _request_timeout=REQUEST_SECONDS
            )
        except ApiException as error:
            if error.status in (400, 404):  # the container has not started, or the pod is gone
                return ""
            raise
        return text


def is_ready(pod: Any) -> bool:
    """The pod's Ready condition."""
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or ())


def condition(resource: Manifest, kind: str) -> Manifest | None:
    """A condition of a custom resource's status, or None while it has none of this type."""
    conditions: Sequence[Manifest] = resource.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == kind), None)


def wait_for(what: str, check: Callable[[], bool], seconds: float, every: float = 0.5) -> None:
    """Poll until true, by the clock; hiccups of the API are waited out. ClusterError names what did not come."""
    deadline = time.monotonic() + seconds
    hiccup = ""
    while True:
        try:
            if check():
                return
            hiccup = ""
        except (ApiException, OSError) as error:
            hiccup = f" ({' '.join(str(error).split())[:200]})"
        if time.monotonic() > deadline:
            raise ClusterError(f"gave up after {seconds:.0f} s waiting for {what}{hiccup}")
        time.sleep(every)


def _run(command: list[str], text: str | None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise ClusterError(f"`{Path(command[0]).name} {' '.join(command[2:6])}` failed: {said}")
    return done.stdout
