"""Profiles outside the cluster: read from files and objects, checked as the operator would, and written for others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from turbospec.cli.errors import CommandError
from turbospec.control.latency import InvalidProfileError, LatencyModel
from turbospec.wire.crd import CLUSTER_PROFILE, GROUP, PROFILE, VERSION
from turbospec.wire.latency import LatencyDocument, to_model
from turbospec.wire.speculation_profile import SpeculationProfileSpec

Raw = dict[str, Any]

KEY_LABEL = "turbospec.io/profiling-key"
PROMOTED_FROM = "turbospec.io/promoted-from"


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile that can be used. ``source`` is what errors and headings call it."""

    source: str
    name: str
    spec: SpeculationProfileSpec
    model: LatencyModel


def read_profile(path: Path) -> Profile:
    """A SpeculationProfile or ClusterSpeculationProfile in YAML or JSON, or only its spec.

    Raises CommandError, with file and field, for what no operator would take.
    """
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each is not None]
    except OSError as error:
        raise CommandError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise CommandError(f"{path}: is not YAML: {_line(str(error))}") from error
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise CommandError(f"{path}: holds {len(documents)} documents, expected one profile: export them one by one")
    document = documents[0]
    if "spec" not in document and "cells" in document:
        document = {"spec": document}
    return profile_of(document, str(path), path.stem)


def profile_of(raw: Mapping[str, Any], source: str, default_name: str = "profile") -> Profile:
    """The profile in an object. Raises CommandError, naming ``source`` and field, where it cannot be used."""
    kind = raw.get("kind", PROFILE.kind)
    if kind not in (PROFILE.kind, CLUSTER_PROFILE.kind):
        raise CommandError(f"{source}: kind: is {kind!r}, expected {PROFILE.kind} or {CLUSTER_PROFILE.kind}")
    spec = raw.get("spec")
    if not isinstance(spec, Mapping):
        raise CommandError(f"{source}: spec: is missing: a profile has spec.key, identity, cells and fit")
    try:
        parsed = SpeculationProfileSpec.model_validate(spec)
        if parsed.key != parsed.identity.key():
            raise CommandError(
                f"{source}: spec.key: is {parsed.key}, the identity's is {parsed.identity.key()}: "
                "set that, or put back the identity that was measured"
            )
        model = to_model(LatencyDocument(cells=parsed.cells, fit=parsed.fit))
    except ValidationError as error:
        raise CommandError(f"{source}: {_first_fault(error)}") from error
    except InvalidProfileError as error:
        raise CommandError(f"{source}: spec: {error}") from error
    metadata = raw.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return Profile(source, str(name or default_name), parsed, model)


def manifest(
    profile: Profile,
    *,
    namespace: str | None = None,
    cluster: bool = False,
    annotations: Mapping[str, str] | None = None,
) -> Raw:
    """The object for another place: nothing of the cluster it comes from, but its provenance."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": CLUSTER_PROFILE.kind if cluster else PROFILE.kind,
        "metadata": {
            "name": profile.name,
            **({} if namespace is None else {"namespace": namespace}),
            "labels": {KEY_LABEL: profile.spec.key},
            **({"annotations": dict(annotations)} if annotations else {}),
        },
        "spec": profile.spec.model_dump(by_alias=True, exclude_none=True),
    }


def rendered(document: Any, form: str) -> str:
    """YAML or JSON, ending with a newline."""
    if form == "json":
        return json.dumps(document, indent=2) + "\n"
    return str(yaml.safe_dump(document, sort_keys=False, width=120))


def write_text(path: Path, text: str) -> None:
    """Raises CommandError where the file cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{path}: cannot be written: {error.strerror}") from error


def _first_fault(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    field = "spec"
    for part in faults[0]["loc"]:
        field += f"[{part}]" if isinstance(part, int) else f".{part}"
    found = faults[0]["input"]
    shown = f" (found {found!r})" if isinstance(found, int | float | str) else ""
    more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"{field}: {_line(faults[0]['msg'])}{shown}{more}"


def _line(text: str) -> str:
    return " ".join(text.split())
