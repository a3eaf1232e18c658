"""What a real API server makes of the definitions: accepted as structural, bad objects refused in words that help."""

import copy
import json
from typing import Any

import pytest

from tests.support.apiserver import ApiServer
from turbospec.wire.crd import CUSTOM_RESOURCES, GROUP, PROFILE, VERSION, CustomResource
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec.wire.speculation_profile import SpeculationProfileSpec

pytestmark = pytest.mark.apiserver

NAMESPACE = "crds"

Object = dict[str, Any]


def policy(**spec: Any) -> Object:
    """A policy with these fields beside a selector."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "SpeculationPolicy",
        "metadata": {"name": "chat", "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": "chat"}}} | spec,
    }


def profile(**spec: Any) -> Object:
    """A good profile with these fields replaced."""
    good = {
        "key": "0123456789abcdef",
        "identity": {
            "hardware": "Xeon, 2 CPUs",
            "target": "sha256:1",
            "drafter": "none",
            "method": "ngram",
            "engineArguments": {"dtype": "bfloat16"},
            "engineVersion": "0.32.0",
        },
        "cells": [
            {"batch": 1, "contextTokens": 256, "draftTokens": 0, "microseconds": 30000},
            {"batch": 1, "contextTokens": 256, "draftTokens": 3, "microseconds": 35000},
        ],
        "fit": {
            "perStep": 1,
            "perBatchedToken": 0,
            "perKvToken": 0,
            "perDraftingStep": 0,
            "perDraftPass": 0,
            "perDraftToken": 0,
        },
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "SpeculationProfile",
        "metadata": {"name": "profile-a", "namespace": NAMESPACE},
        "spec": good | spec,
    }


@pytest.fixture(scope="module")
def api(api_with_kinds: ApiServer) -> ApiServer:
    """The session's API server with our kinds and a namespace."""
    api_with_kinds.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return api_with_kinds


def dry_run(api: ApiServer, manifest: Object) -> Object:
    """What the API server would store, or RuntimeError with its refusal."""
    plural = next(resource.plural for resource in CUSTOM_RESOURCES if resource.kind == manifest["kind"])
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{plural}"
    return api.post(f"{path}?dryRun=All&fieldValidation=Strict", manifest)  # as kubectl create --dry-run=server asks


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda resource: resource.kind)
def test_definitions_are_structural_and_accepted(api: ApiServer, resource: CustomResource) -> None:
    """No NonStructuralSchema condition, names accepted, and `kubectl get` by the short name."""
    crd = json.loads(api.kubectl("get", "crd", resource.name, "-o", "json"))
    conditions = {condition["type"]: condition["status"] for condition in crd["status"]["conditions"]}
    assert conditions.pop("NonStructuralSchema", "False") == "False"
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    api.kubectl("get", resource.short_name, "-n", NAMESPACE)
    explained = " ".join(api.kubectl("explain", resource.short_name).split())  # it wraps lines
    assert resource.description in explained


GOOD_POLICIES = {
    "smallest": policy(),
    "ngram": policy(speculation={"method": "ngram", "promptLookupMin": 2, "promptLookupMax": 4, "draftTokens": [0, 5]}),
    "eagle3": policy(speculation={"method": "eagle3", "model": "org/drafter"}),
    "mtp": policy(speculation={"method": "mtp"}),
    "pinned": policy(speculation={"draftTokens": [5]}),
    "audit": policy(mode="Advise", engine={"container": "vllm", "loop": "Table"}, profiling={"source": "Existing"}),
    "ceilings": policy(
        objective={
            "timePerOutputToken": {"milliseconds": 50},
            "timeToFirstToken": {"milliseconds": 2000, "percentile": 99},
        }
    ),
    "one ceiling": policy(objective={"timeToFirstToken": {"milliseconds": 1}, "timePerOutputToken": None}),
    "no ceiling": policy(objective={}),
    "old profiles": policy(profiling={"source": "Job", "maxAge": "30d"}),
    "autoscaling": policy(autoscaling={"preserve": True, "demandQuery": "sum(rate(gateway_requests_total[1m]))"}),
    "horizon": policy(autoscaling={"horizon": "90s"}),
    "no horizon": policy(autoscaling={"horizon": None, "demandQuery": None}),
    "null is absent": policy(speculation={"method": None, "model": None}),
}


