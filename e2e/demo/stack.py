"""Putting TurboSpec and the servers into a cluster, step by step, each waited for by what it makes true."""

import re
import time

from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import REPOSITORY
from e2e.cluster.progress import Say
from e2e.demo.kube import PROFILES, REQUEST_SECONDS, SYSTEM_NAMESPACE, Kube, condition, is_ready, wait_for
from e2e.manifests.serving import NAMESPACE, POLICY, SELECTOR, Manifest, Serving, deployment, namespace

CHART = REPOSITORY / "charts" / "turbospec"
RELEASE = "turbospec"
LABELS = ",".join(f"{name}={value}" for name, value in SELECTOR.items())
PROGRESS = re.compile(r"turbospec: +(\d+% cell .*|again: .*|waiting for vLLM.*)")
LOG_LINES = 300


def install_turbospec(kube: Kube, say: Say, image: str, prometheus_url: str | None) -> None:
    """CRDs and chart, with this image. Done when operator and webhook are Ready."""
    repository, _, tag = image.rpartition(":")
    kube.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(REPOSITORY / "crds"))
    kube.apply(namespace())  # profiling is allowed in it, so it must be there
    values = {
        "image.repository": repository,
        "image.tag": tag,
        "jobs.namespaces": f"{{{NAMESPACE}}}",
        # On a single node a standby saves nothing, and its CPU request would take room from the profiling Job.
        "operator.replicas": "1",
        **({"prometheus.url": prometheus_url} if prometheus_url else {}),
    }
    sets = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    kube.helm("upgrade", "--install", RELEASE, str(CHART), "--namespace", SYSTEM_NAMESPACE, "--create-namespace", *sets)
    started = time.monotonic()
    wait_for("the operator and the webhook to be Ready", lambda: _system_ready(kube), 180)
    say(f"operator and webhook are Ready ({time.monotonic() - started:.0f} s)")


def _system_ready(kube: Kube) -> bool:
    pods = kube.pods(SYSTEM_NAMESPACE, "")
    return bool(pods) and all(is_ready(pod) for pod in pods)


def serve(kube: Kube, say: Say, serving: Serving, policy: Manifest) -> None:
    """Policy first, so that pods find the runtime when they are created; then the servers. Done when they are Ready."""
    kube.apply(namespace())
    kube.apply(policy)
    await_runtime(kube)
    kube.apply(deployment(serving))
    say(f"{serving.replicas} vLLM servers are starting (usually about a minute)")
    started = time.monotonic()
    wait_for("the vLLM servers to be Ready", lambda: _serving_ready(kube, serving.replicas), 900)
    say(f"{serving.replicas} vLLM servers are Ready after {time.monotonic() - started:.0f} s")
    for pod in kube.pods(NAMESPACE, LABELS):
        annotations = pod.metadata.annotations or {}
        if "turbospec.io/injected" not in annotations:
            reason = annotations.get("turbospec.io/not-injected", "the webhook did not answer")
            raise ClusterError(f"pod {pod.metadata.name} was not injected: {reason}")


def await_runtime(kube: Kube, namespace: str = NAMESPACE) -> None:
    """Until the operator has put what pods mount into the namespace, which it does where there is a policy, and the API
    server calls the webhook: it hears of a new one, and of its Service, some time after that is Ready."""

    def published() -> bool:
        maps = kube.core.list_namespaced_config_map(namespace).items
        return any(each.metadata.name.startswith("turbospec-runtime-") for each in maps)

    wait_for("the operator to publish the engine runtime", published, 60)
    wait_for("the webhook to be called", lambda: _is_asked(kube, namespace), 60)


def _is_asked(kube: Kube, namespace: str) -> bool:
    labels = {"turbospec.io/inject": "true"}
    pod = {"metadata": {"name": "asked", "labels": labels}, "spec": {"containers": [{"name": "vllm", "image": "vllm"}]}}
    made = kube.core.create_namespaced_pod(namespace, pod, dry_run="All", _request_timeout=REQUEST_SECONDS)
    return any(name.startswith("turbospec.io/") for name in made.metadata.annotations or ())


def _serving_ready(kube: Kube, replicas: int) -> bool:
    pods = kube.pods(NAMESPACE, LABELS)
    for pod in pods:
        for status in pod.status.container_statuses or ():
            if status.restart_count:
                tail = kube.log(NAMESPACE, pod.metadata.name)
                raise ClusterError(f"vLLM ended in pod {pod.metadata.name}:\n{tail}")
    return len(pods) == replicas and all(is_ready(pod) for pod in pods)


def await_profile(kube: Kube, say: Say, seconds: float = 900) -> None:
    """Follow the profiling Job until its profile is there. Raises ClusterError with the Job's own words if it fails."""
    told = ""
    started = time.monotonic()

    def profiled() -> bool:
        nonlocal told
        line = _job_progress(kube)
        if line and line != told:
            told = line
            say(f"profiling: {line}")
        return bool(kube.objects(PROFILES, NAMESPACE))

    wait_for("the profile", profiled, seconds, every=2)
    say(
        f"profile {kube.objects(PROFILES, NAMESPACE)[0]['metadata']['name']} is there "
        f"({time.monotonic() - started:.0f} s)"
    )


def _job_progress(kube: Kube) -> str:
    for pod in kube.pods(NAMESPACE, "turbospec.io/profiling-key"):
        for line in reversed(kube.log(NAMESPACE, pod.metadata.name, LOG_LINES).splitlines()):
            if found := PROGRESS.search(line):
                return found.group(1)
    return ""


def await_controlled(kube: Kube, say: Say, seconds: float = 120) -> None:
    """Until the policy says that every engine is controlled with a profile."""
    wait_for("the policy to be Ready", lambda: _is_true(kube, "Ready"), seconds)
    status = kube.policy(NAMESPACE, POLICY)["status"]
    say(f"{status['controlled']} of {status['pods']} engines are controlled, K = {status.get('draftTokens')}")


def _is_true(kube: Kube, kind: str) -> bool:
    policy = kube.policy(NAMESPACE, POLICY)
    found = condition(policy, kind)
    current = policy["metadata"]["generation"]
    return bool(found and found["status"] == "True" and found.get("observedGeneration", 0) >= current)


def saved_profile(kube: Kube) -> Manifest:
    """The profile without what this cluster added to it, for another cluster."""
    profile = kube.objects(PROFILES, NAMESPACE)[0]
    metadata = {"name": profile["metadata"]["name"], "namespace": NAMESPACE}
    return {**{key: profile[key] for key in ("apiVersion", "kind", "spec")}, "metadata": metadata}
