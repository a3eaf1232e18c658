"""Fixtures shared by every part's tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.apiserver import ApiServer

# Deadlines measure the machine, not the law: other work shares its cores.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A real kube-apiserver for the whole session (mark the test `apiserver`); tests keep apart by namespace."""
    server = ApiServer(tmp_path_factory.mktemp("apiserver"))
    server.start()
    try:
        yield server
    finally:
        server.stop()
