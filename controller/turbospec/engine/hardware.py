"""What this process computes on, as a short text that is equal for equal machines."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class AcceleratorFacts:
    """One kind of accelerator; ``count`` is how many the engine uses."""

    name: str
    memory_bytes: int
    count: int


def usable_cpus(root: Path = Path("/"), affinity: Callable[[], int] | None = None) -> float:
    """CPUs this process may use: the smaller of its affinity mask and its cgroup's CPU quota (v1 and v2)."""
    counted = float(affinity() if affinity is not None else len(os.sched_getaffinity(0)))
    quota = _cgroup_quota(root)
    return counted if quota is None else min(counted, quota)


@cache
def usable_cpus_at_load() -> float:
    """``usable_cpus`` when first asked, by the plugin: vLLM's CPU worker binds its process to cores soon after."""
    return usable_cpus()


def cpu_model(root: Path = Path("/")) -> str:
    """The processor's name as /proc/cpuinfo gives it; ``unknown`` where it gives none."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    fields = dict(_split(line) for line in lines[:64] if ":" in line)
    for key in ("model name", "CPU implementer", "cpu", "machine"):
        if fields.get(key):
            part = fields.get("CPU part", "") if key == "CPU implementer" else ""
            return " ".join(f"{fields[key]} {part}".split())
    return "unknown"


def describe_cpu(cpus: float, root: Path = Path("/")) -> str:
    """``cpu / model / usable CPUs``."""
    return f"cpu / {cpu_model(root)} / {cpus:g} CPUs"


def describe_accelerator(facts: AcceleratorFacts) -> str:
    """``gpu / name / memory / count``; memory rounded to GiB, because drivers report slightly different bytes."""
    return f"gpu / {facts.name} / {round(facts.memory_bytes / 2**30)} GiB / {facts.count}"


def accelerator_facts(platform: Any, world_size: int) -> AcceleratorFacts | None:
    """Asks vLLM's platform; None on CPU. ``platform`` is ``vllm.platforms.current_platform``."""
    if platform.is_cpu():
        return None
    return AcceleratorFacts(
        name=str(platform.get_device_name(0)),
        memory_bytes=int(platform.get_device_total_memory(0)),
        count=world_size,
    )


def _cgroup_quota(root: Path) -> float | None:
    """The tightest CPU limit over the mounted cgroup files, in CPUs; None where there is no limit."""
    limits = [limit for limit in (_quota_v2(root / "sys/fs/cgroup"), _quota_v1(root / "sys/fs/cgroup")) if limit]
    return min(limits) if limits else None


def _quota_v2(folder: Path) -> float | None:
    fields = _read(folder / "cpu.max").split()
    if len(fields) != 2 or fields[0] == "max":
        return None
    return _ratio(fields[0], fields[1])


def _quota_v1(folder: Path) -> float | None:
    for name in ("cpu", "cpu,cpuacct"):
        quota, period = _read(folder / name / "cpu.cfs_quota_us"), _read(folder / name / "cpu.cfs_period_us")
        if quota and period and not quota.startswith("-"):
            return _ratio(quota, period)
    return None


def _ratio(quota: str, period: str) -> float | None:
    try:
        value = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _split(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()
