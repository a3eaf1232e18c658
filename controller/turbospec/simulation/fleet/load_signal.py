"""``turbospec_offered_load_ratio`` of a simulated fleet, from what its engines could report."""

from collections.abc import Callable, Sequence

import numpy as np

from turbospec.control.acceptance import PositionEstimate
from turbospec.control.latency import LatencyModel
from turbospec.control.objective import Objective
from turbospec.fleet.capacity import Attainable, Capability, LoadSignal, attainable, load_signal
from turbospec.fleet.demand import DemandMemory, Lengths, RequestCounts, demand, lengths, observe
from turbospec.fleet.snapshot import PlainView
from turbospec.fleet.worth import without_drafter
from turbospec.simulation.files import EngineFile
from turbospec.simulation.fleet.arrivals import Texts
from turbospec.simulation.fleet.loops import LoopBrain
from turbospec.simulation.text import LEVELS

Estimates = Callable[[], tuple[PositionEstimate, ...]]
SAME_ACCEPTANCE = 0.002
"""Estimates this close have the same capacity: it is worked out anew only when they have moved."""
SAME_LENGTH = 0.01
TEXT_SAMPLES = 1e4
"""Counters of vLLM hold thousands of drafts."""


class LoadRatio:
    """Keeps the demand, and works the ratio out from the latency model, the estimates and the number of ready pods."""

    def __init__(
        self,
        spec: EngineFile,
        latency: LatencyModel,
        draft_tokens: Sequence[int],
        objective: Objective,
        estimates: Estimates,
        *,
        plain: PlainView | None = None,
    ) -> None:
        """``plain``: the engine without its drafter, where some pods are started so."""
        self._spec, self._latency, self._objective = spec, latency, objective
        self._draft_tokens, self._estimates, self._plain = tuple(draft_tokens), estimates, plain
        self._memory = DemandMemory()
        self._waiting = 0.0
        self._ready = self._plain_ready = 0
        self._start_seconds = 0.0
        self._known: tuple[tuple[float, ...], Attainable | None, Attainable | None] | None = None

    def observe(
        self,
        happened: RequestCounts,
        seconds: float,
        *,
        waiting: float,
        ready: int,
        start_seconds: float,
        plain: int = 0,
    ) -> None:
        """What all engines counted within this time; how many requests wait, how many pods are Ready now, ``plain`` of
        them without a drafter, and how long it takes until one is."""
        self._memory = observe(self._memory, happened, seconds)
        self._waiting, self._start_seconds = waiting, start_seconds
        self._ready, self._plain_ready = ready, plain

    def value(self) -> float | None:
        """The ratio; None while rates, lengths or acceptance are not known, and without a ready pod."""
        found = self._signal()
        return None if found is None else found.ratio

    def expected_pods(self) -> float | None:
        """Pods at full load when one that is asked for now would be Ready; None where the ratio is."""
        found = self._signal()
        return None if found is None else found.expected_pods

    @property
    def lengths(self) -> Lengths | None:
        """Of the requests seen lately; None before there were enough."""
        return lengths(self._memory)

    @property
    def engine(self) -> Capability:
        """What one engine may run, with what is known of the text now."""
        return Capability(
            latency=self._latency,
            estimates=self._estimates(),
            draft_tokens=self._draft_tokens,
            max_num_seqs=self._spec.max_num_seqs,
            max_num_batched_tokens=self._spec.max_num_batched_tokens,
            kv_cache_tokens=self._spec.kv_cache_tokens,
            graph_sizes=tuple(self._spec.graph.padded_to) if self._spec.graph else (),
            objective=self._objective,
        )

    def _signal(self) -> LoadSignal | None:
        offered, size = demand(self._memory, self._waiting, self._start_seconds), self.lengths
        if offered is None or size is None or not self._ready:
            return None
        engine = self.engine
        place = (
            *(round((e.acceptance or 0.0) / SAME_ACCEPTANCE) for e in engine.estimates),
            *(round(np.log(max(n, 1.0)) / SAME_LENGTH) for n in (size.prompt_tokens, size.output_tokens)),
        )
        if self._known is None or self._known[0] != place:
            plain = None if self._plain is None else attainable(without_drafter(engine, self._plain), size)
            self._known = (place, attainable(engine, size), plain)
        _, drafting, plain = self._known
        pods = [drafting] * (self._ready - self._plain_ready) + [plain] * self._plain_ready
        known = [rates for rates in pods if rates is not None]
        return load_signal(offered, size, known) if len(known) == len(pods) else None


def of_text(texts: Texts, part: int) -> tuple[PositionEstimate, ...]:
    """What vLLM's own counters say of an engine with a fixed K, to whoever reads them: the text of this part."""
    rows = slice(part * LEVELS, (part + 1) * LEVELS)
    reach, longer = texts.reach[rows].mean(axis=0), texts.longer[rows].mean(axis=0)
    # Accepted beyond j, had every request a draft token at each position.
    deep = np.minimum(reach / np.maximum(longer, 1e-9), 1.0)
    acceptance = deep / np.maximum(np.concatenate([[1.0], deep[:-1]]), 1e-9)
    return tuple(
        PositionEstimate(min(1.0, a), y, TEXT_SAMPLES)
        for a, y in zip(acceptance.tolist(), longer.tolist(), strict=True)
    )


def of_loops(brains: Callable[[], Sequence[LoopBrain]]) -> Estimates:
    """The mean over engines, each weighted by what it has seen lately, up to 200 drafts."""

    def estimates() -> tuple[PositionEstimate, ...]:
        known = [(one, min(one[0].samples, 200.0)) for one in (b.estimates() for b in brains()) if one[0].samples > 0]
        if not known:
            return ()
        found = []
        for column in zip(*(one for one, _ in known), strict=True):
            weighted = [(e, w) for e, (_, w) in zip(column, known, strict=True) if e.acceptance is not None]
            if not weighted:
                break
            total = sum(w for _, w in weighted)
            acceptance = sum((e.acceptance or 0.0) * w for e, w in weighted) / total
            yields = [(e.draft_yield, w) for e, w in weighted if e.draft_yield is not None]
            share = sum(y * w for y, w in yields) / sum(w for _, w in yields) if yields else None
            found.append(PositionEstimate(acceptance, share, total))
        return tuple(found)

    return estimates
