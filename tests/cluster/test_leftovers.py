"""The clean-machine check: it can fail, and names what is left."""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from e2e.cluster import leftovers
from e2e.cluster.errors import ClusterError
from e2e.cluster.leftovers import Snapshot, find_leftovers, take_snapshot
from e2e.cluster.paths import ClusterPaths

MACHINE = Snapshot(
    mounts=("/", "/proc"), links=("lo",), network_namespaces=(), cgroups=("/sys/fs/cgroup/a",), sysctls=("x=0",)
)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterPaths:
    monkeypatch.setenv("TURBOSPEC_CACHE", str(tmp_path))
    monkeypatch.setattr(leftovers, "snapshot", lambda: MACHINE)
    paths = ClusterPaths("leftovers-test")
    take_snapshot(paths)
    return paths


def test_an_unchanged_machine_is_clean(paths: ClusterPaths) -> None:
    """Nothing new, nothing to report."""
    assert find_leftovers(paths) == []


@pytest.mark.parametrize(
    ("now", "line"),
    [
        ({"mounts": ("/", "/proc", "/run/netns")}, "mounts: /run/netns"),
        ({"links": ("lo", "cable2")}, "links: cable2"),
        ({"network_namespaces": ("turbospec-1",)}, "network_namespaces: turbospec-1"),
        ({"cgroups": ("/sys/fs/cgroup/a", "/sys/fs/cgroup/b")}, "cgroups: /sys/fs/cgroup/b"),
        ({"sysctls": ("x=1",)}, "sysctls: x=1 (was x=0)"),
    ],
)
def test_each_kind_of_leftover_is_named(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch, now: dict[str, tuple[str, ...]], line: str
) -> None:
    """Whatever `down` forgot is reported with its kind."""
    monkeypatch.setattr(leftovers, "snapshot", lambda: dataclasses.replace(MACHINE, **now))
    assert find_leftovers(paths) == [line]


def test_what_went_away_is_no_leftover(paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs of the machine may end meanwhile."""
    monkeypatch.setattr(leftovers, "snapshot", lambda: dataclasses.replace(MACHINE, mounts=("/",)))
    assert find_leftovers(paths) == []


def test_a_process_of_the_cluster_is_found_by_its_files(paths: ClusterPaths) -> None:
    """A component that outlived its cluster still names a file of it."""
    with subprocess.Popen(["sh", "-c", "read line", str(paths.root / "kubelet.yaml")], stdin=subprocess.PIPE) as stray:
        found = find_leftovers(paths)
        assert stray.stdin is not None
        stray.stdin.close()
    assert [line.split()[1] for line in found] == [str(stray.pid)]


def test_without_a_snapshot_there_is_no_verdict(paths: ClusterPaths) -> None:
    """Unknown is not clean."""
    paths.snapshot_file.unlink()
    with pytest.raises(ClusterError, match="never brought up"):
        find_leftovers(paths)


def test_a_snapshot_of_this_machine_can_be_taken_and_read_back() -> None:
    """The real one holds the root mount and the loopback interface."""
    real = leftovers.snapshot()
    assert "/" in real.mounts
    assert "lo" in real.links
    assert json.loads(json.dumps(dataclasses.asdict(real)))["sysctls"] == list(real.sysctls)
