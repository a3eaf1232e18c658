"""Fixtures shared by every part's tests."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.apiserver import ApiServer

# Deadlines measure the machine, not the property: other work shares its cores.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

CRDS = Path(__file__).parents[1] / "crds"


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real kube-apiserver for the whole session (mark the test `apiserver`); tests keep apart by namespace."""
    server = ApiServer(tmp_path_factory.mktemp("apiserver"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def api_with_kinds(api_server: ApiServer) -> ApiServer:
    """The API server, once it serves our kinds; whoever has installed the chart before owns some of their fields."""
    api_server.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    deadline = time.monotonic() + 60.0
    while True:
        try:  # kubectl wait fails on a CRD that has no conditions yet
            api_server.kubectl(
                "get", "speculationpolicies,speculationprofiles,clusterspeculationprofiles", "--all-namespaces"
            )
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return api_server
