"""Write tests/chart/schemas.json, what kubeconform judges by: ``python -m tools.generate_kubernetes_schemas``.

Kubernetes publishes no JSON schemas; its Go modules carry the OpenAPI document of each release, and those of the
operators whose kinds the chart renders carry their CustomResourceDefinitions. What a definition allows is kept (fields,
types, what is required), descriptions are not, and objects are closed: a misspelt field is an error. Downloads 100 MB
where the module cache lacks them: so the file is committed, and the tests need none of it.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.go import go_command, go_environment

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "tests" / "chart" / "schemas.json"
RELEASES = ("1.32.13", "1.33.13", "1.34.4", "1.35.4", "1.36.3")
KINDS = {
    "admissionregistration.k8s.io/v1": ("MutatingWebhookConfiguration",),
    "apiextensions.k8s.io/v1": ("CustomResourceDefinition",),
    "apps/v1": ("Deployment",),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
    "rbac.authorization.k8s.io/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "scheduling.k8s.io/v1": ("PriorityClass",),
    "v1": ("ConfigMap", "Namespace", "Service", "ServiceAccount"),
}
MONITORING = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
CUSTOM = (
    (MONITORING, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"),
    (MONITORING, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    (MONITORING, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    ("github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds/cert-manager.io_certificates.yaml"),
    ("github.com/cert-manager/cert-manager@v1.21.2", "deploy/crds/cert-manager.io_issuers.yaml"),
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases/keda.sh_scaledobjects.yaml"),
)
INT_OR_STRING = "int-or-string"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"

Raw = dict[str, Any]


def closed(node: Mapping[str, Any]) -> Raw:
    """What a node of an OpenAPI document allows, as JSON schema."""
    if node.get("format") == INT_OR_STRING or node.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept: Raw = {key: node[key] for key in ("$ref", "type", "required", "enum") if key in node}
    if node.get("nullable") and "type" in kept:
        kept["type"] = [kept["type"], "null"]
    if "properties" in node:
        kept["properties"] = {name: closed(each) for name, each in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            kept["additionalProperties"] = False
    elif isinstance(node.get("additionalProperties"), Mapping):
        kept["additionalProperties"] = closed(node["additionalProperties"])
    if "items" in node:
        kept["items"] = closed(node["items"])
    return kept


def of_release(document: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Raw]]:
    """The names of our kinds' definitions by kubeconform's names of the kinds, and all definitions that they need."""
    definitions: dict[str, Raw] = document["definitions"]
    wanted = {(version, kind) for version, kinds in KINDS.items() for kind in kinds}
    kinds = {
        file_stem(version, each["kind"]): name
        for name, definition in definitions.items()
        for each in definition.get("x-kubernetes-group-version-kind", ())
        if (version := "/".join(filter(None, (each["group"], each["version"]))), each["kind"]) in wanted
    }
    if len(kinds) != len(wanted):
        raise ValueError(f"{len(wanted)} kinds are wanted, the OpenAPI document defines {sorted(kinds)}")
    found: dict[str, Raw] = {}
    names = set(kinds.values())
    while names:
        name = names.pop()
        # The API server takes plain numbers for quantities as well.
        found[name] = {"type": ["string", "number"]} if name == QUANTITY else closed(definitions[name])
        names |= set(_references(found[name])) - set(found)
    return kinds, found


def _references(node: object) -> Iterable[str]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            yield reference.removeprefix("#/definitions/")
        for below in node.values():
            yield from _references(below)


def of_definition(crd: Mapping[str, Any]) -> dict[str, Raw]:
    """The schemas of a CustomResourceDefinition, by kubeconform's names; metadata is that of any object."""
    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
    found = {}
    for version in crd["spec"]["versions"]:
        schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
        found[file_stem(f"{group}/{version['name']}", kind)] = schema
    return found


def file_stem(api_version: str, kind: str) -> str:
    """How kubeconform calls the schema of a kind: ``deployment-apps-v1``; of a group only its first label."""
    group, _, version = api_version.rpartition("/")
    return "-".join(filter(None, (kind.lower(), group.split(".")[0], version)))


def document() -> Raw:
    """Everything: a definition stands there once for all releases in which it is the same."""
    kinds: dict[str, str] = {}
    definitions: dict[str, dict[str, list[str]]] = {}
    for release in RELEASES:
        swagger = module_folder(f"k8s.io/kubernetes@v{release}") / "api" / "openapi-spec" / "swagger.json"
        of_this, found = of_release(json.loads(swagger.read_text()))
        kinds |= of_this
        for name, schema in found.items():
            definitions.setdefault(name, {}).setdefault(json.dumps(schema, sort_keys=True), []).append(release)
    custom: dict[str, Raw] = {}
    for module, path in CUSTOM:
        custom |= of_definition(yaml.safe_load((module_folder(module) / path).read_text()))
    by_release = {
        name: {" ".join(releases): json.loads(schema) for schema, releases in each.items()}
        for name, each in sorted(definitions.items())
    }
    return {"releases": RELEASES, "kinds": kinds, "definitions": by_release, "custom": custom}


def module_folder(module: str) -> Path:
    """Where a Go module lies in the module cache, downloaded if need be."""
    command = [str(go_command(print)), "mod", "download", "-json", module]
    done = subprocess.run(command, env=go_environment(), cwd="/", capture_output=True, text=True, check=False)
    answer: Raw = json.loads(done.stdout or "{}")
    if done.returncode != 0:
        raise RuntimeError(f"{module}: {answer.get('Error', done.stderr)}")
    return Path(answer["Dir"])


def text(whole: Mapping[str, Any]) -> str:
    """JSON with a line for each definition, so that differences can be read."""
    parts = []
    for key, value in whole.items():
        if key in ("definitions", "custom"):
            lines = [f"{json.dumps(name)}: {json.dumps(value[name], sort_keys=True)}" for name in sorted(value)]
            parts.append(f"{json.dumps(key)}: {{\n" + ",\n".join(lines) + "\n}")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> int:
    """Write the file."""
    FILE.write_text(text(document()))
    print(f"wrote {FILE.relative_to(ROOT)}: {FILE.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
