"""GET /metrics: what vLLM does not export. Everything is computed when scraped; a step pays nothing for it."""

import time
from collections.abc import Callable, Iterator
from statistics import fmean

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from turbospec.control.draft_length import Decision
from turbospec.control.step import StepRecord
from turbospec.engine.controller import DocumentController
from turbospec.engine.runtime import EngineRuntime

PREFIX = "turbospec_engine_"
RECENT_STEPS = 256
"""Rates are means over at most this many of the last steps."""

PREDICTED_STEPS = 32
"""Step times are predicted for so many of the last steps: one takes 0.1 ms, and scrapes must not hold up the engine."""

BREATH_STEPS = 4
BREATH_SECONDS = 0.0005
"""After so many predictions the interpreter is left to the engine's thread, which otherwise waits up to 5 ms for it."""

RECENT_SECONDS = 15.0
"""A usual scrape interval: older steps say nothing of now. An engine that has made none since then has no gauges of
recent steps: a mean of nothing is no number, and the last one would be averaged and alerted on as if it were new."""


class EngineCollector(Collector):
    """Reads the runtime on every scrape."""

    def __init__(
        self, runtime: EngineRuntime, controller: DocumentController, now: Callable[[], float], recent_seconds: float
    ) -> None:
        self._runtime = runtime
        self._controller = controller
        self._now = now
        self._recent_seconds = recent_seconds

    def collect(self) -> Iterator[Metric]:
        """All series of this engine."""
        yield from self._info()
        yield from self._totals()
        records = recent_records(self._runtime.ring.last(RECENT_STEPS), self._now() - self._recent_seconds)
        yield from self._recent(records)
        yield from self._estimates()
        yield from self._predictions(records)

    def _info(self) -> Iterator[Metric]:
        facts, reason = self._runtime.facts, self._runtime.unsupported()
        labels = {
            "engine_id": facts.info.id,
            "runtime_version": facts.info.runtime_version,
            "vllm_version": facts.info.vllm_version,
            "profile_key": facts.identity.key(),
            "method": facts.identity.method,
            "policy": self._policy(),
        }
        info = GaugeMetricFamily(f"{PREFIX}info", "Which engine this is; always 1.", labels=list(labels))
        info.add_metric(list(labels.values()), 1)
        yield info
        steered = GaugeMetricFamily(
            f"{PREFIX}steered", "1 where K is steered; 0 with the reason's code.", labels=["reason"]
        )
        steered.add_metric([reason.code if reason else ""], 0 if reason else 1)
        yield steered
        documents = CounterMetricFamily(
            f"{PREFIX}control_documents", "Control documents put to this engine.", labels=["result"]
        )
        documents.add_metric(["applied"], self._controller.applied_count)
        documents.add_metric(["refused"], self._controller.refused_count)
        yield documents

    def _policy(self) -> str:
        """The policy whose document is in force, which is of the pod's own namespace; empty before any."""
        applied = self._controller.applied()
        return applied.policy.name if applied is not None and applied.policy is not None else ""

    def _totals(self) -> Iterator[Metric]:
        totals, loop = self._runtime.telemetry.totals, self._runtime.loop
        yield CounterMetricFamily(f"{PREFIX}steps", "Completed engine steps.", value=totals.steps)
        yield CounterMetricFamily(f"{PREFIX}generated_tokens", "Tokens sampled.", value=totals.generated_tokens)
        rebuilds = loop.rebuilds if loop is not None else 0
        yield CounterMetricFamily(f"{PREFIX}table_rebuilds", "Times the engine loop rebuilt its table.", value=rebuilds)
        yield _by_position(
            CounterMetricFamily(f"{PREFIX}drafted_tokens", "Draft tokens verified, by position.", labels=["position"]),
            totals.drafted_per_position,
        )
        yield _by_position(
            CounterMetricFamily(f"{PREFIX}accepted_tokens", "Draft tokens accepted, by position.", labels=["position"]),
            totals.accepted_per_position,
        )

    def _recent(self, records: list[StepRecord]) -> Iterator[Metric]:
        newest = self._runtime.ring.newest()
        if newest is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}draft_tokens", "K decided in the last step.", value=newest.decided_draft_tokens
            )
        goodput = goodput_tokens_per_second(records)
        if goodput is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}goodput_tokens_per_second",
                "Tokens generated per second of recent steps; none where there are none.",
                value=goodput,
            )
        seconds = GaugeMetricFamily(
            f"{PREFIX}step_seconds",
            "Mean time of recent steps with one K; none where there are none.",
            labels=["kind"],
        )
        measured, predicted = self._step_seconds(records)
        if measured is not None:
            seconds.add_metric(["measured"], measured)
        if predicted is not None:
            seconds.add_metric(["predicted"], predicted)
        yield seconds

    def _step_seconds(self, records: list[StepRecord]) -> tuple[float | None, float | None]:
        """Means over the same decode steps, so that the two can be compared."""
        paired = [record for record in records if record.interval_seconds is not None and record.decodes]
        paired = paired[-PREDICTED_STEPS:]
        if not paired:
            return None, None
        measured = fmean(record.interval_seconds or 0.0 for record in paired)
        latency = self._controller.settings().latency
        if latency is None:
            return measured, None
        predicted = 0.0
        for number, record in enumerate(paired):
            if number % BREATH_STEPS == BREATH_STEPS - 1:
                time.sleep(BREATH_SECONDS)
            predicted += latency.step_seconds(
                decodes=record.decodes,
                draft_tokens=record.interval_draft_tokens,
                kv_tokens=record.kv_tokens,
                prefill_tokens=record.prefill_tokens,
                drafted_per_request=record.verified_draft_tokens / record.decodes,
            )
        return measured, predicted / len(paired)

    def _estimates(self) -> Iterator[Metric]:
        loop = self._runtime.loop
        if loop is None:
            return
        rate = GaugeMetricFamily(f"{PREFIX}acceptance_rate", "Estimated conditional acceptance.", labels=["position"])
        for position, estimate in enumerate(self._runtime.estimates()):
            if estimate.acceptance is not None:
                rate.add_metric([str(position)], estimate.acceptance)
        yield rate
        bias = loop.bias()
        if bias is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}latency_bias", "Measured over predicted step time, smoothed, within 0.5 to 2.", value=bias
            )

    def _predictions(self, records: list[StepRecord]) -> Iterator[Metric]:
        """Of the last decision, where it is one of the recent steps'."""
        loop = self._runtime.loop
        decision = loop.decision() if loop is not None else None
        if decision is not None and records and self._runtime.unsupported() is None:
            yield from _predictions(decision)


