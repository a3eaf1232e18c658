"""What TurboSpec would have done with a group of engines, and gained: an interval, or what it takes to know."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from turbospec.advise.break_even import BreakEven
from turbospec.advise.drafting import Drafting, drafting
from turbospec.advise.interval import OVERHEAD, SIGMAS, Interval, gain_interval
from turbospec.advise.replay import Assumptions, Replay
from turbospec.advise.series import Group, Window
from turbospec.control.latency import LatencyModel
from turbospec.control.latency_fit import Floats

MEDIAN_SIGMAS = 2.44
"""The same in median errors, which is what profiles state."""
LEAST_ERROR = 0.02
"""T(K) / T(0) of a profile is off by no less, whatever its own hold-out says: another day, another neighbour."""
UNSTATED_ERROR = 0.05
"""Where a profile states no error, or its steps are padded to sizes that it does not name."""
CLAIM = 0.01
"""A gain is claimed where the interval begins above this."""
MOST_MISFIT = 1.0 / 3.0
"""Measured against predicted step times that are further off tell of another engine: the operator calls it drift."""
LEAST_STEPS = 500.0
"""Of decoding: seconds of traffic."""


class Verdict(StrEnum):
    """What the interval says."""

    GAIN = "Gain"
    NO_GAIN = "NoGain"
    """What ran was about the best."""
    LOSS = "Loss"
    """What ran was better: without a drafter, or with a K that TurboSpec may not use."""
    UNCLEAR = "Unclear"
    UNKNOWN = "Unknown"


class Need(StrEnum):
    """What an unknown gain needs."""

    METRICS = "Metrics"
    TRAFFIC = "Traffic"
    DRAFTER = "Drafter"
    PROFILE = "Profile"


@dataclass(frozen=True, slots=True)
class Profiled:
    """A latency model of these engines. ``error``: median error on unseen cells, None where it is not stated;
    ``padded``: whether steps are padded to sizes of graphs that are not known here."""

    model: LatencyModel
    error: float | None = None
    padded: bool = False

    @property
    def margin(self) -> float:
        """By what share T(K) against another K may be off, with the coverage of the interval."""
        stated = UNSTATED_ERROR if self.error is None else MEDIAN_SIGMAS * self.error
        padding = UNSTATED_ERROR if self.padded else 0.0
        return math.hypot(max(stated, LEAST_ERROR), padding, SIGMAS * self.model.doubt)


@dataclass(frozen=True, slots=True)
class Needed:
    """One thing that is missing, and in words what to do."""

    need: Need
    message: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What ran. Latency is the mean between two tokens of a request, tokens are those of one step of a request."""

    batch: float
    latency_seconds: float
    tokens_per_step: float
    draft_tokens: float | None
    """Mean K; None where the engines were started without speculation."""
    acceptance: tuple[float, ...]
    """Conditional, by position; empty where it is not known."""
    busy_share: float


@dataclass(frozen=True, slots=True)
class Advice:
    """Of one group. ``gain`` is None where ``needs`` says what it takes to know it."""

    group: Group
    verdict: Verdict
    observed: Observed | None = None
    gain: Interval | None = None
    shares: dict[int, float] | None = None
    """Share of the engines' busy time that TurboSpec would have spent at each K, by the most likely values."""
    needs: tuple[Needed, ...] = ()
    break_even: dict[int, float | None] | None = None
    """By K: the acceptance of every draft token from which on it would have been faster than what ran; None: never."""
    fit_ratio: float | None = None
    """Measured over predicted latency at the K that ran."""


def advise_group(group: Group, profiled: Profiled | None, allowed: Sequence[int] | None = None) -> Advice:
    """What TurboSpec would have done with these engines, K bounded to ``allowed`` (default: the K of the profile).

    No gain is claimed where acceptance, step times or metrics are not known.
    """
    if group.missing:
        names = ", ".join(group.missing)
        return _unknown(group, None, (Needed(Need.METRICS, f"the series {names}: vLLM 0.11 or newer exports them"),))
    busy = group.busy
    if sum(window.steps for window in busy) < LEAST_STEPS:
        return _unknown(group, None, (Needed(Need.TRAFFIC, "traffic: hardly any request ran; ask for more time"),))
    drafts = drafting(busy)
    observed = _observed(group, busy, drafts)
    needs = _needs(busy, drafts, profiled)
    if profiled is None:
        return _unknown(group, observed, needs)
    ks = tuple(sorted(allowed)) if allowed else profiled_lengths(profiled.model)
    if drafts is None:
        return _without_drafts(_unknown(group, observed, needs), busy, profiled, ks)
    return _with_drafts(group, observed, drafts, profiled, ks)


def profiled_lengths(model: LatencyModel) -> tuple[int, ...]:
    """The K that a profile measured."""
    return tuple(sorted({cell.draft_tokens for cell in model.cells if cell.prefill_tokens == 0}))


