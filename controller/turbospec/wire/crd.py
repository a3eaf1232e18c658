"""CustomResourceDefinitions out of the wire models: one source for what we parse and what the API server validates.

pydantic writes JSON Schema 2020-12; Kubernetes wants *structural* OpenAPI v3.0. The differences are bridged here:
references are inlined, ``X | None`` loses its null branch, exclusive bounds and constants are rewritten, titles are
dropped, integers get formats. ``x-kubernetes-*`` keys that models carry in ``json_schema_extra`` pass through.
"""

import copy
import inspect
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from turbospec.wire.base import WireModel
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec.wire.speculation_policy_status import SpeculationPolicyStatus
from turbospec.wire.speculation_profile import SpeculationProfileSpec, SpeculationProfileStatus

GROUP = "turbospec.io"
VERSION = "v1alpha1"

Schema = dict[str, Any]

_DROPPED_KEYS = frozenset({"title", "$defs", "propertyNames"})
_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of ``kubectl get``; priority 1 shows it with ``-o wide`` only."""

    name: str
    type: str
    json_path: str
    description: str
    priority: int = 0

    def manifest(self) -> dict[str, Any]:
        """As the CustomResourceDefinition spells it."""
        column: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.json_path,
            "description": self.description,
        }
        return column | ({"priority": self.priority} if self.priority else {})


@dataclass(frozen=True, slots=True)
class CustomResource:
    """Names, models and columns of one custom resource."""

    kind: str
    plural: str
    short_name: str
    description: str
    spec: type[WireModel]
    status: type[WireModel]
    columns: tuple[PrinterColumn, ...]
    scope: Literal["Namespaced", "Cluster"] = "Namespaced"

    @property
    def name(self) -> str:
        """The name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"


_AGE = PrinterColumn("AGE", "date", ".metadata.creationTimestamp", "Time since creation.")
_IN_USE = '.status.conditions[?(@.type=="InUse")]'
_FRESH = '.status.conditions[?(@.type=="Fresh")]'
_READY = '.status.conditions[?(@.type=="Ready")]'

POLICY = CustomResource(
    kind="SpeculationPolicy",
    plural="speculationpolicies",
    short_name="specpol",
    description="Keeps speculative decoding at its most productive draft length on the vLLM pods it selects.",
    spec=SpeculationPolicySpec,
    status=SpeculationPolicyStatus,
    columns=(
        PrinterColumn("MODE", "string", ".spec.mode", "Enforce, Advise or Paused."),
        PrinterColumn("PODS", "integer", ".status.pods", "vLLM pods that the policy governs."),
        PrinterColumn("CONTROLLED", "integer", ".status.controlled", "Pods whose engine runs the policy's document."),
        PrinterColumn("PROFILE", "string", ".status.profile", "Latency profile in use."),
        PrinterColumn(
            "K", "string", ".status.draftTokens", "Draft tokens per step over the engines: a value or a range."
        ),
        PrinterColumn("READY", "string", f"{_READY}.status", "Whether the policy does its work."),
        PrinterColumn("ADVICE", "string", ".status.advice", "Mode Advise: what TurboSpec would have gained."),
        _AGE,
        PrinterColumn("REASON", "string", f"{_READY}.reason", "Why it is or is not ready.", priority=1),
        PrinterColumn("MESSAGE", "string", f"{_READY}.message", "What to do.", priority=1),
    ),
)

PROFILE = CustomResource(
    kind="SpeculationProfile",
    plural="speculationprofiles",
    short_name="specprof",
    description="Measured step times of one kind of hardware, model, drafter and engine configuration.",
    spec=SpeculationProfileSpec,
    status=SpeculationProfileStatus,
    columns=(
        PrinterColumn("METHOD", "string", ".spec.identity.method", "Speculative method."),
        PrinterColumn("HARDWARE", "string", ".spec.identity.hardware", "What it was measured on."),
        PrinterColumn("ERROR", "integer", ".spec.holdOutErrorPermille", "Median error on unseen cells, in permille."),
        PrinterColumn("USE", "string", f"{_IN_USE}.reason", "InUse, StandsIn, Superseded, NoEngines or Refused."),
        PrinterColumn("FRESH", "string", f"{_FRESH}.reason", "Fresh, Grown, Stale, Drifted or Refused."),
        PrinterColumn("COVERAGE", "string", ".spec.provenance.coverage", "What of the planned cells was measured."),
        _AGE,
        PrinterColumn("KEY", "string", ".spec.key", "Digest of the identity.", priority=1),
        PrinterColumn("NODE", "string", ".spec.provenance.node", "Node it was measured on.", priority=1),
    ),
)