def recent_records(records: list[StepRecord], since: float) -> list[StepRecord]:
    """Those that ended at ``since``, in their own seconds, or later."""
    return [record for record in records if record.ended_seconds >= since]


def goodput_tokens_per_second(records: list[StepRecord]) -> float | None:
    """Generated tokens over the time from the first to the last completion; None below two steps."""
    if len(records) < 2:
        return None
    seconds = records[-1].ended_seconds - records[0].ended_seconds
    return sum(record.generated_tokens for record in records[1:]) / seconds if seconds > 0 else None


def metrics_registry(
    runtime: EngineRuntime,
    controller: DocumentController,
    *,
    now: Callable[[], float] = time.monotonic,
    recent_seconds: float = RECENT_SECONDS,
) -> CollectorRegistry:
    """A registry of our own: vLLM's is not touched. ``now``: the clock by which its steps end."""
    registry = CollectorRegistry()
    registry.register(EngineCollector(runtime, controller, now, recent_seconds))
    return registry


def metrics_text(registry: CollectorRegistry) -> bytes:
    """The Prometheus text format."""
    return generate_latest(registry)


def _predictions(decision: Decision) -> Iterator[Metric]:
    """What the last step with decodes was expected to deliver at each K, and what its own K gains over K = 0."""
    known = {
        one.draft_tokens: one.tokens_per_second for one in decision.predictions if one.tokens_per_second is not None
    }
    goodput = GaugeMetricFamily(
        f"{PREFIX}predicted_goodput_tokens_per_second",
        "Goodput that each K was predicted to have at the last step.",
        labels=["draft_tokens"],
    )
    for draft_tokens, tokens_per_second in known.items():
        goodput.add_metric([str(draft_tokens)], tokens_per_second)
    yield goodput
    off, chosen = known.get(0), known.get(decision.draft_tokens)
    if off and chosen is not None:
        yield GaugeMetricFamily(
            f"{PREFIX}predicted_gain_ratio",
            "Predicted goodput of the K in use over that of K = 0, less 1.",
            value=chosen / off - 1.0,
        )


def _by_position(family: CounterMetricFamily, values: list[int]) -> CounterMetricFamily:
    for position, value in enumerate(values):
        family.add_metric([str(position)], value)
    return family
