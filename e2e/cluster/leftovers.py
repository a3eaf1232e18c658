"""Whether a machine is as it was before `up`: nothing running, mounted, linked or set that was not before."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.cluster import cgroups, network
from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import ClusterPaths
from e2e.cluster.shell import run

CHANGED_SYSCTLS = ("kernel.panic", "kernel.panic_on_oops", "vm.overcommit_memory")  # by kubelet, for the whole machine
MOUNT_POINT_FIELD = 4  # of /proc/self/mountinfo


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a cluster could leave behind, each item as a line of text."""

    mounts: tuple[str, ...]
    links: tuple[str, ...]
    network_namespaces: tuple[str, ...]
    cgroups: tuple[str, ...]
    sysctls: tuple[str, ...]


def sysctl(key: str) -> str:
    """The value of one kernel setting."""
    return Path("/proc/sys", *key.split(".")).read_text().strip()


def snapshot() -> Snapshot:
    """The machine as it is now."""
    mountinfo = Path("/proc/self/mountinfo").read_text().splitlines()
    links = json.loads(run(["ip", "-json", "link"]))
    namespaces = network.NAMESPACES.iterdir() if network.NAMESPACES.is_dir() else ()
    # top-level groups only: what other programs make deeper down comes and goes by itself
    groups = [str(folder) for tree in cgroups.hierarchies() for folder in tree.iterdir() if folder.is_dir()]
    return Snapshot(
        mounts=tuple(sorted(line.split()[MOUNT_POINT_FIELD] for line in mountinfo)),
        links=tuple(sorted(link["ifname"] for link in links)),
        network_namespaces=tuple(sorted(each.name for each in namespaces)),
        cgroups=tuple(sorted(groups)),
        sysctls=tuple(f"{key}={sysctl(key)}" for key in CHANGED_SYSCTLS),
    )


def take_snapshot(paths: ClusterPaths) -> None:
    """Remember the machine before a cluster is made."""
    paths.snapshot_file.parent.mkdir(parents=True, exist_ok=True)
    paths.snapshot_file.write_text(json.dumps(asdict(snapshot()), indent=1))


def find_leftovers(paths: ClusterPaths) -> list[str]:
    """One line for each thing that is there now and was not before the last `up`; empty when the machine is clean.

    Raises:
        ClusterError: no snapshot was ever taken.
    """
    try:
        before = Snapshot(**{k: tuple(v) for k, v in json.loads(paths.snapshot_file.read_text()).items()})
    except FileNotFoundError:
        raise ClusterError(f"cluster {paths.name!r} was never brought up here: nothing to compare with") from None
    now = snapshot()
    found = [
        f"{kind}: {item}"
        for kind in ("mounts", "links", "network_namespaces", "cgroups")
        for item in sorted(set(getattr(now, kind)) - set(getattr(before, kind)))
    ]
    found += [
        f"sysctls: {now_is} (was {was})"
        for was, now_is in zip(before.sysctls, now.sysctls, strict=True)
        if was != now_is
    ]
    found += [f"processes: {line}" for line in _processes_of(paths)]
    if paths.root.exists():
        found.append(f"folders: {paths.root}")
    return found


def _processes_of(paths: ClusterPaths) -> list[str]:
    """Processes that were started for the cluster: each names a file of its state folder, or runs in its cgroups."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            groups = (folder / "cgroup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if f"{paths.root}/" in command or f":/{paths.name}-" in groups:
            found.append(f"{folder.name} {command[:120]}")
    return found
