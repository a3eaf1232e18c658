"""What blocks of steps say of step times: the evidence for ``bias``."""

from collections.abc import Sequence

import numpy as np

from turbospec.control.latency_fit import Floats
from turbospec.control.plan import Plan, Planner
from turbospec.control.step import StepRecord

LEAST_WIDTH = 0.05
"""Mean draft tokens per request between two K below which their difference in time is no draft's price."""
MOST_STEPS = 12
"""Newest steps of one K looked at per round: their mean is known to 1% at 3% noise, more only cost time."""
MOST_PREFILL_STEPS = 24
"""The same of steps with prefill."""


def learn_times(planner: Planner, plan: Plan, records: Sequence[StepRecord]) -> None:
    """Compare measured step times with the plan's prediction, and teach the planner's bias.

    Only steps without prefill and with one K in the whole interval count: others say nothing of any K. Where there are
    graphs, steps with prefill tell what leaving them costs.
    """
    if plan.predicted is None or plan.components is None:
        return
    jumps = planner.bias.jumps
    _learn_decodes(planner, plan, plan.predicted, plan.components, records)
    # In a round with a jump nobody knows which of its steps came before it.
    if planner.has_graphs and planner.bias.jumps == jumps:
        _learn_exits(planner, plan, plan.components, records)


def _learn_decodes(
    planner: Planner, plan: Plan, predicted: Floats, components: Floats, records: Sequence[StepRecord]
) -> None:
    """Predictions are moved from the plan's context and draft yield to those of the step."""
    index = {k: i for i, k in enumerate(plan.allowed)}
    most = predicted.shape[1]
    context = plan.situation.context_tokens
    per_kv: dict[int, float] = {}
    ratios: dict[int, list[float]] = {}
    batches: dict[int, int] = {}
    for record in reversed(records):
        interval, k, batch = record.interval_seconds, record.interval_draft_tokens, record.decodes
        if interval is None or record.prefill_tokens or not 1 <= batch <= most or record.asked_draft_tokens != k:
            continue
        i = index.get(k)
        if i is None or len(ratios.setdefault(i, [])) >= MOST_STEPS:
            continue
        expected = float(predicted[i, batch - 1])
        if context > 0:
            kv = per_kv.get(i)
            if kv is None:
                kv = per_kv[i] = float(components[2, i, batch - 1]) / (batch * context)
            expected += kv * (record.kv_tokens - batch * context)
        missing = record.verified_draft_tokens - batch * plan.widths[i]
        wider = plan.widths[i] - plan.widths[0]
        if missing and wider > LEAST_WIDTH:
            # What a draft token costs on average between the smallest allowed K and this one.
            slope = (float(predicted[i, batch - 1]) - float(predicted[0, batch - 1])) / wider
            expected += slope * missing / batch
        ratios[i].append(interval / max(expected, 1e-9))
        batches[i] = batch
    for i, found in ratios.items():
        if not found:
            continue
        column = components[:, i, batches[i] - 1]
        planner.bias.observe(plan.allowed[i], batches[i], (column / column.sum()).tolist(), found)


def _learn_exits(planner: Planner, plan: Plan, components: Floats, records: Sequence[StepRecord]) -> None:
    """Compare steps with prefill with what the decodes in them take alone, as far as that is known by now."""
    index = {k: i for i, k in enumerate(plan.allowed)}
    seen: list[tuple[int, int, float, float, float]] = []
    for record in reversed(records):
        k, batch = record.interval_draft_tokens, record.decodes
        if record.interval_seconds is None or not record.prefill_tokens or not 1 <= batch <= components.shape[2]:
            continue
        if record.asked_draft_tokens != k or k not in index:
            continue
        drafted = record.verified_draft_tokens / batch
        seen.append((index[k], batch, drafted, float(record.prefill_tokens), record.interval_seconds))
        if len(seen) >= MOST_PREFILL_STEPS:
            break
    if not seen:
        return
    rows, batches, width, prefill, seconds = (np.array(column) for column in zip(*reversed(seen), strict=True))
    columns = components[:, :, batches - 1]
    alone = planner.bias.correct(columns)[rows, np.arange(len(seen))]
    predicted = columns.sum(axis=0)[rows, np.arange(len(seen))]
    own, leaving = planner.prefill_adds(batches.astype(np.float64), width, plan.situation.context_tokens, prefill)
    planner.bias.graph_exit.observe(own / predicted, leaving / predicted, seconds / alone - 1.0)
