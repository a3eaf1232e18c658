"""One table of draft lengths, and the predictions behind it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.bias import LatencyBias
from turbospec.control.draft_length import Bounding, Decision, DraftTable, Reason, choose, restrict
from turbospec.control.goodput import Prediction, drafted_per_request, expected_tokens
from turbospec.control.latency import LatencyGrid, LatencyModel
from turbospec.control.latency_fit import Floats
from turbospec.control.loop_settings import LoopLimits, LoopSettings
from turbospec.control.margins import MOST_MARGIN, margins_of
from turbospec.control.objective import excess, slow_estimates

LEAST_SHARE = 0.25
"""A step is never taken to need less than this share of its decode time, where prefill is priced dearer than it is."""
MOVED = 0.003
"""Relative change of expected tokens, or of one step time against the others, that is worth a new table: half of the
least margin between two K."""
LEVEL_MOVED = 0.03
"""The same for all step times together: they change no choice, only what is predicted and what a ceiling allows."""
EXIT_MOVED = 0.1
"""Change of what leaving the graphs costs that is worth a new table: it is known to a few hundredths."""
SAME_CONTEXT = 0.03
SAME_WIDTH = 0.02
"""Context and mean drafts this close share their step times: the error stays far below the least margin."""
DRAFTING_SHARE = 0.5
"""Share of a step's token budget that drafts may take while prefills want it: neither side starves."""
_Kept = tuple[tuple[float, ...], float, Floats]
"""Mean drafts by K, context, and the components predicted for them."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a table is made for, beside the batch: mean context, and how prefill comes."""

    context_tokens: float
    prefill_lump: float = 0.0
    """Prefill tokens that come at once (a prompt, or a chunk of one)."""
    prefill_sizes: tuple[float, ...] = ()
    """Prefill tokens of steps that have some: a few values, equally likely, rising."""
    prefill_ratio: float = 0.0
    """Prefill tokens per delivered token."""
    prefill_seconds: float = 0.0
    """What prefill adds to the mean step."""
    waiting: float = 0.0
    prefill_share: float = 0.0
    """Share of steps with prefill, at the K then in use."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one rebuild decided; replaced as a whole, so that readers need no lock.

    Arrays are indexed by allowed K, then batch - 1: ``components`` (parts first) and ``seconds`` without prefill,
    ``predicted`` the sum of the components, ``seconds`` with what the engine was found to be off, ``lengthened``
    what decodes take in the mean step, with and without prefill, over those; None where prefill changes no choice.
    """

    table: DraftTable
    reason: Reason
    prefill_table: DraftTable | None = None
    allowed: tuple[int, ...] = ()
    situation: Situation = field(default_factory=lambda: Situation(0.0))
    widths: tuple[float, ...] = ()
    tokens: tuple[float | None, ...] = ()
    components: Floats | None = None
    predicted: Floats | None = None
    seconds: Floats | None = None
    lengthened: Floats | None = None
    graph_exit: float = 1.0
    """Factor on what leaving the graphs costs that the table was made with."""

    def prediction(self, i: int, batch: int) -> Prediction:
        """What K number ``i`` is expected to do at this batch: the time of a decode step, goodput over all steps."""
        assert self.seconds is not None  # noqa: S101 - callers ask plans that hold predictions
        seconds = float(self.seconds[i, batch - 1])
        tokens = self.tokens[i]
        mean = seconds if self.lengthened is None else seconds * float(self.lengthened[i, batch - 1])
        return Prediction(self.allowed[i], tokens, seconds, None if tokens is None else batch * tokens / mean)

    def predictions(self, batch: int) -> tuple[Prediction, ...]:
        """Those of every allowed K; empty where there is no model."""
        if self.seconds is None:
            return ()
        return tuple(self.prediction(i, batch) for i in range(len(self.allowed)))

    def forgiving(self) -> "Plan":
        """The same, with nothing held against the K that were left for the present ones."""
        return replace(self, table=replace(self.table, left=None))

    def outdated(self, estimates: tuple[PositionEstimate, ...], bias: LatencyBias, batch: int) -> bool:
        """Whether expected tokens, or step times against each other, have moved at this batch since it was made."""
        if self.seconds is None or self.components is None:
            return True
        if self.lengthened is not None and abs(bias.graph_exit.factor - self.graph_exit) > EXIT_MOVED:
            return True
        for k, before in zip(self.allowed, self.tokens, strict=True):
            now = expected_tokens(estimates, k)
            if now is None or before is None:
                if now is not before:
                    return True
            elif abs(now - before) > MOVED * before:
                return True
        moved = bias.correct(self.components[:, :, batch - 1 : batch])[:, 0] / self.seconds[:, batch - 1]
        return float(moved.max() - moved.min()) > MOVED or abs(float(moved[0]) - 1.0) > LEVEL_MOVED

    def explain(self, batch: int, *, prefill: bool) -> Decision:
        """K at this batch, why, and what bounds it."""
        table = self.prefill_table if prefill and self.prefill_table is not None else self.table
        k, reason = table.at(batch), self.reason
        bounding = None
        if self.seconds is not None and reason in {Reason.HIGHEST_GOODPUT, Reason.NO_PROFILE}:
            bounding = Bounding.ALLOWED if k == self.allowed[-1] else Bounding.GOODPUT
            if batch in table.unattainable:
                reason, bounding = Reason.UNATTAINABLE, Bounding.OBJECTIVE
            elif batch in table.held:
                reason, bounding = Reason.HYSTERESIS, Bounding.HYSTERESIS
            elif batch in table.limited:
                # The objective binds with and without prefill, the token budget only where there is some.
                bounding = Bounding.OBJECTIVE if batch in self.table.limited else Bounding.TOKEN_BUDGET
        return Decision(k, reason, self.predictions(batch), bounding)