CLUSTER_PROFILE = replace(
    PROFILE,
    kind="ClusterSpeculationProfile",
    plural="clusterspeculationprofiles",
    short_name="cspecprof",
    description="A SpeculationProfile for every namespace, written by administrators only. A namespace's own one wins.",
    columns=tuple(column for column in PROFILE.columns if not column.json_path.startswith(".status")),
    scope="Cluster",
)

CUSTOM_RESOURCES = (POLICY, PROFILE, CLUSTER_PROFILE)


def crd_manifest(resource: CustomResource) -> dict[str, Any]:
    """The CustomResourceDefinition: one version, served and stored, with a status subresource."""
    schema: Schema = {
        "type": "object",
        "description": resource.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Version of this representation: {GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"Kind of this object: {resource.kind}."},
            "metadata": {"type": "object"},
            "spec": structural_schema(resource.spec),
            "status": _without_defaults(structural_schema(resource.status)),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.name, "labels": {"app.kubernetes.io/part-of": "turbospec"}},
        "spec": {
            "group": GROUP,
            "scope": resource.scope,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short_name],
                "categories": ["turbospec"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.manifest() for column in resource.columns],
                }
            ],
        },
    }


def structural_schema(model: type[WireModel]) -> Schema:
    """The structural OpenAPI v3.0 schema of a model.

    Raises ValueError, naming the path, for what Kubernetes cannot express (unions of types, open-ended values).
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(schema, schema.get("$defs", {}), model.__name__)


def _convert(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    node = _resolve(node, definitions, path)
    result: Schema = {}
    for key, value in node.items():
        if key in _DROPPED_KEYS:
            continue
        if key == "description":
            result[key] = _plain_text(value)
        elif key == "properties":
            result[key] = {name: _convert(child, definitions, f"{path}.{name}") for name, child in value.items()}
        elif key == "items":
            result[key] = _convert(value, definitions, f"{path}[]")
        elif key == "additionalProperties":
            # False is what pruning does anyway, and structural schemas refuse it beside properties.
            if isinstance(value, dict):
                result[key] = _convert(value, definitions, f"{path}{{}}")
        elif key == "const":
            result["enum"] = [value]
        else:
            result[key] = copy.deepcopy(value)
    if "type" not in result:
        raise ValueError(f"{path}: Kubernetes schemas need one type, got {sorted(node)}")
    _set_bounds(result)
    _set_default(result)
    return result


def _resolve(node: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    """The node without ``$ref`` and without the null branch of ``X | None``; keys beside a reference win.

    Null needs no ``nullable``: the API server prunes nulls from fields that are not nullable, so that null and absent
    are one and the same, also to CEL's ``has()``.
    """
    node = dict(node)
    if "anyOf" in node:
        branches = [branch for branch in node.pop("anyOf") if branch.get("type") != "null"]
        if len(branches) != 1:
            raise ValueError(f"{path}: Kubernetes schemas cannot hold a union of {len(branches)} types")
        node = branches[0] | node
    if "$ref" in node:
        target = definitions[node.pop("$ref").rsplit("/", 1)[-1]]
        node = _resolve(target, definitions, path) | node
    return node


def _plain_text(text: str) -> str:
    """Docstring markup as ``kubectl explain`` should show it."""
    return re.sub(r"\s+", " ", inspect.cleandoc(text).replace("``", "'")).strip()


def _set_bounds(node: Schema) -> None:
    """OpenAPI v3.0 has boolean exclusive bounds; integers are named by the width that holds their bounds."""
    for bound, exclusive, step in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        if exclusive in node:
            limit = node.pop(exclusive)
            node[bound] = limit + step if node["type"] == "integer" else limit
            if node["type"] != "integer":
                node[exclusive] = True
    if node["type"] == "integer":
        bounded = "minimum" in node and "maximum" in node and node["maximum"] <= _INT32_MAX
        node["format"] = "int32" if bounded else "int64"


def _set_default(node: Schema) -> None:
    """Null defaults mean absent. Objects default to ``{}``: the defaults of their own fields then fill them in."""
    if node.get("default", ...) is None:
        del node["default"]
    elif "default" in node and "properties" in node:
        node["default"] = {}


def _without_defaults(node: Schema) -> Schema:
    """Status is written whole by the operator; a default would make what is read differ from what was written."""
    result = {key: value for key, value in node.items() if key != "default"}
    if "properties" in result:
        result["properties"] = {name: _without_defaults(child) for name, child in result["properties"].items()}
    if isinstance(result.get("items"), dict):
        result["items"] = _without_defaults(result["items"])
    return result
