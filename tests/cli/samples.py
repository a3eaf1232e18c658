"""Profiles for the tests of ``turbospec profile``: the real one that the docs show, and changes of it."""

import copy
from pathlib import Path
from typing import Any

import yaml

from turbospec.wire.identity import ProfileIdentity

Raw = dict[str, Any]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "profile-smollm2-cpu.yaml"
NAME = "profile-0ff1c5dcc8b54597"


def example() -> Raw:
    """The file of the docs, parsed."""
    raw: Raw = yaml.safe_load(EXAMPLE.read_text())
    return raw


def stored(name: str = NAME, namespace: str | None = "team", **spec: Any) -> Raw:
    """As an API server returns it."""
    raw = example()
    raw["spec"] |= spec
    raw["metadata"] |= {"name": name, "uid": "u-1", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z"}
    raw["kind"] = "SpeculationProfile" if namespace else "ClusterSpeculationProfile"
    if namespace:
        raw["metadata"]["namespace"] = namespace
    return raw


def with_identity(raw: Raw, **changes: Any) -> Raw:
    """Of another engine, with the key that belongs to it."""
    changed = copy.deepcopy(raw)
    changed["spec"]["identity"] |= changes
    changed["spec"]["key"] = ProfileIdentity.model_validate(changed["spec"]["identity"]).key()
    return changed


def slower_drafts(raw: Raw, factor: float) -> Raw:
    """Every step with K > 0 takes so much longer."""
    changed = copy.deepcopy(raw)
    for cell in changed["spec"]["cells"]:
        if cell["draftTokens"]:
            cell["microseconds"] = round(factor * cell["microseconds"])
    return changed


def plain_engine(factor: float) -> Raw:
    """The example's engine without speculation, whose steps take ``factor`` of those at K = 0."""
    cells = [
        {
            "batch": cell["batch"],
            "contextTokens": cell["contextTokens"],
            "microseconds": round(factor * cell["microseconds"]),
            "samples": 20,
        }
        for cell in example()["spec"]["cells"]
        if cell["draftTokens"] == 0
    ]
    return {"cells": cells, "kvCacheTokens": 17000, "startSeconds": 21}
