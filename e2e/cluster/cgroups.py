"""The cgroup that holds a node's pods, on machines with cgroup v1 hierarchies and on those with v2 alone."""

import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
REMOVE_TIMEOUT_SECONDS = 10.0
QUOTA_PERIOD_MICROSECONDS = 5_000
"""Of CPU quotas: with the usual 100 ms an engine computes at full speed for 50 ms and then not at all for as long. A
kubelet's pods need the same (`cpuCFSQuotaPeriod`)."""
KUBELET_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "hugetlb", "io")


def hierarchies() -> list[Path]:
    """Mounted cgroup trees: the root itself on v2, one folder for each controller (and `unified`) on v1."""
    if unified():
        return [ROOT]
    # `cpu` and `cpuacct` may be links to `cpu,cpuacct`
    return sorted(each for each in ROOT.iterdir() if each.is_dir() and not each.is_symlink())


def unified() -> bool:
    """Whether the machine has cgroup v2 alone."""
    return (ROOT / "cgroup.controllers").exists()


def create(name: str, cpus: float | None = None) -> list[str]:
    """Make the cgroup `/NAME` in every hierarchy, usable by kubelet and runc, with a quota where `cpus` says so.

    Returns:
        The controllers that had to be delegated to the root's children for it (v2 only); undo with `undelegate`.
    """
    delegated = _delegate() if unified() else []
    for hierarchy in hierarchies():
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        # v1 cpusets start empty, and a process cannot join one that names no CPU
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / setting).exists() and (folder / setting).exists():
                (folder / setting).write_text((hierarchy / setting).read_text())
        if cpus is not None:
            _limit(folder, round(cpus * QUOTA_PERIOD_MICROSECONDS))
    return delegated


def _limit(folder: Path, microseconds: int) -> None:
    """A quota of CPU time per period, in the hierarchy that has one."""
    if (folder / "cpu.max").exists():
        (folder / "cpu.max").write_text(f"{microseconds} {QUOTA_PERIOD_MICROSECONDS}")
    elif (folder / "cpu.cfs_quota_us").exists():
        (folder / "cpu.cfs_period_us").write_text(str(QUOTA_PERIOD_MICROSECONDS))
        (folder / "cpu.cfs_quota_us").write_text(str(microseconds))


def undelegate(controllers: list[str]) -> None:
    """Take back what `create` delegated; a controller that others use by now stays."""
    for controller in controllers:
        try:
            (ROOT / "cgroup.subtree_control").write_text(f"-{controller}")
        except OSError:
            continue


def remove(name: str) -> list[str]:
    """Remove `/NAME` with all below it, waiting for dying processes; returns what could not be removed."""
    deadline = time.monotonic() + REMOVE_TIMEOUT_SECONDS
    while True:
        for hierarchy in hierarchies():
            _remove_tree(hierarchy / name)
        left = [str(each) for each in existing(name)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def existing(name: str) -> Iterator[Path]:
    """Where `/NAME` exists."""
    return (hierarchy / name for hierarchy in hierarchies() if (hierarchy / name).is_dir())


def _delegate() -> list[str]:
    """kubelet refuses a v2 cgroup that lacks one of these."""
    available = (ROOT / "cgroup.controllers").read_text().split()
    present = (ROOT / "cgroup.subtree_control").read_text().split()
    missing = [each for each in KUBELET_CONTROLLERS if each in available and each not in present]
    for controller in missing:
        (ROOT / "cgroup.subtree_control").write_text(f"+{controller}")
    return missing


def _remove_tree(folder: Path) -> None:
    if not folder.is_dir():
        return
    for child in folder.iterdir():
        if child.is_dir():
            _remove_tree(child)
    try:
        folder.rmdir()
    except OSError:
        return  # a process is still dying in it; the caller tries again