@pytest.mark.parametrize("manifest", GOOD_POLICIES.values(), ids=GOOD_POLICIES)
def test_good_policies_are_accepted_and_read_back(api: ApiServer, manifest: Object) -> None:
    """What the API server stores, the wire model parses, with the same defaults on both sides."""
    stored = SpeculationPolicySpec.model_validate(dry_run(api, manifest)["spec"])
    assert stored == SpeculationPolicySpec.model_validate(manifest["spec"])


def test_defaults_are_written_out(api: ApiServer) -> None:
    """`kubectl get -o yaml` shows what an empty policy means."""
    assert dry_run(api, policy())["spec"] == {
        "selector": {"matchLabels": {"app": "chat"}},
        "mode": "Enforce",
        "engine": {"port": 8000, "loop": "Local"},
        "speculation": {"draftTokens": [0, 1, 3, 7]},
        "profiling": {"source": "Job", "capacity": "ExistingNodes", "maxConcurrentNodes": 1},
        "autoscaling": {"preserve": False, "startupVariant": "Speculative"},
    }


def _ceiling(**ceiling: Any) -> Object:
    return policy(objective={"timePerOutputToken": ceiling})


BAD_POLICIES: dict[str, tuple[Object, str]] = {
    "descending draft tokens": (
        policy(speculation={"draftTokens": [3, 1]}),
        "speculation.draftTokens must ascend without repeats: write [0, 1, 3, 7]",
    ),
    "repeated draft tokens": (
        policy(speculation={"draftTokens": [1, 1]}),
        "speculation.draftTokens must ascend without repeats",
    ),
    "no draft tokens": (policy(speculation={"draftTokens": []}), "spec.speculation.draftTokens"),
    "eagle3 without a drafter": (
        policy(speculation={"method": "eagle3"}),
        "needs speculation.model: name the drafter, or choose ngram or mtp",
    ),
    "draft_model without a drafter": (policy(speculation={"method": "draft_model"}), "needs speculation.model"),
    "drafter for ngram": (
        policy(speculation={"method": "ngram", "model": "org/drafter"}),
        "set the method or remove the model",
    ),
    "drafter without a method": (policy(speculation={"model": "org/drafter"}), "set the method or remove the model"),
    "prompt lookup for eagle3": (
        policy(speculation={"method": "eagle3", "model": "m", "promptLookupMax": 4}),
        "set the method to ngram or remove them",
    ),
    "prompt lookup upside down": (
        policy(speculation={"method": "ngram", "promptLookupMin": 5, "promptLookupMax": 4}),
        "promptLookupMin must not exceed promptLookupMax: lower the one or raise the other",
    ),
    "label value that cannot be": (
        policy(selector={"matchLabels": {"app": "a b"}}),
        "selector.matchLabels holds a value that no label can have",
    ),
    "empty selector": (policy(selector={"matchLabels": {}}), "spec.selector.matchLabels"),
    "no time per output token": (
        _ceiling(milliseconds=0),
        "milliseconds must be 1 to 3600000: write the ceiling as a whole number",
    ),
    "half a millisecond": (
        _ceiling(milliseconds=0.5),
        'spec.objective.timePerOutputToken.milliseconds in body must be of type integer: "number"',
    ),
    "a time in words": (_ceiling(milliseconds="50ms"), "milliseconds in body must be of type integer"),
    "a ceiling without a time": (
        policy(objective={"timeToFirstToken": {"percentile": 90}}),
        "spec.objective.timeToFirstToken.milliseconds: Required value",
    ),
    "percentile 0": (
        _ceiling(milliseconds=50, percentile=0),
        "percentile must be 1 to 99: write 90",
    ),
    "percentile 101": (
        _ceiling(milliseconds=50, percentile=101),
        "spec.objective.timePerOutputToken.percentile: Invalid value: 101",
    ),
    "percentile as a share": (_ceiling(milliseconds=50, percentile=0.9), "percentile in body must be of type integer"),
    "a query of nothing": (policy(autoscaling={"demandQuery": " \n"}), "demandQuery is empty: write a PromQL query"),
    "a horizon of hours": (policy(autoscaling={"horizon": "2h"}), "write 5m for five minutes"),
    "a horizon too near": (policy(autoscaling={"horizon": "59s"}), "write 5m for five minutes"),
    "a horizon too far": (policy(autoscaling={"horizon": "61m"}), "write 5m for five minutes"),
    "an age without a unit": (policy(profiling={"maxAge": "30"}), "write 30d for thirty days"),
    "an age of nothing": (policy(profiling={"maxAge": "0d"}), "write 30d for thirty days"),
    "an age as Go writes it": (policy(profiling={"maxAge": "720h0m0s"}), "write 30d for thirty days"),
    "an age as a number": (policy(profiling={"maxAge": 30}), "profiling.maxAge in body must be of type string"),
    "unknown mode": (policy(mode="On"), 'supported values: "Enforce", "Advise", "Paused"'),
    "misspelt field": (policy(modes="Enforce"), 'unknown field "spec.modes"'),
}


