"""Pooled acceptance: what the engines of one policy and profile key have learnt, for those that have yet to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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
class _Sum:
    """Evidence of one draft position summed over engines."""

    engines: int = 0
    weight: float = 0.0
    weighted_acceptance: float = 0.0


@dataclass(frozen=True, slots=True)
class Pools:
    """What the engines of one policy know, by profile key, and what is remembered of engines that have gone."""

    members: Mapping[str, Mapping[str, EngineReport]]
    sums: Mapping[str, tuple[_Sum, ...]]
    remembered: Mapping[str, tuple[PooledPosition, ...]]

    def for_engine(self, key: str, uid: str) -> tuple[PooledPosition, ...]:
        """What *others* know: an engine is never told its own estimate as if it were news."""
        sums = self.sums.get(key, ())
        own = self.members.get(key, {}).get(uid)
        if own is None or not _is_grown(own):
            return _known(sums) or self.remembered.get(key, ())
        return _known(tuple(_plus(entry, own, position, -1) for position, entry in enumerate(sums)))


def pools_of(
    policy: PolicyView, pods: Iterable[PodView], memory: Mapping[tuple[str, str], PoolMemory], now_seconds: float
) -> Pools:
    """The pools of one policy from the engines it governs."""
    members: dict[str, dict[str, EngineReport]] = {}
    for pod in pods:
        if pod.report is not None and pod.report.unsupported_code is None:
            members.setdefault(pod.report.profile_key, {})[pod.uid] = pod.report
    remembered = {key: _faded(pool, now_seconds) for (uid, key), pool in memory.items() if uid == policy.uid}
    return Pools(members, {key: _sums(reports.values()) for key, reports in members.items()}, remembered)


def remember(
    policy: PolicyView, pools: Pools, memory: Mapping[tuple[str, str], PoolMemory], now_seconds: float
) -> Mapping[tuple[str, str], PoolMemory]:
    """The pools to remember of this policy: the living ones as they are now, the others until they have faded."""
    kept = {
        place: pool
        for place, pool in memory.items()
        if place[0] == policy.uid and _faded(pool, now_seconds)[0].samples >= FORGOTTEN_SAMPLES
    }
    for key, sums in pools.sums.items():
        found = _known(sums)
        if found:
            kept[policy.uid, key] = PoolMemory(found, now_seconds)
    return kept


def pooled(reports: Iterable[EngineReport]) -> tuple[PooledPosition, ...]:
    """Sample-weighted acceptance by position, from the first on for as long as any grown engine has samples of it.

    Engines with fewer than ``YOUNG_SAMPLES`` at the first position are left out.
    """
    return _known(_sums(reports))


def _sums(reports: Iterable[EngineReport]) -> tuple[_Sum, ...]:
    # Sorted, because sums of floats depend on their order and decisions must not.
    grown = sorted((report for report in reports if _is_grown(report)), key=lambda report: report.engine_id)
    sums = [_Sum()] * max((len(report.acceptance) for report in grown), default=0)
    for report in grown:
        sums = [_plus(entry, report, position, 1) for position, entry in enumerate(sums)]
    return tuple(sums)


def _plus(entry: _Sum, report: EngineReport, position: int, sign: int) -> _Sum:
    """The sum with this engine's evidence added or, with sign -1, taken out."""
    acceptance = report.acceptance[position] if position < len(report.acceptance) else None
    samples = report.acceptance_samples[position] if position < len(report.acceptance_samples) else 0.0
    if acceptance is None or samples <= 0:
        return entry
    weight = sign * min(samples, MAX_WEIGHT_SAMPLES)
    return _Sum(entry.engines + sign, entry.weight + weight, entry.weighted_acceptance + weight * acceptance)


def _known(sums: Iterable[_Sum]) -> tuple[PooledPosition, ...]:
    """The leading positions that somebody knows."""
    found: list[PooledPosition] = []
    for entry in sums:
        if entry.engines == 0:
            break
        acceptance = min(max(entry.weighted_acceptance / entry.weight, 0.0), 1.0)
        found.append(PooledPosition(acceptance, entry.weight))
    return tuple(found)


def _is_grown(report: EngineReport) -> bool:
    return bool(report.acceptance_samples) and report.acceptance_samples[0] >= YOUNG_SAMPLES


def _faded(remembered: PoolMemory, now_seconds: float) -> tuple[PooledPosition, ...]:
    factor = 0.5 ** (max(0.0, now_seconds - remembered.seconds) / HALF_LIFE_SECONDS)
    return tuple(PooledPosition(entry.acceptance, entry.samples * factor) for entry in remembered.positions)