class Planner:
    """Makes plans from one latency model and one set of allowed K."""

    def __init__(self, limits: LoopLimits, settings: LoopSettings, model: LatencyModel, bias: LatencyBias) -> None:
        self._limits = limits
        self._settings = settings
        self._grid = LatencyGrid(model, np.arange(1, limits.max_num_seqs + 1, dtype=np.float64), limits.graph_sizes)
        self.bias = bias
        self.per_prefill_token = self._grid.per_prefill_token
        self._kept: _Kept | None = None

    def plan(
        self,
        estimates: tuple[PositionEstimate, ...],
        situation: Situation,
        previous: Plan,
        startup: Sequence[int],
        in_use: tuple[int, int],
        *,
        recent: Collection[int] = (),
    ) -> Plan:
        """The table of the best K at every batch; kept as it was where nothing in ``in_use`` (batches) changes.
        ``recent``: K that were left a moment ago."""
        allowed, batches = self._settings.allowed, self._limits.max_num_seqs
        tokens = tuple(expected_tokens(estimates, k) for k in allowed)
        widths = tuple(drafted_per_request(estimates, k) for k in allowed)
        widths, context, components = self._components(widths, situation.context_tokens)
        situation = replace(situation, context_tokens=context)
        predicted, seconds = components.sum(axis=0), self.bias.correct(components)
        graph_exit = self.bias.graph_exit.factor
        if abs(graph_exit - previous.graph_exit) <= EXIT_MOVED:
            graph_exit = previous.graph_exit
        lengthened = None
        best = Reason.NO_PROFILE if self.bias.cold else Reason.HIGHEST_GOODPUT
        known = [value for value in tokens if value is not None]
        with_prefill = None
        if len(allowed) == 1 or len(known) < len(tokens):
            best = Reason.ONLY_ALLOWED if len(allowed) == 1 else Reason.NO_ACCEPTANCE
            table = restrict(startup, allowed, batches)
        else:
            held = previous if previous.reason is best and previous.allowed == allowed else None
            middle = max(1, (in_use[0] + in_use[1]) // 2)
            margins = margins_of(estimates, allowed, known, self.bias.spreads(components[:, :, middle - 1]))
            missing = self._excess(estimates, seconds, situation)
            delivered = np.array(known)[:, None]
            expected = delivered / seconds
            lengthened = self._lengthened(delivered, predicted, seconds, graph_exit, widths, situation)
            if lengthened is not None:
                expected /= lengthened
            before = held.table if held else None
            table = choose(expected, allowed, before, margins, missing, back=MOST_MARGIN, recent=recent)
            crowded = self._crowded(widths, missing)
            if crowded is not None:
                before = held.prefill_table or held.table if held else None
                with_prefill = choose(expected, allowed, before, margins, crowded)
                if before is not None and _same(before, with_prefill, in_use):
                    with_prefill = before
            if held is not None and _same(held.table, table, in_use):
                table = held.table
        return Plan(
            table, best, with_prefill, allowed, situation, widths, tokens, components, predicted, seconds, lengthened,
            graph_exit,
        )  # fmt: skip

    def _lengthened(  # noqa: PLR0917 - a formula's variables
        self,
        tokens: Floats,
        predicted: Floats,
        seconds: Floats,
        graph_exit: float,
        widths: tuple[float, ...],
        situation: Situation,
    ) -> Floats | None:
        """What decodes take with prefill in some of the steps, over ``seconds``; None where that changes no choice.

        Prefill has to be done at any K, so the best K is the one that gains most over the long-run rate r: max
        tokens(K) - r * T(K, composition). Where prefill only adds its time that is the K of a pure decode step. With
        graphs T is averaged over steps with and without prefill, of which more comes the more is delivered.
        Written as a rate again: what the prefill itself needs counts as work done. ``graph_exit`` is a factor on
        what leaving the graphs adds, where steps are as predicted.
        """
        sizes, lump = np.array(situation.prefill_sizes), situation.prefill_lump
        if not (self._limits.graph_sizes and sizes.size and lump > 0.0 and situation.prefill_ratio > 0.0):
            return None
        coming = situation.prefill_ratio / lump * self._batches * tokens
        some = -np.expm1(-coming)
        # Averaged over sizes: the mean one may just fit into a graph that half of them do not fit into. The more lumps
        # come, the more of them share a step.
        sizes = sizes[:, None, None] * (lump / float(sizes.mean()) * coming / some)
        own, leaving = self._grid.prefill_adds(self._settings.allowed, widths, situation.context_tokens)(sizes)
        beside = self.bias.factor("tokens") * (some * own.mean(axis=0) - coming * lump * self.per_prefill_token)
        lengthened = 1.0 + beside / seconds + graph_exit * some * leaving.mean(axis=0) / predicted
        return np.asarray(np.maximum(lengthened, LEAST_SHARE), dtype=np.float64)

    @property
    def has_graphs(self) -> bool:
        """Whether steps may leave captured graphs."""
        return bool(self._grid.fit.graph_sizes)

    def prefill_adds(self, batch: Floats, drafted: Floats, context: float, prefill: Floats) -> tuple[Floats, Floats]:
        """``LatencyGrid.prefill_adds_to`` for steps one by one."""
        return self._grid.prefill_adds_to(batch, drafted, (drafted > 0).astype(np.float64), context)(prefill)

    def _crowded(self, widths: tuple[float, ...], missing: Floats | None) -> Floats | None:
        """``missing``, with the K forbidden whose drafts would take the room of prefills; None where none does."""
        budget = self._limits.max_num_batched_tokens
        if budget is None:
            return None
        if self._limits.max_num_seqs * (1.0 + max(widths)) <= DRAFTING_SHARE * budget:
            return None
        wanted = self._batches * (1.0 + np.array(widths)[:, None])
        crowded = wanted / (DRAFTING_SHARE * budget)
        crowded[0] = np.minimum(crowded[0], 1.0)
        return crowded if missing is None else np.maximum(missing, crowded)

    @property
    def _batches(self) -> Floats:
        return self._grid.batches

    def _excess(self, estimates: tuple[PositionEstimate, ...], seconds: Floats, situation: Situation) -> Floats | None:
        objective = self._settings.objective
        if objective.empty:
            return None
        slow = slow_estimates(estimates, objective.time_per_output_token_percentile)
        slow_tokens = np.array([expected_tokens(slow, k) or 1.0 for k in self._settings.allowed])
        return excess(
            objective,
            seconds,
            slow_tokens,
            prefill_seconds=situation.prefill_seconds,
            waiting=situation.waiting,
        )

    def _components(self, widths: tuple[float, ...], context: float) -> _Kept:
        """Those of the last plan where widths and context are about the same: most rebuilds only move acceptance."""
        kept = self._kept
        if (
            kept is None
            or abs(kept[1] - context) > SAME_CONTEXT * context
            or any(abs(one - other) > SAME_WIDTH for one, other in zip(kept[0], widths, strict=True))
        ):
            kept = self._kept = (widths, context, self._grid.components(self._settings.allowed, widths, context))
        return kept


def _same(before: DraftTable, now: DraftTable, in_use: tuple[int, int]) -> bool:
    first, last = in_use
    return before.entries[first : last + 1] == now.entries[first : last + 1]
