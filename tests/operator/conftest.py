"""Fixtures of the operator's tests against a real API server."""

import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.operator.operator_process import OperatorProcess
from tests.operator.permissions import user_in, without
from tests.support.apiserver import ApiServer
from turbospec_operator.cluster import Cluster

Lacking = Callable[[str, str], OperatorProcess]

NODE_STATUS = {
    "status": {
        "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "10000"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "of the tests"}],
    }
}


@pytest.fixture(scope="session")
def api_with_crds(api_with_kinds: ApiServer) -> ApiServer:
    """The API server with our kinds, and the node that all pods of these tests are on."""
    api_server = api_with_kinds
    api_server.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}})
    api_server.kubectl("taint", "node", "node-1", "node.kubernetes.io/not-ready-")  # which admission gives to new nodes
    api_server.kubectl("patch", "node", "node-1", "--subresource=status", "--type=merge", "-p", json.dumps(NODE_STATUS))
    return api_server


@pytest.fixture
def namespace(api_with_crds: ApiServer) -> str:
    """A fresh namespace of one test; policies and the operator's own objects live in it."""
    name = f"op-{secrets.token_hex(4)}"
    api_with_crds.create_namespace(name)
    return name


@pytest.fixture
def nothing_elsewhere(api_with_crds: ApiServer) -> None:
    """For operators of all namespaces: no Job of an earlier test measures for ever, for there is no Job controller, and
    no policy of one asks for more."""
    api_with_crds.kubectl("delete", "jobs,speculationpolicies", "--all", "--all-namespaces", "--wait=false")


@pytest.fixture
async def cluster(api_with_crds: ApiServer) -> AsyncIterator[Cluster]:
    """The API server, as its administrator."""
    async with await Cluster.connect(api_with_crds.kubeconfig) as connection:
        yield connection


@pytest.fixture
def operator_lacking(api_with_crds: ApiServer, namespace: str, operator_process: OperatorProcess) -> Lacking:
    """The operator process, as a user with all its permissions but for one verb on one resource."""

    def lacking(verb: str, resource: str) -> OperatorProcess:
        user = user_in(api_with_crds, namespace, without(verb, resource))
        operator_process.environment["KUBECONFIG"] = str(user)
        return operator_process

    return lacking


@pytest.fixture
def operator_process(api_with_crds: ApiServer, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """A real operator process, not started yet, that governs the test's namespace only."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TURBOSPEC_", "KUBERNETES_"))},
        "KUBECONFIG": str(api_with_crds.kubeconfig),
        "TURBOSPEC_NAMESPACE": namespace,
        "TURBOSPEC_IDENTITY": "operator-0",  # of a pod whose container restarts: it need not wait for its own Lease
        "TURBOSPEC_WATCH_NAMESPACE": namespace,
        "TURBOSPEC_INTERVAL_SECONDS": "0.5",
        "TURBOSPEC_METRICS_HOST": "127.0.0.1",
    }
    process = OperatorProcess(environment, tmp_path / "operator.log")
    try:
        yield process
    finally:
        process.kill()