@pytest.mark.parametrize(("manifest", "message"), BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_bad_policies_are_refused_with_field_and_remedy(api: ApiServer, manifest: Object, message: str) -> None:
    """The refusal is the documentation."""
    with pytest.raises(RuntimeError) as refusal:
        dry_run(api, manifest)
    assert message in str(refusal.value)


def test_good_profile_is_accepted_and_read_back(api: ApiServer) -> None:
    """A hand-written profile needs neither provenance nor hold-out error."""
    stored = SpeculationProfileSpec.model_validate(dry_run(api, profile())["spec"])
    assert stored == SpeculationProfileSpec.model_validate(profile()["spec"])


def _cells(**cell: Any) -> Object:
    first = {"batch": 1, "contextTokens": 256, "draftTokens": 0, "microseconds": 30000} | cell
    return profile(cells=[first])


BAD_PROFILES: dict[str, tuple[Object, str]] = {
    "no cell at K = 0": (_cells(draftTokens=1), "cells must hold at least one with draftTokens 0"),
    "a step that takes no time": (_cells(microseconds=0), "spec.cells[0].microseconds"),
    "a negative time": (_cells(microseconds=-5), "should be greater than or equal to 1"),
    "no cells": (profile(cells=[]), "spec.cells"),
    "a fit of nothing": (
        profile(fit=dict.fromkeys(profile()["spec"]["fit"], 0)),
        "fit says that steps cost nothing: set perStep",
    ),
    "a key that is none": (profile(key="mine"), "spec.key"),
}


@pytest.mark.parametrize(("manifest", "message"), BAD_PROFILES.values(), ids=BAD_PROFILES)
def test_bad_profiles_are_refused_with_field_and_remedy(api: ApiServer, manifest: Object, message: str) -> None:
    """Nonsense in a hand-edited profile stops at the API server where the schema can tell."""
    with pytest.raises(RuntimeError) as refusal:
        dry_run(api, manifest)
    assert message in str(refusal.value)


def test_the_key_of_a_profile_cannot_change(api: ApiServer) -> None:
    """Measurements never move to another identity by an edit."""
    api.apply(profile())
    changed = copy.deepcopy(profile())
    changed["spec"]["key"] = "f" * 16
    with pytest.raises(RuntimeError, match="create another SpeculationProfile instead"):
        api.apply(changed)
    api.kubectl("delete", PROFILE.short_name, "profile-a", "-n", NAMESPACE, "--wait=false")


def test_printer_columns_show_the_status(api: ApiServer) -> None:
    """`kubectl get specpol` answers: does it work, and what is K."""
    api.apply(policy())
    status = {
        "observedGeneration": 1,
        "pods": 2,
        "controlled": 1,
        "profile": "profile-a",
        "draftTokens": "0-3",
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "observedGeneration": 1,
                "lastTransitionTime": "2025-01-01T00:00:00Z",
                "reason": "Working",
                "message": "",
            }
        ],
    }
    patch = json.dumps({"status": status})
    api.kubectl("patch", "specpol", "chat", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch)
    header, row = api.kubectl("get", "specpol", "-n", NAMESPACE).splitlines()
    assert header.split() == ["NAME", "MODE", "PODS", "CONTROLLED", "PROFILE", "K", "READY", "ADVICE", "AGE"]
    assert row.split()[:-1] == ["chat", "Enforce", "2", "1", "profile-a", "0-3", "True"]
    api.kubectl("delete", "specpol", "chat", "-n", NAMESPACE, "--wait=false")
