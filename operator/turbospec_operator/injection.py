"""Injection of the engine runtime into pods: a pure function from a raw pod to a JSON patch.

Raw dictionaries in, patch operations out: a round trip through typed models would drop fields that they do not know.
Everything is added only where it is missing, so that a second call (``reinvocationPolicy: IfNeeded``, or a pod that was
copied from an injected one) changes nothing that is right already.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec_operator import names
from turbospec_operator.injection_command import (
    ServingCommand,
    find_serving_command,
    is_data_parallel,
    max_num_seqs,
    names_speculation,
    reads_config_file,
    transfers_kv_cache,
    with_flag,
)
from turbospec_operator.injection_environment import Operation, RefusedError, environment
from turbospec_operator.injection_proposal import ANNOTATION_PROPOSED, proposed_arguments
from turbospec_operator.injection_startup import speculative_config
from turbospec_operator.injection_template import template_digest
from turbospec_operator.injection_volumes import volumes
from turbospec_operator.startup import AS_EVER, PLAIN, REFUSED, SPECULATIVE, Startup
from turbospec_operator.tokens import engine_token, token_sha256

Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Runtime:
    """What all pods of an installation get."""

    hash: str
    master_key: bytes
    control_port: int = 9476


@dataclass(frozen=True, slots=True)
class Outcome:
    """The patch, empty where nothing is to be done, and the reason where the pod was refused. ``proposed``: arguments
    that the owner of the pod may want, and why."""

    patch: tuple[Operation, ...] = ()
    refusal: str | None = None
    injected: bool = False
    proposed: str | None = None


_NOTHING_STOPPED: Mapping[str, str] = MappingProxyType({})
HOST_PORTS = 400
"""Control ports that pods on their node's network are spread over, from the usual one upwards: engines may share it."""


@dataclass(frozen=True, slots=True)
class _Engine:
    """The container that runs vLLM, and what of its command is understood (nothing where only a policy names it)."""

    container: Raw
    path: str
    serving: ServingCommand | None


@dataclass(frozen=True, slots=True)
class _Speculation:
    """What to say about ``--speculative-config``, the operations that add it, and what else the owner may want.
    ``variant`` is what to note of how the pod starts."""

    said: str | None = None
    operations: tuple[Operation, ...] = ()
    proposed: str | None = None
    variant: str | None = None


def inject(
    pod: Raw,
    namespace: str,
    policy: SpeculationPolicySpec | None,
    runtime: Runtime,
    nonce: str,
    *,
    stopped: Mapping[str, str] = _NOTHING_STOPPED,
    startup: Startup = AS_EVER,
) -> Outcome:
    """The patch that puts the runtime into this pod.

    ``policy`` governs the pod, or is None. ``nonce`` is used where the pod carries none. Pods that opted out are left
    alone without a word, and so are bystanders in a namespace that opted in (no own label, no policy, no vLLM);
    others that cannot be injected get the reason as an annotation. ``stopped`` holds the templates (digests) that the
    crash-loop breaker has stopped, with its words; ``startup`` says whether to add the policy's drafter.
    """
    labels = pod["metadata"].get("labels") or {}
    if labels.get(names.LABEL_INJECT) == "false" or names.LABEL_PROFILING_KEY in labels:
        return Outcome()
    try:
        engine = _find_engine(pod, policy.engine.container if policy else None)
        if engine is None:
            if labels.get(names.LABEL_INJECT) != "true" and policy is None:
                return Outcome()
            raise RefusedError(
                "no container serves vLLM as far as its command tells: name it in the policy's spec.engine.container"
            )
        speculation = _speculation(pod, engine, policy, startup)
        plain = speculation.variant == PLAIN
        template = None if policy is None else template_digest(pod, engine.container, policy, runtime.hash, plain=plain)
        if template is not None and template in stopped and names.ANNOTATION_INJECTED not in _present(pod):
            raise RefusedError(f"injection is stopped for pods like this one: {stopped[template]}", template)
        nonce = _present(pod).get(names.ANNOTATION_NONCE) or nonce
        token = engine_token(runtime.master_key, namespace, nonce)
        said = {
            names.ANNOTATION_INJECTED: runtime.hash,
            names.ANNOTATION_NONCE: nonce,
            names.ANNOTATION_CONTAINER: engine.container["name"],
            **({names.ANNOTATION_TEMPLATE: template} if template else {}),
            **({names.ANNOTATION_SPECULATION: speculation.said} if speculation.said else {}),
            **({names.ANNOTATION_STARTUP_VARIANT: speculation.variant} if speculation.variant else {}),
            **({ANNOTATION_PROPOSED: speculation.proposed} if speculation.proposed else {}),
        }
        patch = (
            *environment(pod, engine.container, engine.path, _control_port(pod, runtime, nonce), token_sha256(token)),
            *speculation.operations,
            *volumes(pod, engine.container, engine.path, runtime.hash),
            *_annotations(pod, said, removed=names.ANNOTATION_NOT_INJECTED),
        )
        return Outcome(patch, injected=True, proposed=speculation.proposed)
    except RefusedError as error:
        reason = str(error)
        said = {names.ANNOTATION_NOT_INJECTED: reason}
        if error.template is not None:
            said[names.ANNOTATION_TEMPLATE] = error.template
        return Outcome(tuple(_annotations(pod, said)), refusal=reason)


