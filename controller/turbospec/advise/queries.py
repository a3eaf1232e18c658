"""The series of stock vLLM that advice is made from, the range queries for them, and how they become windows.

Names are those of vLLM 0.11 to 0.33 (v1/metrics/loggers.py, v1/spec_decode/metrics.py).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from turbospec.advise.series import EngineSeries, Group, Window

CHUNK_POINTS = 500
"""Points of each series that one query asks for: Prometheus refuses more than 11,000, and answers grow large."""
LABELS = ("namespace", "pod", "instance", "model_name", "engine")
GENERATION = "vllm:generation_tokens_total"
PER_POSITION = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
DRAFTS = "vllm:spec_decode_num_drafts_total"
DRAFT_TOKENS = "vllm:spec_decode_num_draft_tokens_total"
CACHED = "vllm:prefix_cache_hits_total"
RUNNING = "vllm:num_requests_running"

REQUIRED = {
    "generation_tokens": GENERATION,
    "prompt_tokens": "vllm:prompt_tokens_total",
    "steps": "vllm:iteration_tokens_total_count",
    "request_steps": "vllm:inter_token_latency_seconds_count",
    "latency_seconds": "vllm:inter_token_latency_seconds_sum",
    "finished": "vllm:request_prompt_tokens_count",
    "finished_prompt_tokens": "vllm:request_prompt_tokens_sum",
    "finished_generation_tokens": "vllm:request_generation_tokens_sum",
}
"""Counters by the field of ``Window`` that they become; every vLLM exports them."""
OPTIONAL = (CACHED, DRAFTS, DRAFT_TOKENS, PER_POSITION)

Labels = Mapping[str, str]
Series = tuple[Labels, dict[float, float]]
"""Labels, and values by time."""
Values = Mapping[float, float]
Engine = tuple[str, str, str]
"""Namespace, model, name."""
Found = dict[Engine, dict[str, dict[float, float]]]
"""Values by time, by what was asked: the name of a metric, with its position where it has one."""


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` to ``end`` in steps, all in whole seconds; ``end`` is a multiple of the step."""

    start: int
    end: int
    step: int

    @classmethod
    def until(cls, now: float, since: int, step: int) -> Self:
        """The last whole steps before ``now``. The value at a time is of the step that ends there."""
        end = int(now) // step * step
        return cls(end - max(since // step, 1) * step + step, end, step)

    def chunks(self) -> Iterator["Span"]:
        """The same in pieces of at most ``CHUNK_POINTS``."""
        for start in range(self.start, self.end + 1, CHUNK_POINTS * self.step):
            yield Span(start, min(self.end, start + (CHUNK_POINTS - 1) * self.step), self.step)


def collected(answers: Iterable[Sequence[Mapping[str, Any]]]) -> list[Series]:
    """The series of several answers of Prometheus, each of another piece of a span; NaN and infinities are left out.

    Raises KeyError, TypeError or ValueError where an answer is not Prometheus's.
    """
    found: dict[tuple[tuple[str, str], ...], Series] = {}
    for answer in answers:
        for each in answer:
            labels: dict[str, str] = each["metric"]
            _, values = found.setdefault(tuple(sorted(labels.items())), (labels, {}))
            numbers = ((float(at), float(value)) for at, value in each["values"])
            values.update((at, value) for at, value in numbers if math.isfinite(value))
    return list(found.values())


class Source(Protocol):
    """Answers range queries."""

    def ranges(self, query: str, span: Span, done: Callable[[], None]) -> list[Series]:
        """Series over a span."""
        ...


def queries(selector: str, step: int) -> dict[str, str]:
    """PromQL by what it finds. ``selector`` is what stands between the braces, or nothing.

    The largest of several series of one engine is taken: they are the same pod scraped twice.
    """
    asked = {f"{function} {RUNNING}": (function, RUNNING) for function in ("avg_over_time", "stddev_over_time")}
    asked |= {metric: ("increase", metric) for metric in (*REQUIRED.values(), *OPTIONAL)}
    return {
        name: f"max by ({', '.join((*LABELS, *(('position',) if metric == PER_POSITION else ())))}) "
        f"({function}({metric}{{{selector}}}[{step}s]))"
        for name, (function, metric) in asked.items()
    }


def groups(source: Source, selector: str, span: Span, done: Callable[[], None] = lambda: None) -> tuple[Group, ...]:
    """Everything that the selector matches, by namespace and model. Empty where there is no series of vLLM."""
    found: Found = {}
    for name, query in queries(selector, span.step).items():
        for labels, values in source.ranges(query, span, done):
            position = labels.get("position")
            place = found.setdefault(_engine(labels), {}).setdefault(
                name if position is None else f"{name} {position}", {}
            )
            place.update(values)
    by_model: dict[tuple[str, str], list[EngineSeries]] = {}
    for (namespace, model, engine), series in sorted(found.items()):
        if GENERATION in series:
            by_model.setdefault((namespace, model), []).append(_series(engine, series, span.step))
    return tuple(Group(namespace, model, tuple(engines)) for (namespace, model), engines in by_model.items())


def _engine(labels: Mapping[str, str]) -> Engine:
    name = labels.get("pod") or labels.get("instance") or "engine"
    rank = labels.get("engine", "0")
    return labels.get("namespace", ""), labels.get("model_name", ""), name if rank == "0" else f"{name}/{rank}"


def _series(name: str, series: Mapping[str, Values], step: int) -> EngineSeries:
    running, deviation = (series.get(f"{function} {RUNNING}", {}) for function in ("avg_over_time", "stddev_over_time"))
    needed = {**{metric: series.get(metric, {}) for metric in REQUIRED.values()}, RUNNING: running}
    missing = tuple(metric for metric, values in needed.items() if not values)
    if missing:
        return EngineSeries(name, (), missing)
    per_position = _positions(series)
    windows = []
    for at in sorted(set.intersection(*(set(values) for values in needed.values()))):
        counts = {field: needed[metric][at] for field, metric in REQUIRED.items()}
        cached = series.get(CACHED, {}).get(at, 0.0)
        counts["prompt_tokens"] = max(0.0, counts["prompt_tokens"] - cached)
        drafts = series.get(DRAFTS, {}).get(at) if per_position else None
        windows.append(
            Window(
                ended_seconds=at,
                seconds=float(step),
                running=running[at],
                running_deviation=deviation.get(at, 0.0),
                **counts,
                drafts=drafts,
                draft_tokens=series.get(DRAFT_TOKENS, {}).get(at, 0.0),
                accepted=tuple(values.get(at, 0.0) for values in per_position) if drafts is not None else (),
            )
        )
    return EngineSeries(name, tuple(windows))


def _positions(series: Mapping[str, Values]) -> Sequence[Values]:
    """Accepted tokens by position, from 0 on without a gap."""
    found: list[Values] = []
    while (values := series.get(f"{PER_POSITION} {len(found)}")) is not None:
        found.append(values)
    return found
