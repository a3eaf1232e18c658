"""Acceptance of one engine from its cumulative counters: what changed between two rounds, decayed with time."""

from dataclasses import replace

from turbospec.fleet.memory import EngineMemory, PositionEvidence
from turbospec.fleet.snapshot import EngineReport, PositionCounts

HALF_LIFE_SECONDS = 4.0
"""Two rounds: after 12 s seven eighths of the weight is newer, which leaves time to react within 30 s. At 30 drafts per
second about 170 drafts are in view."""


def observe(memory: EngineMemory, report: EngineReport, now_seconds: float) -> EngineMemory:
    """Add what happened since the last round; counters that went backwards have started anew and count from there."""
    evidence, waiting = memory.evidence, float(report.waiting)
    if memory.report is not None:
        elapsed = max(0.0, now_seconds - memory.report_seconds)
        waiting += 0.5 ** (elapsed / HALF_LIFE_SECONDS) * (memory.waiting - waiting)
        successes, trials = _between(memory.report.counts, report.counts)
        evidence = tuple(
            _updated(evidence[j] if j < len(evidence) else None, successes[j], trials[j], elapsed, now_seconds)
            for j in range(len(trials))
        )
    context = memory.context_tokens
    if report.decodes > 0 and report.kv_tokens > 0:
        context = report.kv_tokens / report.decodes
    return replace(
        memory,
        report=report,
        report_seconds=now_seconds,
        evidence=evidence,
        context_tokens=context,
        waiting=waiting,
    )


def _between(before: PositionCounts, now: PositionCounts) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Successes and trials by position. A trial of position j is a draft longer than j tokens of which j were accepted.

    Counters do not join the two, so the drafts accepted up to j are thinned by the share that was long enough: exact
    where drafts are equally long, and unbiased where their length is independent of their acceptance.
    """
    positions = min(len(now.drafted), len(now.accepted))
    drafted = [now.drafted[j] - (before.drafted[j] if j < len(before.drafted) else 0) for j in range(positions)]
    accepted = [now.accepted[j] - (before.accepted[j] if j < len(before.accepted) else 0) for j in range(positions)]
    if any(count < 0 for count in (*drafted, *accepted)):
        return (0.0,) * positions, (0.0,) * positions
    trials: list[float] = []
    for j in range(positions):
        if j == 0:
            reached = float(drafted[0])
        else:
            reached = accepted[j - 1] * drafted[j] / drafted[j - 1] if drafted[j - 1] > 0 else 0.0
        trials.append(max(reached, float(accepted[j])))
    return tuple(float(count) for count in accepted), tuple(trials)


def _updated(
    known: PositionEvidence | None, successes: float, trials: float, elapsed: float, now_seconds: float
) -> PositionEvidence | None:
    """Fade what is known, down to the weight of one trial so that it is never lost, and add the new."""
    if known is None:
        return PositionEvidence(successes, trials, now_seconds) if trials > 0 else None
    factor = 0.5 ** (elapsed / HALF_LIFE_SECONDS)
    if known.trials * factor < 1.0:
        factor = min(1.0, 1.0 / known.trials)
    seen = now_seconds if trials > 0 else known.seen_seconds
    return PositionEvidence(known.successes * factor + successes, known.trials * factor + trials, seen)
