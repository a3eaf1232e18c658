"""What the chart renders, held by kubeconform against the API of each minor version that it is made for."""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.paths import binary
from tests.chart.conftest import CHART, Raw, Render
from tools.generate_kubernetes_schemas import FILE, of_definition

ROOT = CHART.parents[1]
SCHEMAS: Raw = json.loads(FILE.read_text())
RELEASES: dict[str, str] = {release.rpartition(".")[0]: release for release in SCHEMAS["releases"]}
LAYOUT = "{{.NormalizedKubernetesVersion}}/{{.ResourceKind}}{{.KindSuffix}}.json"

Judge = Callable[[str, Sequence[Raw]], list[str]]

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one namespace, existing Secret": {
        "watchNamespace": "team-a",
        "jobs": {"namespaces": ["team-a"]},
        "webhook": {
            "certificates": {
                "mode": "existingSecret",
                "existingSecret": {"name": "mine", "caBundle": "-----BEGIN CERTIFICATE-----"},
            },
        },
    },
    "all that is optional": {
        "webhook": {"certificates": {"mode": "certManager"}},
        "monitoring": {
            "labels": {"release": "prometheus"},
            "serviceMonitor": {"enabled": True},
            "podMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True},
        },
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "TurboSpec"}},
        "networkPolicy": {"enabled": True},
        "imagePullSecrets": [{"name": "registry"}],
        "prometheus": {"url": "http://prometheus:9090"},
        "jobs": {"namespaces": ["chat", "code"]},
        "operator": {
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"pool": "system"},
            "tolerations": [{"key": "system", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
            ],
        },
    },
}


@pytest.fixture(scope="session")
def kubeconform(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """What kubeconform finds wrong with objects under a minor version, a line for each."""
    executable = shutil.which("kubeconform") or str(binary("kubeconform"))
    folder = tmp_path_factory.mktemp("schemas")
    for release in RELEASES.values():
        write_schemas(folder / f"v{release}", release)

    def judge(minor: str, objects: Sequence[Raw]) -> list[str]:
        command = [executable, "-strict", "-output", "json", "-kubernetes-version", RELEASES[minor]]
        stream = "---\n".join(json.dumps(each) + "\n" for each in objects)
        done = subprocess.run(
            [*command, "-schema-location", f"{folder}/{LAYOUT}"],
            input=stream, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        found = json.loads(done.stdout)["resources"]
        assert bool(found) == bool(done.returncode), done.stdout + done.stderr
        return [f"{each['kind']}/{each['name']}: {each['msg']}" for each in found]

    return judge


def write_schemas(folder: Path, release: str) -> None:
    """The committed schemas of a release, laid out as kubeconform looks for them; our own kinds' come from crds/."""
    folder.mkdir()
    definitions = {
        name: schema
        for name, variants in SCHEMAS["definitions"].items()
        for releases, schema in variants.items()
        if release in releases.split()
    }
    (folder / "_definitions.json").write_text(json.dumps({"definitions": definitions}))
    kinds = {stem: {"$ref": f"_definitions.json#/definitions/{name}"} for stem, name in SCHEMAS["kinds"].items()}
    ours = [of_definition(yaml.safe_load(path.read_text())) for path in (ROOT / "crds").iterdir()]
    for group in (kinds, SCHEMAS["custom"], *ours):
        for stem, schema in group.items():
            (folder / f"{stem}.json").write_text(json.dumps(schema))


def test_every_object_is_of_the_form_that_each_release_takes(kubeconform: Judge, render: Render) -> None:
    """No unknown field, none missing, none of another type, no kind that is not there, whatever the values."""
    objects = [each for values in VARIANTS.values() for each in render(**values)]
    assert {minor: kubeconform(minor, objects) for minor in RELEASES} == {minor: [] for minor in RELEASES}


def test_examples_are_of_that_form_too(kubeconform: Judge) -> None:
    """Manifests that users are to apply."""
    files = [*(ROOT / "examples").rglob("*.yaml"), *(ROOT / "docs" / "examples").rglob("*.yaml")]
    objects = [each for path in files for each in yaml.safe_load_all(path.read_text()) if "kind" in each]
    assert {each["kind"] for each in objects} >= {"ScaledObject", "HorizontalPodAutoscaler"}
    assert kubeconform(list(RELEASES)[-1], objects) == []


def misspelt(each: Raw) -> None:
    """A field that is none, deep inside."""
    each["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"


def of_another_type(each: Raw) -> None:
    """A text where a number belongs."""
    each["spec"]["replicas"] = "two"


def incomplete(each: Raw) -> None:
    """Without a field that must be there."""
    del each["spec"]["selector"]


def of_another_version(each: Raw) -> None:
    """Which the release no longer serves."""
    each["apiVersion"] = "apps/v1beta2"


@pytest.mark.parametrize("broken", [misspelt, of_another_type, incomplete, of_another_version])
def test_what_is_wrong_is_found(kubeconform: Judge, render: Render, broken: Callable[[Raw], None]) -> None:
    """Or the schemas would let everything through."""
    objects = [each for each in render() if each["kind"] == "Deployment"]
    broken(objects[0])
    (found,) = kubeconform("1.32", objects)
    assert found.startswith("Deployment/turbospec-operator: ")


def test_the_releases_are_those_that_are_promised() -> None:
    """One of each minor version from the oldest to the newest."""
    assert list(RELEASES) == ["1.32", "1.33", "1.34", "1.35", "1.36"]
