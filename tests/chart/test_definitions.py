"""The life of the chart's CustomResourceDefinitions, on an API server of its own: they are everybody's."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.chart.conftest import CHART
from tests.support.apiserver import ApiServer
from turbospec.wire.crd import CUSTOM_RESOURCES

pytestmark = pytest.mark.apiserver

CRDS = CHART.parents[1] / "crds"
NAMES = tuple(resource.name for resource in CUSTOM_RESOURCES)
Helm = Callable[..., str]


@pytest.fixture(scope="module")
def another_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """For the tests of this file only."""
    server = ApiServer(tmp_path_factory.mktemp("apiserver"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_server(another_server: ApiServer, helm: Helm) -> Iterator[ApiServer]:
    """An API server without our kinds, nor a release."""
    assert another_server.kubectl("get", "crd", "-o", "name") == ""
    yield another_server
    on_it(helm, another_server)("uninstall", "turbospec", "--ignore-not-found")
    another_server.kubectl("delete", "crd", "--all", "--timeout=60s")


@pytest.fixture
def bound(helm: Helm, own_server: ApiServer) -> Helm:
    """Helm, for this API server."""
    return on_it(helm, own_server)


def on_it(helm: Helm, server: ApiServer) -> Helm:
    return lambda *arguments: helm(f"--kubeconfig={server.kubeconfig}", "--namespace=default", *arguments)


def installed(server: ApiServer) -> set[str]:
    """The names of our CRDs that are there and not about to go."""
    items = json.loads(server.kubectl("get", "crd", "-o", "json"))["items"]
    return {each["metadata"]["name"] for each in items if "deletionTimestamp" not in each["metadata"]}


def test_definitions_come_stay_and_are_upgraded_with_the_release(bound: Helm, own_server: ApiServer) -> None:
    """Install, drift, upgrade, uninstall, install again: always the chart's schema, never a lost policy."""
    bound("install", "turbospec", str(CHART))
    assert installed(own_server) == set(NAMES)
    own_server.kubectl("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{name}" for name in NAMES))
    old = json.dumps({"spec": {"names": {"shortNames": ["old"]}}})
    own_server.kubectl("patch", "crd", NAMES[0], "--type=merge", "-p", old)
    bound("upgrade", "turbospec", str(CHART), "--force-conflicts")
    assert short_names(own_server) == ["specpol"]
    own_server.apply(
        {
            "apiVersion": "turbospec.io/v1alpha1",
            "kind": "SpeculationPolicy",
            "metadata": {"name": "chat", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "chat"}}},
        }
    )
    bound("uninstall", "turbospec")
    assert installed(own_server) == set(NAMES)
    bound("install", "turbospec", str(CHART))
    assert "chat" in own_server.kubectl("get", "speculationpolicies", "-n", "default", "-o", "name")
    assert "left as it was" not in bound("get", "notes", "turbospec")


def short_names(server: ApiServer) -> list[str]:
    """By which kubectl knows policies."""
    names: list[str] = json.loads(server.kubectl("get", "crd", NAMES[0], "-o", "json"))["spec"]["names"]["shortNames"]
    return names


def test_definitions_applied_by_hand_are_left_to_that_hand(bound: Helm, own_server: ApiServer) -> None:
    """Helm would refuse the whole release over them; so do those of another release. The notes say so."""
    own_server.kubectl("apply", "--server-side", "-f", str(CRDS))
    bound("install", "turbospec", str(CHART))
    assert "left as it was" in bound("get", "notes", "turbospec")
    bound("upgrade", "turbospec", str(CHART))
    bound("uninstall", "turbospec")
    own_server.kubectl("apply", "--server-side", "-f", str(CRDS))
    assert installed(own_server) == set(NAMES)


def test_definitions_go_with_the_release_where_that_was_asked_for(bound: Helm, own_server: ApiServer) -> None:
    """crds.keep: false."""
    bound("install", "turbospec", str(CHART), "--set", "crds.keep=false")
    bound("uninstall", "turbospec")
    assert installed(own_server) == set()
