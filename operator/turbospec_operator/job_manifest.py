"""The profiling Job, built purely from a serving pod: its own engine container, once more, on hardware of its kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from turbospec.fleet.effects import CreateProfilingJob
from turbospec.wire.profiling_job import ProfilingJobSpec
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
    "hostIPC", "hostUsers", "dnsPolicy", "dnsConfig", "hostAliases", "schedulerName", "enableServiceLinks",
)  # fmt: skip
"""What the container needs around it. Not: hostNetwork (its ports are taken), hostname, priority, affinity, scheduling
gates: the node is given. hostUsers: without its ``false`` the copy would have more rights than the original;
enableServiceLinks: a Service named vllm sets VLLM_PORT to what vLLM cannot read."""

OUR_VARIABLES = frozenset(
    {
        names.ENV_TOKEN_SHA256,
        names.ENV_PROFILE,
        names.ENV_PROFILE_PORT,
        names.ENV_PROFILE_DRAFT_TOKENS,
        names.ENV_PROFILE_CONTAINERS,
    }
)


class ManifestError(ValueError):
    """No Job can be made from this pod; the message is one line."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What is not in the pod: the policy's words on it, and the PriorityClass of this installation, where it has one.

    ``container`` is the policy's word on which container runs vLLM; the webhook's annotation goes first.
    """

    port: int
    container: str | None = None
    overrides: ProfilingJobSpec = field(default_factory=ProfilingJobSpec)
    priority_class: str | None = None


def profiling_job(effect: CreateProfilingJob, pod: Mapping[str, Any], options: JobOptions) -> dict[str, Any]:
    """The Job, without a place: ``placed`` gives it one.

    Raises ManifestError for a pod without a node, without that container, or with a device of its own.
    """
    spec, meta = pod["spec"], pod["metadata"]
    if not spec.get("nodeName"):
        raise ManifestError(f"pod {meta['name']} is on no node yet")
    _check_claims(pod)
    overrides = options.overrides.raw()
    priority = overrides.get("priorityClassName") or options.priority_class
    engine = _engine_container(pod, options.container)
    shared = {mount["name"] for mount in engine.get("volumeMounts") or []}
    volumes = [_volume(each, pod) for each in spec.get("volumes") or [] if not _is_token(each)]
    emptied = {each["name"] for each in volumes if "emptyDir" in each} & shared
    inits = [each for each in spec.get("initContainers") or [] if _prepares(each, emptied)]
    kept = [_container(each, volumes) for each in inits]
    main = _container(engine, volumes)
    main["env"] = _environment(engine.get("env") or [], overrides["env"], _orders(effect, options.port, spec))
    main |= _resources(engine, overrides["resources"])
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
    queue = (meta.get("labels") or {}).get(names.LABEL_KUEUE_QUEUE)
    tolerations = [*(spec.get("tolerations") or []), *overrides["tolerations"]]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": effect.name,
            "namespace": effect.namespace,
            "labels": {**labels, **({names.LABEL_KUEUE_QUEUE: queue} if queue else {})},
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
                    **({"nodeSelector": overrides["nodeSelector"]} if overrides["nodeSelector"] else {}),
                    **({"tolerations": tolerations} if tolerations else {}),
                    **({"priorityClassName": priority} if priority else {}),
                    **({"initContainers": kept} if kept else {}),
                    "containers": [main],
                    "volumes": [each for each in volumes if each["name"] in mounted],
                },
            },
        },
    }


def placed(
    job: Mapping[str, Any], place: Mapping[str, Any], node: str | None, unchecked: str | None = None
) -> dict[str, Any]:
    """The Job with node selector and affinity of ``place`` added to its pod.

    ``node`` is the one that it is made for; ``unchecked`` the permission without which nobody could look whether that
    has room.
    """
    meta, template = job["metadata"], job["spec"]["template"]
    selector = {**place.get("nodeSelector", {}), **template["spec"].get("nodeSelector", {})}
    spec = {
        **template["spec"],
        **({"nodeSelector": selector} if selector else {}),
        **({"affinity": place["affinity"]} if "affinity" in place else {}),
    }
    told = {names.ANNOTATION_NODE: node, names.ANNOTATION_UNCHECKED: unchecked}
    annotations = {**meta["annotations"], **{name: value for name, value in told.items() if value}}
    return {
        **job,
        "metadata": {**meta, "annotations": annotations},
        "spec": {**job["spec"], "template": {**template, "spec": spec}},
    }


def _check_claims(pod: Mapping[str, Any]) -> None:
    """A claim made from a template is made anew for the Job's pod; a named one is the serving pod's own device."""
    for claim in pod["spec"].get("resourceClaims") or []:
        if claim.get("resourceClaimName"):
            raise ManifestError(
                f"pod {pod['metadata']['name']} uses ResourceClaim {claim['resourceClaimName']} by name: a Job would "
                "measure on the very device that serves. Use resourceClaimTemplateName in the pods' template, or "
                "provide the SpeculationProfile yourself"
            )


def _resources(engine: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The container's requests and limits with the policy's put over them; {} where neither says anything."""
    own = engine.get("resources") or {}
    merged = {field: {**(own.get(field) or {}), **overrides[field]} for field in ("requests", "limits")}
    kept = {**own, **{field: amounts for field, amounts in merged.items() if amounts}}
    return {"resources": kept} if kept else {}


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


def _orders(effect: CreateProfilingJob, port: int, serving: Mapping[str, Any]) -> dict[str, str]:
    """What the runner is told. Its pod is counted with as many containers as the serving one has: more than it is made
    with, but what a mesh adds to the pods of its namespace it adds to this one too."""
    containers = len(serving["containers"]) + len(serving.get("initContainers") or [])
    return {
        names.ENV_PROFILE: "1",
        names.ENV_PROFILE_PORT: str(port),
        names.ENV_PROFILE_DRAFT_TOKENS: ",".join(str(k) for k in effect.draft_tokens),
        names.ENV_PROFILE_CONTAINERS: str(containers),
    }


def _environment(
    variables: Sequence[Mapping[str, Any]],
    overrides: Sequence[Mapping[str, Any]],
    ours: Mapping[str, str],
) -> list[Mapping[str, Any]]:
    replaced = OUR_VARIABLES | {each["name"] for each in overrides}
    theirs = [each for each in variables if each["name"] not in replaced]
    return [*theirs, *overrides, *({"name": name, "value": value} for name, value in ours.items())]


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
