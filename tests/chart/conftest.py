"""The chart, rendered by the real helm."""

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.paths import binary

CHART = Path(__file__).parents[2] / "charts" / "turbospec"
NAMESPACE = "turbospec-system"
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there: the CRDs of a chart take Python's a third of a second."""

Raw = dict[str, Any]
Render = Callable[..., list[Raw]]


class HelmError(Exception):
    """Helm refused; the message is its standard error."""


@pytest.fixture(scope="session")
def helm() -> Callable[..., str]:
    """Runs helm, found on PATH or in our cache; without one it fails with the command that builds it."""
    executable = shutil.which("helm") or str(binary("helm"))

    def run(*arguments: str) -> str:
        done = subprocess.run([executable, *arguments], capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise HelmError(done.stderr + done.stdout)
        return done.stdout

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Render:
    """The chart's objects for these values, given as nested keyword arguments; each call's are its own."""

    @cache
    def text(namespace: str, values: str) -> str:
        file = tmp_path_factory.mktemp("values") / "values.yaml"
        file.write_text(values)
        return helm("template", "turbospec", str(CHART), "--namespace", namespace, "--values", str(file))

    def rendered(namespace: str = NAMESPACE, **values: Any) -> list[Raw]:
        found = yaml.load_all(text(namespace, json.dumps(values)), Loader=SafeLoader)
        return [document for document in found if document]

    return rendered


def one(objects: list[Raw], kind: str, name: str) -> Raw:
    """The only object of this kind and name."""
    found = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{kind}/{name}: {len(found)} found"
    return found[0]


def pod_of(objects: list[Raw], deployment: str) -> Raw:
    """The pod spec of a Deployment."""
    spec: Raw = one(objects, "Deployment", deployment)["spec"]["template"]["spec"]
    return spec


def variables_of(objects: list[Raw], deployment: str) -> dict[str, str | None]:
    """The environment of its container."""
    return {each["name"]: each.get("value") for each in pod_of(objects, deployment)["containers"][0]["env"]}
