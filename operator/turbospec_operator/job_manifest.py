"""The profiling Job, built purely from a serving pod: its own engine container, once more, on the same node."""

from collections.abc import Mapping, Sequence
from typing import Any

from turbospec.fleet.effects import CreateProfilingJob
from turbospec_operator import names

ACTIVE_SECONDS = 2400
"""Loading a model may take half an hour, after which the runner itself gives up and says why; the sweep takes minutes
more. What has not ended after 40 is stuck."""

KEEP_SECONDS = 7200
"""How long a finished Job stays for people to look at; its result is harvested within seconds. A failed one must
outlive the pause before the next attempt (``turbospec.fleet.profiling``, an hour at most), which counts from it."""

CONTAINER_FIELDS = (
    "name", "image", "imagePullPolicy", "command", "args", "workingDir", "env", "envFrom", "resources",
    "securityContext", "volumeMounts", "volumeDevices",
)  # fmt: skip
"""What decides how the engine runs. Not: probes, ports, lifecycle hooks, stdin."""

POD_FIELDS = (
    "securityContext", "serviceAccountName", "runtimeClassName", "tolerations", "imagePullSecrets", "resourceClaims",
    "hostIPC", "dnsPolicy", "dnsConfig", "hostAliases",
)  # fmt: skip
"""What the container needs around it. Not: hostNetwork (its ports are taken), hostname, priority, affinity, scheduling
gates: the node is given."""

OUR_VARIABLES = frozenset(
    {names.ENV_TOKEN_SHA256, names.ENV_PROFILE, names.ENV_PROFILE_PORT, names.ENV_PROFILE_DRAFT_TOKENS}
)


class ManifestError(ValueError):
    """No Job can be made from this pod; the message is one line."""


def profiling_job(
    effect: CreateProfilingJob, pod: Mapping[str, Any], *, port: int, container: str | None
) -> dict[str, Any]:
    """The Job. ``container`` is the policy's word on which container runs vLLM, the webhook's annotation goes first.

    Raises ManifestError for a pod without a node or without that container.
    """
    spec, meta = pod["spec"], pod["metadata"]
    node = spec.get("nodeName")
    if not node:
        raise ManifestError(f"pod {meta['name']} is on no node yet")
    engine = _engine_container(pod, container)
    shared = {mount["name"] for mount in engine.get("volumeMounts") or []}
    volumes = [_volume(each, pod) for each in spec.get("volumes") or [] if not _is_token(each)]
    emptied = {each["name"] for each in volumes if "emptyDir" in each} & shared
    inits = [each for each in spec.get("initContainers") or [] if _prepares(each, emptied)]
    kept = [_container(each, volumes) for each in inits]
    main = _container(engine, volumes)
    main["env"] = _environment(engine.get("env") or [], effect, port)
    main["terminationMessagePath"] = "/dev/termination-log"
    main["terminationMessagePolicy"] = "File"
    mounted = {mount["name"] for each in (main, *kept) for mount in each.get("volumeMounts", ())} | {
        device["name"] for each in (main, *kept) for device in each.get("volumeDevices", ())
    }
    labels = {
        names.LABEL_PROFILING_KEY: effect.key,
        names.LABEL_INJECT: "false",  # the runtime and its mount are copied with the container
        names.LABEL_MANAGED_BY: "turbospec",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": effect.name,
            "namespace": effect.namespace,
            "labels": labels,
            "annotations": {names.ANNOTATION_ATTEMPT: str(effect.attempt)},
            "ownerReferences": [_owner(effect)],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": ACTIVE_SECONDS,
            "ttlSecondsAfterFinished": KEEP_SECONDS,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **{name: spec[name] for name in POD_FIELDS if name in spec},
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "nodeSelector": {"kubernetes.io/hostname": node},
                    **({"initContainers": kept} if kept else {}),
                    "containers": [main],
                    "volumes": [each for each in volumes if each["name"] in mounted],
                },
            },
        },
    }


def _owner(effect: CreateProfilingJob) -> dict[str, Any]:
    # blockOwnerDeletion would need permission on the policy's finalizers.
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SpeculationPolicy",
        "name": effect.policy,
        "uid": effect.policy_uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _engine_container(pod: Mapping[str, Any], named: str | None) -> Mapping[str, Any]:
    containers: Sequence[Mapping[str, Any]] = pod["spec"]["containers"]
    wanted = (pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_CONTAINER) or named
    if wanted is None and len(containers) == 1:
        return containers[0]
    for each in containers:
        if each["name"] == wanted:
            return each
    have = ", ".join(each["name"] for each in containers)
    raise ManifestError(f"pod {pod['metadata']['name']} has containers {have}, not the engine's ({wanted})")


def _container(container: Mapping[str, Any], volumes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A container with only what decides how it runs; mounts of volumes that are not kept go too."""
    there = {each["name"] for each in volumes}
    kept = {name: container[name] for name in CONTAINER_FIELDS if name in container}
    if "volumeMounts" in kept:
        kept["volumeMounts"] = [mount for mount in kept["volumeMounts"] if mount["name"] in there]
    return kept


def _environment(
    variables: Sequence[Mapping[str, Any]], effect: CreateProfilingJob, port: int
) -> list[Mapping[str, Any]]:
    ours = {
        names.ENV_PROFILE: "1",
        names.ENV_PROFILE_PORT: str(port),
        names.ENV_PROFILE_DRAFT_TOKENS: ",".join(str(k) for k in effect.draft_tokens),
    }
    theirs = [each for each in variables if each["name"] not in OUR_VARIABLES]
    return [*theirs, *({"name": name, "value": value} for name, value in ours.items())]


def _volume(volume: Mapping[str, Any], pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """A StatefulSet's own claim of this pod becomes an empty folder: it belongs to the serving pod alone."""
    claim = (volume.get("persistentVolumeClaim") or {}).get("claimName", "")
    if claim and claim == f"{volume['name']}-{pod['metadata']['name']}":
        return {"name": volume["name"], "emptyDir": {}}
    return volume


def _is_token(volume: Mapping[str, Any]) -> bool:
    """The service account token that admission mounts into every pod; the Job talks to nobody."""
    sources = (volume.get("projected") or {}).get("sources") or []
    return volume["name"].startswith("kube-api-access-") and any("serviceAccountToken" in each for each in sources)


def _prepares(container: Mapping[str, Any], emptied: set[str]) -> bool:
    """An init container that may fill a folder of the engine, with the model, say. Sidecars and the rest stay out."""
    if container.get("restartPolicy") == "Always":
        return False
    mounts = container.get("volumeMounts") or []
    return any(mount["name"] in emptied and not mount.get("readOnly") for mount in mounts)
