"""The profiling Job is the serving pod's engine container, and nothing else of the pod."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.operator.samples import JOB_EFFECT as EFFECT
from tests.operator.samples import engine_pod
from turbospec.fleet.profiling import MAX_RETRY_SECONDS
from turbospec.wire.profiling_job import ProfilingJobSpec
from turbospec_operator.job_manifest import JobOptions, ManifestError, placed, profiling_job


def build(pod: dict[str, Any], container: str | None = None, **options: Any) -> dict[str, Any]:
    """The Job for a pod."""
    return profiling_job(EFFECT, pod, JobOptions(8000, container, **options))


def template(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod spec inside the Job."""
    spec: dict[str, Any] = build(pod)["spec"]["template"]["spec"]
    return spec


def overridden(pod: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    """The pod spec under a policy that says this of the Job."""
    job = build(pod, overrides=ProfilingJobSpec.model_validate(overrides))
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def rich_pod() -> dict[str, Any]:
    """A pod with something of everything."""
    pod = engine_pod("shop", "chat-1")
    pod["metadata"]["labels"]["pod-template-hash"] = "abc"
    pod["spec"] |= {
        "hostNetwork": True,
        "hostPID": True,
        "shareProcessNamespace": True,
        "subdomain": "chat",
        "schedulingGates": [{"name": "later"}],
        "overhead": {"cpu": "250m"},
        "schedulerName": "binpack",
        "enableServiceLinks": False,
        "hostUsers": False,
        "hostname": "chat-1",
        "priorityClassName": "serving",
        "priority": 1000,
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "runtimeClassName": "nvidia",
        "serviceAccountName": "vllm",
        "securityContext": {"fsGroup": 1000},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"pool": "gpu"},
        "affinity": {"podAntiAffinity": {}},
        "terminationGracePeriodSeconds": 3600,
    }
    engine = pod["spec"]["containers"][0]
    engine |= {
        "ports": [{"containerPort": 8000, "hostPort": 8000}],
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8000}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8000}},
        "startupProbe": {"httpGet": {"path": "/health", "port": 8000}},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "60"]}}},
        "command": ["vllm", "serve"],
        "workingDir": "/work",
        "envFrom": [{"secretRef": {"name": "hub"}}],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "securityContext": {"runAsUser": 1000},
    }
    engine["volumeMounts"] += [
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 a mount of the pod
        {"name": "cache", "mountPath": "/cache"},
        {"name": "models", "mountPath": "/models"},
        {"name": "kube-api-access-x1", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
    ]
    pod["spec"]["containers"].append({"name": "proxy", "image": "envoy", "volumeMounts": [{"name": "certs"}]})
    pod["spec"]["initContainers"] = [
        {"name": "mesh", "image": "mesh", "securityContext": {"privileged": True}},
        {"name": "sidecar", "image": "logs", "restartPolicy": "Always", "volumeMounts": [{"name": "shm"}]},
        {"name": "fetch", "image": "fetch", "volumeMounts": [{"name": "models", "mountPath": "/models"}]},
        {"name": "check", "image": "check", "volumeMounts": [{"name": "models", "readOnly": True, "mountPath": "/m"}]},
    ]
    pod["spec"]["volumes"] += [
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        {"name": "cache", "persistentVolumeClaim": {"claimName": "cache-chat-1"}},
        {"name": "models", "emptyDir": {}},
        {"name": "certs", "secret": {"secretName": "certs"}},
        {"name": "kube-api-access-x1", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
    ]
    return pod


@pytest.mark.parametrize(
    "field", ["name", "image", "command", "args", "workingDir", "envFrom", "resources", "securityContext"]
)
def test_what_decides_how_the_engine_runs_is_kept(field: str) -> None:
    """The measured engine is the serving engine."""
    pod = rich_pod()
    assert template(pod)["containers"][0][field] == pod["spec"]["containers"][0][field]


@pytest.mark.parametrize(
    "field",
    [
        "tolerations",
        "runtimeClassName",
        "serviceAccountName",
        "securityContext",
        "imagePullSecrets",
        "schedulerName",
        "enableServiceLinks",
        "hostUsers",
    ],
)
def test_what_the_container_needs_around_it_is_kept(field: str) -> None:
    """It must be admitted, pulled and scheduled like the serving pod."""
    pod = rich_pod()
    assert template(pod)[field] == pod["spec"][field]


@pytest.mark.parametrize("field", ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"])
def test_what_serves_clients_is_dropped_from_the_container(field: str) -> None:
    """No probe kills a measuring engine, and no host port collides with the serving one."""
    assert field not in template(rich_pod())["containers"][0]


@pytest.mark.parametrize(
    "field",
    [
        "hostNetwork",
        "hostPID",
        "shareProcessNamespace",
        "hostname",
        "subdomain",
        "priorityClassName",
        "priority",
        "affinity",
        "nodeSelector",
        "nodeName",
        "schedulingGates",
        "overhead",
        "terminationGracePeriodSeconds",
    ],
)
def test_what_belongs_to_serving_is_dropped_from_the_pod(field: str) -> None:
    """A measurement pre-empts nobody and claims no address."""
    assert field not in template(rich_pod())


def test_no_label_of_the_serving_pod_reaches_the_job() -> None:
    """Else Services would send clients to it, and ReplicaSets would adopt it."""
    job = build(rich_pod())
    expected = {
        "turbospec.io/profiling-key": EFFECT.key,
        "turbospec.io/inject": "false",
        "app.kubernetes.io/managed-by": "turbospec",
    }
    assert job["metadata"]["labels"] == expected
    assert job["spec"]["template"]["metadata"] == {"labels": expected}


def test_sidecars_stay_behind_and_what_prepares_the_engines_folders_comes_along() -> None:
    """Only an init container that can write an empty folder of the engine is needed to run it."""
    spec = template(rich_pod())
    assert [each["name"] for each in spec["containers"]] == ["vllm"]
    assert [each["name"] for each in spec["initContainers"]] == ["fetch"]


def test_volumes_are_those_that_are_mounted_and_a_pods_own_claim_becomes_an_empty_folder() -> None:
    """The runtime stays mounted; tokens and others' secrets do not; a StatefulSet's claim is left to its pod."""
    spec = template(rich_pod())
    volumes = {each["name"]: each for each in spec["volumes"]}
    assert set(volumes) == {"turbospec", "shm", "cache", "models"}
    assert volumes["cache"] == {"name": "cache", "emptyDir": {}}
    mounts = {each["name"] for each in spec["containers"][0]["volumeMounts"]}
    assert mounts == {"turbospec", "shm", "cache", "models"}
    assert spec["automountServiceAccountToken"] is False


def test_a_shared_claim_is_kept() -> None:
    """A claim that is not the pod's own holds the model."""
    pod = engine_pod("shop", "chat-1")
    pod["spec"]["volumes"].append({"name": "models", "persistentVolumeClaim": {"claimName": "models"}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "models", "mountPath": "/models"})
    assert {"name": "models", "persistentVolumeClaim": {"claimName": "models"}} in template(pod)["volumes"]


def test_the_environment_is_the_pods_with_our_orders_and_without_its_token() -> None:
    """The plugin is found as before, is told to profile, and the serving pod's token hash is not reused."""
    environment = {each["name"]: each.get("value") for each in template(rich_pod())["containers"][0]["env"]}
    assert environment == {
        "PYTHONPATH": "/opt/turbospec/turbospec.zip",
        "TURBOSPEC_CONTROL_PORT": "9476",
        "TURBOSPEC_PROFILE": "1",
        "TURBOSPEC_PROFILE_PORT": "8000",
        "TURBOSPEC_PROFILE_DRAFT_TOKENS": "0,1,3,5",
        "TURBOSPEC_PROFILE_CONTAINERS": "6",
    }


def test_the_job_runs_once_and_goes_with_its_policy() -> None:
    """One attempt, bounded."""
    job = build(rich_pod())
    spec = job["spec"]["template"]["spec"]
    assert (spec["restartPolicy"], job["spec"]["backoffLimit"]) == ("Never", 0)
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["ttlSecondsAfterFinished"]) == (2400, 7200)
    assert spec["containers"][0]["terminationMessagePolicy"] == "File"
    assert job["metadata"]["name"] == EFFECT.name
    assert job["metadata"]["annotations"] == {"turbospec.io/attempt": "2"}
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["blockOwnerDeletion"]) == ("SpeculationPolicy", "uid-1", False)


def test_a_failed_job_outlives_the_longest_pause_before_the_next() -> None:
    """The newest Job says which attempt it was: without it the pauses would start anew."""
    assert build(rich_pod())["spec"]["ttlSecondsAfterFinished"] >= 1.5 * MAX_RETRY_SECONDS


def test_the_live_pod_is_not_changed() -> None:
    """Building twice gives the same Job."""
    pod = rich_pod()
    assert build(pod) == build(pod)
    assert pod == rich_pod()


@pytest.mark.parametrize(
    ("annotation", "policy", "wanted"), [("vllm", None, "vllm"), (None, "proxy", "proxy"), ("vllm", "proxy", "vllm")]
)
def test_the_container_is_the_webhooks_choice_then_the_policys(
    annotation: str | None, policy: str | None, wanted: str
) -> None:
    """Never the first one because it is first."""
    pod = rich_pod()
    del pod["metadata"]["annotations"]["turbospec.io/container"]
    if annotation:
        pod["metadata"]["annotations"]["turbospec.io/container"] = annotation
    job = build(pod, policy)
    assert job["spec"]["template"]["spec"]["containers"][0]["name"] == wanted


@pytest.mark.parametrize("broken", ["node", "container", "several"])
def test_a_pod_that_cannot_be_copied_is_refused_by_name(broken: str) -> None:
    """One line that names the pod."""
    pod = rich_pod()
    if broken == "node":
        del pod["spec"]["nodeName"]
    else:
        del pod["metadata"]["annotations"]["turbospec.io/container"]
    with pytest.raises(ManifestError, match="chat-1"):
        build(pod, "nobody" if broken == "container" else None)


@pytest.mark.parametrize(
    ("said", "want"), [({}, "turbospec-profiling"), ({"priorityClassName": "batch"}, "batch")], ids=["ours", "its own"]
)
def test_priority_is_the_installations_unless_the_policy_names_another(said: dict[str, Any], want: str) -> None:
    """Below everything that serves; an installation without the class names none."""
    overrides = ProfilingJobSpec.model_validate(said)
    job = build(rich_pod(), overrides=overrides, priority_class="turbospec-profiling")
    assert job["spec"]["template"]["spec"]["priorityClassName"] == want


def test_a_policy_changes_where_the_pod_runs_and_what_it_gets() -> None:
    """Node selector, tolerations, resources and variables; whatever it does not name stays the serving pod's."""
    spec = overridden(
        rich_pod(),
        nodeSelector={"pool": "spare"},
        tolerations=[{"key": "spare", "operator": "Exists"}],
        resources={"requests": {"memory": "8Gi"}, "limits": {"memory": "16Gi"}},
        env=[{"name": "TURBOSPEC_PROFILE_SECONDS", "value": "60"}],
    )
    assert spec["nodeSelector"] == {"pool": "spare"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}, {"key": "spare", "operator": "Exists"}]
    container = spec["containers"][0]
    limits = {"nvidia.com/gpu": "1", "memory": "16Gi"}
    assert container["resources"] == {"requests": {"memory": "8Gi"}, "limits": limits}
    assert {"name": "TURBOSPEC_PROFILE_SECONDS", "value": "60"} in container["env"]


