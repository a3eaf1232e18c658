"""The crash-loop breaker on a real API server: operator and webhook's decision together, and a person who ends it."""

import pytest

from tests.operator import shop
from tests.operator.operator_process import OperatorProcess, eventually
from tests.operator.samples import engine_pod, policy
from tests.support.apiserver import ApiServer
from turbospec_operator.admission import Admission
from turbospec_operator.cluster import PODS, POLICIES, Cluster, Raw
from turbospec_operator.injection import Runtime
from turbospec_operator.runtime_bundle import build_runtime_zip

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]

RUNTIME = Runtime(hash="0123456789ab", master_key=b"k" * 32)


def request_for(pod: Raw, namespace: str) -> Raw:
    """The admission request of a pod's creation."""
    return {"kind": {"kind": "Pod"}, "operation": "CREATE", "namespace": namespace, "dryRun": True, "object": pod}


async def crash(cluster: Cluster, namespace: str, name: str, template: str) -> None:
    """An injected pod in a crash loop that was never Ready."""
    pod = engine_pod(namespace, name)
    pod["metadata"]["annotations"]["turbospec.io/template"] = template
    await cluster.create(PODS, namespace, pod)
    ended = {"exitCode": 1, "reason": "Error", "startedAt": shop.STARTED, "finishedAt": shop.STARTED}
    container = {
        "name": "vllm", "image": "vllm", "imageID": "", "ready": False, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended},
    }  # fmt: skip
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": shop.STARTED}
    status = {
        "phase": "Running",
        "startTime": shop.STARTED,
        "conditions": [ready],
        "containerStatuses": [container],
    }
    await cluster.patch_status(PODS, namespace, name, {"status": status})


async def test_two_failed_pods_stop_their_template_until_a_person_lets_it_go_on(
    api_with_crds: ApiServer, cluster: Cluster, namespace: str, operator_process: OperatorProcess
) -> None:
    """The next pod of the template starts without TurboSpec; another template, and one after the word, with it."""
    admission = Admission(cluster, build_runtime_zip())
    fresh: Raw = {
        "metadata": {"name": "next", "labels": {"app": "chat", "turbospec.io/inject": "true"}},
        "spec": {"containers": [{"name": "vllm", "image": "vllm/vllm-openai:v1", "args": ["--model", "m"]}]},
    }
    await cluster.create(POLICIES, namespace, policy(namespace))
    first = await admission.decide(request_for(fresh, namespace), RUNTIME)
    (template,) = [str(each["value"]) for each in first.patch if each["path"].endswith("turbospec.io~1template")]
    await crash(cluster, namespace, "chat-1", template)
    await crash(cluster, namespace, "chat-2", template)
    operator_process.start()

    async def stopped() -> Raw | None:
        status = await shop.policy_status(cluster, namespace)
        return dict(shop.condition(status, "Injected")) if status.get("injectionStopped") else None

    condition = await eventually("the template to be stopped", stopped, operator_process)
    assert condition["reason"] == "InjectionStopped"
    assert f"turbospec.io/inject-anyway={template}" in condition["message"]
    refused = await admission.decide(request_for(fresh, namespace), RUNTIME)
    assert refused.refusal is not None
    assert "2 injected pods failed before they were Ready" in refused.refusal
    other = {**fresh, "spec": {"containers": [{**fresh["spec"]["containers"][0], "image": "vllm/vllm-openai:v2"}]}}
    assert (await admission.decide(request_for(other, namespace), RUNTIME)).injected

    word = f"turbospec.io/inject-anyway={template}"
    api_with_crds.kubectl("annotate", "specpol", "chat", "-n", namespace, "--overwrite", word)

    async def freed() -> bool:
        return not (await shop.policy_status(cluster, namespace)).get("injectionStopped")

    await eventually("the row to go", freed, operator_process)
    assert (await admission.decide(request_for(fresh, namespace), RUNTIME)).injected
