"""Loop: Table. The operator computes each engine's table and keeps the evidence behind it fresh by short probes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.draft_length import DraftTable, choose
from turbospec.control.goodput import drafted_per_request, expected_tokens, predict
from turbospec.control.latency import LatencyGrid, LatencyModel
from turbospec.control.latency_fit import Floats
from turbospec.control.objective import Objective, excess, slow_estimates
from turbospec.fleet.documents import MAX_BATCH
from turbospec.fleet.effects import TableRange
from turbospec.fleet.memory import EngineMemory, PooledPosition
from turbospec.fleet.snapshot import EngineReport

SWITCH_MARGIN = 0.05
"""Another K must promise this much more goodput: evidence of a few seconds is noisy by a few percent."""

MIN_TRIALS = 8.0
"""Trials of the first position before the first table: a handful, because every later round corrects it."""

STALE_SECONDS = 10.0
"""Evidence older than this is probed again, so that a return of acceptance is seen within 30 s."""

PROBE_TTL_SECONDS = 2.0
"""One round of the fleet loop: over before the next decision, and long enough for some tens of steps."""

PROBE_PAUSE_SECONDS = 4.0
"""Between a probe and a deeper one: the first one's evidence has then been counted."""


@dataclass(frozen=True, slots=True)
class TableChoice:
    """A table, and the batches at which no K meets the objective: K is the one there that delivers most."""

    table: tuple[TableRange, ...]
    unattainable: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Probe:
    """Run this table for ``PROBE_TTL_SECONDS``."""

    draft_tokens: int
    table: tuple[TableRange, ...]


def estimates(
    memory: EngineMemory, report: EngineReport, pool: Sequence[PooledPosition]
) -> tuple[PositionEstimate, ...]:
    """What is known of each position, however old: counted here, else the engine's own estimate, else the pool's.

    The engine's own estimate is what an operator that has just started, or a policy just turned to Table, has at once.
    What was counted here fades while the engine is idle; a remnant of it must not hide what the engine still knows.
    """
    found: list[PositionEstimate] = []
    for j in range(max(len(report.counts.drafted), len(memory.evidence))):
        own = memory.evidence[j] if j < len(memory.evidence) else None
        reported = _reported(report, j)
        acceptance, samples = None, 0.0
        if own is not None and (own.trials >= MIN_TRIALS or reported is None or reported[1] <= own.trials):
            acceptance, samples = min(own.successes / own.trials, 1.0), own.trials
        elif reported is not None:
            acceptance, samples = reported
        elif j < len(pool):
            acceptance, samples = pool[j].acceptance, pool[j].samples
        found.append(PositionEstimate(acceptance, _yield(report, j), samples))
    return tuple(found)


