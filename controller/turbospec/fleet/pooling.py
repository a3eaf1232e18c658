"""Pooled acceptance: what the engines of one policy and profile key have learnt, for those that have yet to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from turbospec.fleet.memory import PooledPosition, PoolMemory
from turbospec.fleet.snapshot import EngineReport, PodView, PolicyView

YOUNG_SAMPLES = 30.0
"""Below this an engine's first-position acceptance is worth less than its peers' (its standard error is about 0.09),
and it is left out of the pool. Arbitrary within a factor of two."""

MAX_WEIGHT_SAMPLES = 200.0
"""The most that one engine weighs, lest the oldest speak for all."""

HALF_LIFE_SECONDS = 600.0
"""How fast the memory of a fleet without engines fades: workloads change over tens of minutes. A guess."""

FORGOTTEN_SAMPLES = 1.0
"""A remembered pool with less than this at its first position says nothing any more."""


@dataclass(frozen=True, slots=True)
class Pools:
    """Reports by profile key and pod uid of one policy, and what is remembered of engines that have gone."""

    reports: Mapping[str, Mapping[str, EngineReport]]
    remembered: Mapping[str, tuple[PooledPosition, ...]] = field(default_factory=dict)

    def for_engine(self, key: str, uid: str) -> tuple[PooledPosition, ...]:
        """What *others* know: an engine is never told its own estimate as if it were news."""
        members = self.reports.get(key, {})
        found = pooled(report for other, report in members.items() if other != uid)
        if found or (uid in members and _is_grown(members[uid])):
            return found
        return self.remembered.get(key, ())


def pools_of(
    policy: PolicyView, pods: Iterable[PodView], memory: Mapping[tuple[str, str], PoolMemory], now_seconds: float
) -> Pools:
    """The pools of one policy from the engines it governs."""
    reports: dict[str, dict[str, EngineReport]] = {}
    for pod in pods:
        if pod.report is not None and pod.report.unsupported_code is None:
            reports.setdefault(pod.report.profile_key, {})[pod.uid] = pod.report
    remembered = {key: _faded(pool, now_seconds) for (uid, key), pool in memory.items() if uid == policy.uid}
    return Pools(reports, remembered)


def remember(
    policy: PolicyView, pools: Pools, memory: Mapping[tuple[str, str], PoolMemory], now_seconds: float
) -> Mapping[tuple[str, str], PoolMemory]:
    """The pools to remember of this policy: the living ones as they are now, the others until they have faded."""
    kept = {
        place: pool
        for place, pool in memory.items()
        if place[0] == policy.uid and _faded(pool, now_seconds)[0].samples >= FORGOTTEN_SAMPLES
    }
    for key, members in pools.reports.items():
        found = pooled(members.values())
        if found:
            kept[policy.uid, key] = PoolMemory(found, now_seconds)
    return kept


def pooled(reports: Iterable[EngineReport]) -> tuple[PooledPosition, ...]:
    """Sample-weighted acceptance by position, from the first on for as long as any grown engine has samples of it.

    Engines with fewer than ``YOUNG_SAMPLES`` at the first position are left out.
    """
    grown = sorted((report for report in reports if _is_grown(report)), key=lambda report: report.engine_id)
    found: list[PooledPosition] = []
    for position in range(max((len(report.acceptance) for report in grown), default=0)):
        weight, total = 0.0, 0.0
        for report in grown:
            acceptance = report.acceptance[position] if position < len(report.acceptance) else None
            samples = report.acceptance_samples[position] if position < len(report.acceptance_samples) else 0.0
            if acceptance is not None and samples > 0:
                weight += min(samples, MAX_WEIGHT_SAMPLES)
                total += min(samples, MAX_WEIGHT_SAMPLES) * acceptance
        if weight <= 0:
            break
        found.append(PooledPosition(total / weight, weight))
    return tuple(found)


def _is_grown(report: EngineReport) -> bool:
    return bool(report.acceptance_samples) and report.acceptance_samples[0] >= YOUNG_SAMPLES


def _faded(remembered: PoolMemory, now_seconds: float) -> tuple[PooledPosition, ...]:
    factor = 0.5 ** (max(0.0, now_seconds - remembered.seconds) / HALF_LIFE_SECONDS)
    return tuple(PooledPosition(entry.acceptance, entry.samples * factor) for entry in remembered.positions)
