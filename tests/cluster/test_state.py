"""The journal: `down` undoes exactly what `up` did, and never signals a process that is not ours."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.state import ClusterState, Node, Process


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterPaths:
    monkeypatch.setenv("TURBOSPEC_CACHE", str(tmp_path))
    return ClusterPaths("test")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_what_is_saved_is_what_is_loaded(paths: ClusterPaths) -> None:
    """A journal read back is equal to the one written, processes and nodes included."""
    node = Node("test-1", 1, "10.89.0.1", "10.244.0.0/24", "test-1", Process(10, 20), None)
    state = ClusterState("test", 4711, Process(1, 2), True, ["/a", "/a/b"], {"kernel.panic": "0"}, {"test-1": 7})
    state.nodes.append(node)
    state.save(paths)
    assert ClusterState.load(paths) == state


def test_a_cluster_that_is_not_up_says_how_to_start_it(paths: ClusterPaths) -> None:
    """Without a journal the message names the cluster and the remedy."""
    with pytest.raises(ClusterError, match=r"'test' is up; start one with: python -m e2e\.cluster up"):
        ClusterState.load(paths)


def test_a_process_with_a_reused_id_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    """Same id, other start time: another process, which must not be signalled."""
    real = Process.of(sleeper.pid)
    stranger = Process(real.pid, real.start_ticks - 1)
    assert real.alive
    assert not stranger.alive
    stranger.kill()
    with pytest.raises(subprocess.TimeoutExpired):
        sleeper.wait(timeout=0.2)


def test_an_ended_process_is_not_alive_even_before_it_is_reaped(sleeper: subprocess.Popen[bytes]) -> None:
    """A zombie does nothing any more: waiting for it to go away must not depend on its parent."""
    process = Process.of(sleeper.pid)
    process.kill()
    while Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        pass
    assert not process.alive
