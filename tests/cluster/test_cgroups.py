"""The quota of a node that is to be slower than the machine."""

from pathlib import Path

import pytest

from e2e.cluster import cgroups, config
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.state import Node

NODE = Node("test-2", 2, "10.89.0.2", "10.244.1.0/24", "test-2", cpus=0.5)


def cgroup_trees(root: Path, files: dict[str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine's cgroup trees: the node's folders hold what the kernel would put there."""
    for tree, names in files.items():
        folder = root / tree / NODE.name
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text("")
    monkeypatch.setattr(cgroups, "ROOT", root)
    monkeypatch.setattr(cgroups, "hierarchies", lambda: [root / tree for tree in files])


@pytest.mark.parametrize(
    ("files", "written"),
    [
        (
            {"cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us"), "memory": ("memory.limit_in_bytes",)},
            {"cpu/test-2/cpu.cfs_quota_us": "2500", "cpu/test-2/cpu.cfs_period_us": "5000"},
        ),
        ({"unified": ("cpu.max",)}, {"unified/test-2/cpu.max": "2500 5000"}),
    ],
    ids=["v1", "v2"],
)
def test_a_slow_node_has_its_quota_in_the_hierarchy_that_has_one(
    files: dict[str, tuple[str, ...]], written: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a CPU in each short period; other hierarchies are left as they are."""
    cgroup_trees(tmp_path, files, monkeypatch)
    cgroups.create(NODE.name, NODE.cpus)
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert {name: text for name, text in found.items() if text} == written


def test_only_a_slow_node_has_a_kubelet_with_short_periods() -> None:
    """The machine's own node keeps the defaults of Kubernetes."""
    paths = ClusterPaths("test")
    fast = Node("test-1", 1, "10.89.0.1", "10.244.0.0/24", "test-1")
    assert "cpuCFSQuotaPeriod: 5000us" in config.kubelet_yaml(paths, NODE)
    assert "cpuCFSQuotaPeriod" not in config.kubelet_yaml(paths, fast)