def _control_port(pod: Raw, runtime: Runtime, nonce: str) -> int:
    """The port that the engine shall listen on. On the node's network it is one of many, by the pod's own nonce."""
    if not pod["spec"].get("hostNetwork"):
        return runtime.control_port
    spread = int.from_bytes(hashlib.sha256(nonce.encode()).digest()[:4])
    return min(runtime.control_port, 65536 - HOST_PORTS) + spread % HOST_PORTS


def _find_engine(pod: Raw, named: str | None) -> _Engine | None:
    """The container that runs vLLM: the one the policy names, else the only one whose command serves it."""
    containers: Sequence[Raw] = pod["spec"].get("containers") or []
    engines = [
        _Engine(container, f"/spec/containers/{index}", find_serving_command(container))
        for index, container in enumerate(containers)
    ]
    if named is not None:
        for engine in engines:
            if engine.container.get("name") == named:
                return engine
        raise RefusedError(f"the policy's spec.engine.container is {named}, but the pod has: {_names(engines)}")
    serving = [engine for engine in engines if engine.serving is not None]
    if len(serving) > 1:
        raise RefusedError(f"{_names(serving)} all serve vLLM: name one in the policy's spec.engine.container")
    return serving[0] if serving else None


def _names(engines: Sequence[_Engine]) -> str:
    return ", ".join(str(engine.container.get("name")) for engine in engines)


def _speculation(pod: Raw, engine: _Engine, policy: SpeculationPolicySpec | None, startup: Startup) -> _Speculation:
    """Whether and how ``--speculative-config`` is added. What was noted of the pod in an earlier call stands."""
    noted = _present(pod).get(names.ANNOTATION_STARTUP_VARIANT)
    if policy is None or noted == PLAIN:
        return _Speculation(variant=noted)
    wanted = _added(engine, policy)
    if noted is not None:
        return replace(wanted, said=None, variant=noted)
    return _chosen(engine, policy, startup, wanted) if startup.chosen else wanted


def _chosen(engine: _Engine, policy: SpeculationPolicySpec, startup: Startup, wanted: _Speculation) -> _Speculation:
    """The same under startupVariant Plain or Auto, which act only where nothing but the policy adds the drafter."""
    says = f"startupVariant {startup.variant} does not act"
    if not wanted.operations:
        why = wanted.said or _template_says(policy)
        return _Speculation(f"{why}; so {says}", variant=REFUSED)
    if transfers_kv_cache(engine.container):
        why = "with --kv-transfer-config the engines of both sides must speculate alike"
        return replace(wanted, said=f"{wanted.said}; {says}: {why}", variant=REFUSED)
    if startup.plain:
        return _Speculation(f"not added: {startup.why}", variant=PLAIN)
    return replace(wanted, said=f"{wanted.said}: {startup.why}", variant=SPECULATIVE)


def _template_says(policy: SpeculationPolicySpec) -> str:
    """Why the policy adds nothing, and what to do that it may."""
    if policy.speculation.method is None:
        return "not added: the policy names no spec.speculation.method; name one"
    return (
        "not added: the pod's own --speculative-config stands; take it out of the template, and name the method in "
        "spec.speculation"
    )


def _added(engine: _Engine, policy: SpeculationPolicySpec) -> _Speculation:
    """What adds the policy's method; where the pod has a say of its own nothing, and without a word."""
    container = engine.container
    if policy.speculation.method is None or names_speculation(container):
        # A config that is there was added by us in an earlier call, or is the user's own, which stands.
        return _Speculation()
    table = not is_data_parallel(container)
    config = speculative_config(policy.speculation, max_num_seqs(container), table=table)
    if policy.mode == "Advise" or config is None:
        why = "draftTokens allow no K above 0" if config is None else "mode is Advise"
        return _Speculation(f"not added: the policy's {why}")
    if reads_config_file(container):
        return _Speculation("not added: the pod's --config file may hold a speculative-config; add the method there")
    if engine.serving is None:
        return _Speculation("not added: the command does not show where vLLM starts; add --speculative-config to it")
    try:
        field, content = with_flag(container, engine.serving, "--speculative-config", config)
    except ValueError as error:
        return _Speculation(f"not added: {error}")
    return _Speculation(
        f"added: {policy.speculation.method}",
        # "add" sets a member of an object whether or not it is there.
        ({"op": "add", "path": f"{engine.path}/{field}", "value": content},),
        # Without a table vLLM captures one width, and K stays what it is.
        proposed_arguments(container, policy.speculation.draft_tokens) if table else None,
    )


def _annotations(pod: Raw, wanted: Mapping[str, str], removed: str | None = None) -> Iterator[Operation]:
    """Operations that make the annotations so."""
    present = _present(pod)
    if not present:
        yield {"op": "add", "path": "/metadata/annotations", "value": {}}
    if removed is not None and removed in present:
        yield {"op": "remove", "path": _annotation_path(removed)}
    for name, value in wanted.items():
        if present.get(name) != value:
            yield {"op": "add", "path": _annotation_path(name), "value": value}


def _present(pod: Raw) -> Raw:
    annotations: Raw = pod["metadata"].get("annotations") or {}
    return annotations


def _annotation_path(name: str) -> str:
    return f"/metadata/annotations/{name.replace('~', '~0').replace('/', '~1')}"