def test_a_variable_of_the_policy_replaces_the_serving_containers() -> None:
    """Two of one name would leave it to the kubelet which one counts."""
    pod = rich_pod()
    pod["spec"]["containers"][0]["env"].append({"name": "OMP_NUM_THREADS", "value": "8"})
    spec = overridden(pod, env=[{"name": "OMP_NUM_THREADS", "value": "2"}])
    values = [each["value"] for each in spec["containers"][0]["env"] if each["name"] == "OMP_NUM_THREADS"]
    assert values == ["2"]


@pytest.mark.parametrize(
    "said",
    [
        {"image": "evil"},
        {"serviceAccountName": "admin"},
        {"volumes": []},
        {"command": ["sh"]},
        {"env": [{"name": "LD_PRELOAD", "value": "/cache/evil.so"}]},
        {"env": [{"name": "PYTHONPATH", "value": "/cache"}]},
        {"env": [{"name": "OMP_NUM_THREADS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"resources": {"claims": [{"name": "gpu"}]}},
        {"resources": {"limits": {"cpu": "-1"}}},
    ],
    ids=str,
)
def test_nothing_lets_a_policys_author_run_other_code_or_rights(said: dict[str, Any]) -> None:
    """Whoever may write a policy need not be one who may create pods."""
    with pytest.raises(ValidationError):
        ProfilingJobSpec.model_validate(said)


def test_a_claim_from_a_template_is_made_anew_and_a_named_one_is_refused() -> None:
    """The device of a named claim is the one that serves."""
    pod = rich_pod()
    pod["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]
    assert template(pod)["resourceClaims"] == pod["spec"]["resourceClaims"]
    pod["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimName": "gpu-of-chat"}]
    with pytest.raises(ManifestError, match=r"gpu-of-chat by name.*resourceClaimTemplateName"):
        build(pod)


def test_the_queue_of_kueue_is_that_of_the_serving_pod() -> None:
    """On the Job only: Kueue admits the whole Job, and its pods must not ask once more."""
    pod = rich_pod()
    pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"
    job = build(pod)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]


def test_a_place_is_added_to_the_policys_own_selector() -> None:
    """And told, for the queue and for people; nothing of the unplaced Job is changed."""
    unplaced = build(rich_pod(), overrides=ProfilingJobSpec.model_validate({"nodeSelector": {"pool": "spare"}}))
    place = {"nodeSelector": {"node.kubernetes.io/instance-type": "g5"}, "affinity": {"nodeAffinity": {}}}
    job = placed(unplaced, place, "node-7", unchecked="list nodes in all namespaces")
    spec = job["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"node.kubernetes.io/instance-type": "g5", "pool": "spare"}
    assert spec["affinity"] == {"nodeAffinity": {}}
    assert job["metadata"]["annotations"] == {
        "turbospec.io/attempt": "2",
        "turbospec.io/node": "node-7",
        "turbospec.io/unchecked": "list nodes in all namespaces",
    }
    assert "affinity" not in unplaced["spec"]["template"]["spec"]