def choose_table(
    model: LatencyModel,
    known: Sequence[PositionEstimate],
    allowed: tuple[int, ...],
    report: EngineReport,
    memory: EngineMemory,
    *,
    objective: Objective,
) -> TableChoice | None:
    """K of highest predicted goodput under the objective for every batch, kept where the gain is below
    ``SWITCH_MARGIN``.

    None while too little is known: unknown is not guessed, and the start-up table drafts until something is known.
    """
    if not known or known[0].acceptance is None or (known[0].samples < MIN_TRIALS and memory.table is None):
        return None
    tokens = {k: expected for k in allowed if (expected := expected_tokens(known, k)) is not None}
    if not tokens:
        return None
    batches = np.arange(1, max(report.max_num_seqs, 1) + 1, dtype=np.float64)
    drafted = [drafted_per_request(known, k) for k in tokens]
    seconds = LatencyGrid(model, batches).seconds(tuple(tokens), drafted, _context(memory, model))
    previous = None if memory.table is None else _dense(memory.table, len(batches))
    goodput = np.array(list(tokens.values()))[:, None] / seconds
    missing = _missing(objective, known, tuple(tokens), seconds, memory)
    chosen = choose(goodput, tuple(tokens), previous, SWITCH_MARGIN, missing)
    if memory.table is not None and previous is not None and missing is not None:
        # Ceilings know no margin: noise moves them by a batch or so each round, which is worth no new table elsewhere.
        near = slice(max(1, report.decodes // 2), 2 * max(1, report.decodes) + 1)
        if chosen.entries[near] == previous.entries[near]:
            return TableChoice(memory.table, chosen.unattainable)
    return TableChoice(_ranges(chosen.entries[1:]), chosen.unattainable)


def draft_tokens_at(table: Sequence[TableRange], batch: int) -> int | None:
    """K of the table at this batch; None outside it."""
    return next((row.draft_tokens for row in table if row.from_batch <= batch <= row.to_batch), None)


def choose_probe(
    model: LatencyModel,
    known: Sequence[PositionEstimate],
    allowed: tuple[int, ...],
    *,
    report: EngineReport,
    memory: EngineMemory,
    now_seconds: float,
    objective: Objective,
) -> Probe | None:
    """A longer draft to try for a moment, where the evidence against it is stale and it could pay.

    Positions without fresh evidence are taken to accept as well as the last fresh one, the first one always. Where not
    even that beats the K in force, as at a batch beyond the crossover, or meets the objective, nothing is probed. With
    nothing fresh at all the probe is the smallest positive K, the cheapest way to learn something.
    """
    batch = report.decodes
    table = memory.table
    current = draft_tokens_at(table, batch) if table is not None else report.draft_tokens
    if report.running == 0 or batch == 0 or current is None:
        return None
    longer = [k for k in allowed if k > current]
    fresh = _fresh_positions(memory, now_seconds)
    if not longer or (current > 0 and fresh == 0):  # drafts are asked for, and none come
        return None
    hoped = _hopeful(known, fresh)
    options = predict(model, hoped, (current, *longer), decodes=batch, kv_tokens=batch * _context(memory, model))
    rates = {option.draft_tokens: option.tokens_per_second or 0.0 for option in options}
    seconds = np.array([[option.step_seconds] for option in options])
    missing = _missing(objective, hoped, tuple(rates), seconds, memory)
    if missing is not None:
        most = max(1.0, float(missing[0, 0]))
        longer = [k for k, misses in zip(longer, missing[1:, 0], strict=True) if misses <= most]
    if not longer:
        return None
    target = max(longer, key=lambda k: rates[k])
    if rates[target] <= rates[current] * (1.0 + SWITCH_MARGIN):
        return None
    if fresh == 0:
        target = longer[0]
    if fresh >= target or not _may_probe(memory, target, now_seconds):
        return None
    rest = _beyond(table or (TableRange(1, MAX_BATCH, allowed[0]),), 2 * batch)
    return Probe(target, (TableRange(1, 2 * batch, target), *rest))


def _missing(
    objective: Objective,
    known: Sequence[PositionEstimate],
    draft_tokens: tuple[int, ...],
    seconds: Floats,
    memory: EngineMemory,
) -> Floats | None:
    """By how much each K (rows) misses the ceilings at each batch (columns); None without any.

    As in the engine loop, but without the time that prefill takes of a step: engines do not report it.
    """
    if objective.empty:
        return None
    slow = slow_estimates(tuple(known), objective.time_per_output_token_percentile)
    tokens = np.array([expected_tokens(slow, k) or 1.0 for k in draft_tokens])
    return excess(objective, seconds, tokens, prefill_seconds=0.0, waiting=memory.waiting)


def probed(memory: EngineMemory, probe: Probe, now_seconds: float) -> EngineMemory:
    """The memory after the probe was sent."""
    return replace(memory, probed_seconds=now_seconds, probed_draft_tokens=probe.draft_tokens)


def _may_probe(memory: EngineMemory, target: int, now_seconds: float) -> bool:
    """A probe that brought no evidence (the drafter found nothing) is not repeated before ``STALE_SECONDS``."""
    if memory.probed_seconds is None:
        return True
    waited = now_seconds - memory.probed_seconds
    return waited >= (PROBE_PAUSE_SECONDS if target > memory.probed_draft_tokens else STALE_SECONDS)


def _fresh_positions(memory: EngineMemory, now_seconds: float) -> int:
    """How many leading positions have evidence of the last ``STALE_SECONDS``."""
    fresh = 0
    for entry in memory.evidence:
        if entry is None or now_seconds - entry.seen_seconds > STALE_SECONDS:
            break
        fresh += 1
    return fresh


def _hopeful(known: Sequence[PositionEstimate], fresh: int) -> tuple[PositionEstimate, ...]:
    carried = 1.0
    hoped: list[PositionEstimate] = []
    for j, estimate in enumerate(known):
        if j < fresh and estimate.acceptance is not None:
            carried = estimate.acceptance
        hoped.append(PositionEstimate(carried, estimate.draft_yield, estimate.samples))
    return tuple(hoped)


def _context(memory: EngineMemory, model: LatencyModel) -> float:
    """Mean context of the engine's requests; before its first step, the middle of what was measured."""
    if memory.context_tokens is not None:
        return memory.context_tokens
    measured = sorted(cell.context_tokens for cell in model.cells)
    return float(measured[len(measured) // 2])


def _reported(report: EngineReport, position: int) -> tuple[float, float] | None:
    """The engine's estimate and the samples behind it; None where it has seen no draft of its own so deep."""
    if position >= min(len(report.acceptance), len(report.acceptance_samples)):
        return None
    acceptance, samples = report.acceptance[position], report.acceptance_samples[position]
    return None if acceptance is None or samples <= 0.0 else (acceptance, samples)


def _yield(report: EngineReport, position: int) -> float | None:
    return report.draft_yield[position] if position < len(report.draft_yield) else None


def _ranges(draft_tokens: Sequence[int]) -> tuple[TableRange, ...]:
    """Rows for K by batch, ``draft_tokens[0]`` being batch 1; the last row reaches as far as batches go."""
    starts = [0, *(i for i in range(1, len(draft_tokens)) if draft_tokens[i] != draft_tokens[i - 1])]
    ends = [*starts[1:], MAX_BATCH]
    return tuple(TableRange(start + 1, end, int(draft_tokens[start])) for start, end in zip(starts, ends, strict=True))


def _dense(table: Sequence[TableRange], batches: int) -> DraftTable:
    """The table by batch, as the engine loop's brain takes it."""
    rows = [row.draft_tokens for row in table for _ in range(row.from_batch, min(row.to_batch, batches) + 1)]
    return DraftTable((rows[0], *rows))


def _beyond(table: Sequence[TableRange], batch: int) -> tuple[TableRange, ...]:
    """The rows of the table above this batch."""
    return tuple(
        TableRange(max(row.from_batch, batch + 1), row.to_batch, row.draft_tokens)
        for row in table
        if row.to_batch > batch
    )