def _scatter(ratios: Floats) -> float:
    """How much predictions miss from one batch to another, once what all miss is taken out: half of the middle 68%."""
    low, high = np.percentile(np.log(ratios), [16, 84])
    return float(high - low) / 2.0


def _with_drafts(group: Group, observed: Observed, drafts: Drafting, profiled: Profiled, ks: Sequence[int]) -> Advice:
    """The gain, unless the profile is not that of these engines."""
    longest = math.ceil(max(k for moment in drafts.moments for k in moment.ran))
    if longest > profiled.model.max_draft_tokens:
        measured = f"a profile that measured K = {longest}, which ran: the given one ends at "
        needed = Needed(Need.PROFILE, f"{measured}{profiled.model.max_draft_tokens}")
        return _unknown(group, observed, (needed,))
    replay = Replay(drafts.moments, profiled.model, ks, drafts.draft_tokens)
    ratios = replay.fit_ratios()[replay.speculating]
    ratio = float(np.median(ratios))
    if abs(ratio - 1.0) > MOST_MISFIT:
        found = _unknown(group, observed, (_misfit(ratio),))
        return replace(found, fit_ratio=ratio)
    error = math.hypot(profiled.margin, _scatter(ratios))
    interval = gain_interval(replay, error)
    shares = replay.evaluate(Assumptions()).shares
    return Advice(group, _verdict(interval), observed, interval, shares, fit_ratio=ratio)


def _verdict(interval: Interval) -> Verdict:
    if interval.low >= CLAIM:
        return Verdict.GAIN
    if interval.high <= -CLAIM:
        return Verdict.LOSS
    return Verdict.NO_GAIN if interval.high < CLAIM else Verdict.UNCLEAR


def _observed(group: Group, busy: Sequence[Window], drafts: Drafting | None) -> Observed:
    steps, request_steps = sum(w.steps for w in busy), sum(w.request_steps for w in busy)
    latency = sum(w.latency_seconds for w in busy)
    speculates = any(w.drafts is not None for w in busy)
    ran = [(k, w.steps) for m in drafts.moments for k, w in zip(m.ran, m.windows, strict=True)] if drafts else []
    watched = sum(w.seconds for engine in group.engines for w in engine.windows)
    return Observed(
        batch=request_steps / steps,
        latency_seconds=latency / request_steps,
        tokens_per_step=1.0 + sum(sum(w.accepted) for w in busy) / request_steps,
        draft_tokens=sum(k * n for k, n in ran) / sum(n for _, n in ran) if ran else 0.0 if speculates else None,
        acceptance=tuple(e.acceptance for e in drafts.overall if e.acceptance is not None) if drafts else (),
        busy_share=min(1.0, sum(w.latency_seconds / w.batch for w in busy) / watched),
    )


def _needs(busy: Sequence[Window], drafts: Drafting | None, profiled: Profiled | None) -> tuple[Needed, ...]:
    needs = []
    if drafts is None:
        if any(window.drafts is not None for window in busy):
            needs.append(Needed(Need.DRAFTER, "drafts: speculation is on, but hardly any draft was made (K = 0)"))
        else:
            needs.append(
                Needed(
                    Need.DRAFTER,
                    "a drafter: without one nothing tells how many drafts would be accepted; "
                    "start one pod with --speculative-config and ask again",
                )
            )
    if profiled is None:
        needs.append(
            Needed(
                Need.PROFILE,
                "a profile: nothing tells how long steps take at another K; give --profile FILE "
                "(kubectl turbospec profile export)",
            )
        )
    return tuple(needs)


def _misfit(ratio: float) -> Needed:
    return Needed(
        Need.PROFILE,
        f"a profile of these engines: tokens take {ratio:.2f}x as long as the given one predicts, so it is of "
        "other hardware, another model or other arguments",
    )


def _without_drafts(unknown: Advice, busy: Sequence[Window], profiled: Profiled, ks: Sequence[int]) -> Advice:
    """What acceptance it would take, where the profile can be that of these engines."""
    found = BreakEven(busy, profiled.model, ks)
    if not found.fits:
        return replace(unknown, needs=(*unknown.needs, _misfit(found.ratio)), fit_ratio=found.ratio)
    # What TurboSpec itself costs has to be earned too.
    error = math.hypot(profiled.margin, _scatter(found.ratios)) + OVERHEAD[0]
    by_k = {k: found.acceptance(k, error) for k in ks if k > 0}
    return replace(unknown, break_even=by_k, fit_ratio=found.ratio)


def _unknown(group: Group, observed: Observed | None, needs: tuple[Needed, ...]) -> Advice:
    return Advice(group, Verdict.UNKNOWN, observed, needs=needs)
