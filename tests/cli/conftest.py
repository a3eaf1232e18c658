"""Fixtures of the tests of the commands."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cli.fake_api import FakeApi
from tests.cli.fleet_samples import cluster
from tests.cli.recorded_api import RecordedApi
from turbospec.cli.main import main

Run = Callable[..., Result]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The cluster of the current context, whose namespace is ``team``."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with FakeApi(tmp_path) as fake:
        monkeypatch.setenv("KUBECONFIG", str(fake.kubeconfig))
        yield fake


@pytest.fixture
def fleet_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedApi]:
    """A cluster with policies, which KUBECONFIG names."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    with cluster(tmp_path) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
        yield server


@pytest.fixture
def run() -> Run:
    """``turbospec profile ARGUMENTS``."""

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["profile", *arguments])

    return invoke
