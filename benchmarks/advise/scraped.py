"""Simulated engines under a Prometheus: their counters, scraped at intervals, and our queries over them."""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from turbospec.advise import queries
from turbospec.advise.queries import Series, Span
from turbospec.control.step import StepComposition, StepRecord
from turbospec.simulation.controllers import Controller
from turbospec.simulation.engine import SimulatedEngine
from turbospec.simulation.files import EngineFile, WorkloadFile
from turbospec.simulation.run import ProfileSource, Scenario, Simulation, controller_named
from turbospec.simulation.workload import Workload
from turbospec.standin.vllm_metrics import VllmCollector, VllmCounters

QUERY = re.compile(r"max by \(.*?\) \((\w+)\((vllm:\w+)\{(.*)\}\[(\d+)s\]\)\)")
MATCHER = re.compile(r'(\w+)="([^"]*)"')
SCRAPED = frozenset((*queries.REQUIRED.values(), *queries.OPTIONAL, queries.RUNNING))
Samples = list[tuple[float, float]]


class RecordedPrometheus:
    """Samples by metric and labels; answers the queries of ``turbospec advise`` and no others."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[tuple[tuple[str, str], ...], Samples]] = {}

    def add(self, at: float, metric: str, labels: dict[str, str], value: float) -> None:
        """One sample; times rise."""
        self._samples.setdefault(metric, {}).setdefault(tuple(sorted(labels.items())), []).append((at, value))

    def ranges(self, query: str, span: Span, done: Callable[[], None] = lambda: None) -> list[Series]:
        """As Prometheus would answer. Raises ValueError for a query of another form."""
        match = QUERY.fullmatch(query)
        if match is None:
            raise ValueError(f"not a query of turbospec advise: {query}")
        function, metric, selector, _ = match.groups()
        wanted = set(MATCHER.findall(selector))
        found: list[Series] = []
        for labels, samples in self._samples.get(metric, {}).items():
            if wanted <= set(labels):
                times = [at for at, _ in samples]
                values = {}
                for end in range(span.start, span.end + 1, span.step):
                    inside = samples[bisect_right(times, end - span.step) : bisect_right(times, end)]
                    if len(inside) >= 2:
                        values[float(end)] = FUNCTIONS[function](inside, span.step)
                if values:
                    found.append((dict(labels), values))
        done()
        return found


def _increase(samples: Samples, seconds: float) -> float:
    """Extrapolated to the whole window, resets counted, as Prometheus does it away from a series' ends."""
    counted = sum(b - a if b >= a else b for (_, a), (_, b) in pairwise(samples))
    return counted * seconds / (samples[-1][0] - samples[0][0])


def _mean(samples: Samples, _seconds: float) -> float:
    return sum(value for _, value in samples) / len(samples)


def _deviation(samples: Samples, seconds: float) -> float:
    mean = _mean(samples, seconds)
    return float((sum((value - mean) ** 2 for _, value in samples) / len(samples)) ** 0.5)


FUNCTIONS = {"increase": _increase, "avg_over_time": _mean, "stddev_over_time": _deviation}


class Scraped:
    """A controller whose engine is scraped. ``speed`` is the truth that advice is about.

    Samples are taken after the first step that ends at or beyond a scrape's time, as the counters stood then.
    """

    learns = True

    def __init__(self, inner: Controller, engine: SimulatedEngine, scrape: Callable[[float], None] | None) -> None:
        self.changes = 0
        self.counters = VllmCounters(engine.spec.max_model_len, engine.spec.max_draft_tokens)
        self.from_seconds = 0.0
        self.until_seconds = float("inf")
        self.interval = 1.0
        self._inner, self._engine, self._scrape = inner, engine, scrape
        self._next = 0.0
        self._tokens = 0
        self._request_seconds = 0.0

    @property
    def tokens(self) -> int:
        """Delivered in the time that counts."""
        return self._tokens

    @property
    def request_seconds(self) -> float:
        """Running requests, summed over that time."""
        return self._request_seconds

    def choose(self, composition: StepComposition) -> int:
        """As the controller."""
        return self._inner.choose(composition)

    def observe(self, record: StepRecord) -> None:
        """Count the step, and take a sample where it is time."""
        engine = self._engine
        self.counters.step(engine, record)
        for request in engine.finished:
            self.counters.ended(request, "length", None)
        if self._inner.learns:
            self._inner.observe(record)
        now = record.ended_seconds
        if self.from_seconds <= now <= self.until_seconds:
            running = len(engine.batch) + len(engine.prefilling) + len(engine.finished)
            self._tokens += record.generated_tokens
            self._request_seconds += running * engine.last_seconds
        while self._next <= min(now, self.until_seconds):
            if self._scrape is not None:
                self._scrape(self._next)
            self._next += self.interval


def serve(
    spec: EngineFile,
    workload: WorkloadFile,
    controller: str,
    *,
    seed: int,
    warm_up: float,
    profile: ProfileSource | None = None,
    into: RecordedPrometheus | None = None,
    labels: dict[str, str] | None = None,
    origin: float = 0.0,
    interval: float = 1.0,
) -> Scraped:
    """One pod through its workload, scraped into ``into`` with ``labels``; simulated time 0 is ``origin``."""
    scenario = Scenario(spec, workload, Path("workload"), seed, profile or ProfileSource(measured=False))
    demand = Workload(workload, scenario.path, seed, spec.max_draft_tokens)
    plain = controller == "plain"
    engine = SimulatedEngine(spec, demand.bank, seed, plain=plain)
    inner, _ = controller_named(controller, scenario, engine)
    collector: list[VllmCollector] = []

    def scrape(at: float) -> None:
        for family in collector[0].collect():
            for sample in family.samples:
                drafts = sample.name.startswith("vllm:spec_decode")
                if into is not None and sample.name in SCRAPED and not (plain and drafts):
                    into.add(origin + at, sample.name, {**sample.labels, **(labels or {})}, sample.value)

    scraped = Scraped(inner, engine, scrape if into is not None else None)
    scraped.from_seconds, scraped.until_seconds, scraped.interval = warm_up, demand.end, interval
    collector.append(VllmCollector(engine, scraped.counters, (labels or {}).get("model_name", "model")))
    Simulation(engine, demand, scraped).run()
    return scraped


def speed(pods: Sequence[Scraped]) -> float:
    """Tokens per second of a running request, over all pods."""
    return sum(pod.tokens for pod in pods) / sum(pod.request_seconds for pod in pods)
