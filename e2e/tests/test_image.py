"""The operator's image, seen from inside a pod of the chart."""

import json
from typing import Any

import pytest

from e2e.demo.kube import SYSTEM_NAMESPACE, Kube

# the first test also waits for the cluster and the profile
pytestmark = [pytest.mark.timeout(1500)]

LOOK = """
import importlib.metadata, json, os

bill = json.load(open("/usr/share/sbom/turbospec.cdx.json"))
writable = [each for each in ("/", "/opt/app", "/opt/venv", "/usr/share/sbom", "/tmp") if os.access(each, os.W_OK)]
print(json.dumps({
    "listed": {each["name"].lower().replace("_", "-"): each["version"] for each in bill["components"]},
    "product": bill["metadata"]["component"]["name"],
    "there": {each.name.lower().replace("_", "-"): each.version for each in importlib.metadata.distributions()},
    "user": os.getuid(),
    "writable": writable,
}))
"""


@pytest.fixture(scope="module")
def inside(kube: Kube) -> dict[str, Any]:
    """What a process in the operator's pod finds."""
    where = ("deployment/turbospec-operator", "-n", SYSTEM_NAMESPACE)
    found: dict[str, Any] = json.loads(kube.kubectl("exec", *where, "--", "python", "-c", LOOK))
    return found


def test_the_bill_of_materials_lists_what_is_there(inside: dict[str, Any]) -> None:
    """Each Python package with its version, and nothing else; our own is what the bill is of."""
    there = inside["there"]
    assert inside["product"] == "turbospec"
    assert there.pop("turbospec")
    assert inside["listed"] == there


def test_it_runs_as_nobody_and_can_write_only_to_its_scratch(inside: dict[str, Any]) -> None:
    """The chart mounts /tmp; the rest of the file system is read-only."""
    assert inside["user"] == 65532
    assert inside["writable"] == ["/tmp"]  # noqa: S108 the pod's own
