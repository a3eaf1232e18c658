"""What engines count themselves becomes the windows that Prometheus would have had of them."""

from typing import Any

import pytest

from benchmarks.advise.scraped import RecordedPrometheus, serve
from tests.advise.test_calibration import ENGINE
from tests.fleet.builders import pod, report
from tests.simulation.builders import phase
from turbospec.advise import queries
from turbospec.fleet.demand import RequestCounts
from turbospec.fleet.snapshot import EngineReport, PositionCounts
from turbospec.simulation.files import WorkloadFile
from turbospec_operator.reported_windows import LONGEST_GAP_SECONDS, WINDOW_SECONDS, ReportedWindows

ROUND = 2.0
STEPS_PER_SECOND, BATCH, K = 100, 8, 3
ACCEPTED = (6, 4, 2)
"""Per step of the whole batch, by position."""


def engine(seconds: float, *, batch: int = BATCH, **changes: Any) -> EngineReport:
    """An engine that has run so long: 100 steps a second, 8 requests, 8 drafts of 3 tokens a step, a request a second
    that comes and one that ends."""
    steps = round(STEPS_PER_SECOND * seconds)
    done = round(seconds)
    values: dict[str, Any] = {
        "running": batch,
        "decodes": batch,
        "steps": steps,
        "drafts": batch * steps,
        "counts": PositionCounts((batch * steps,) * K, tuple(each * steps for each in ACCEPTED)),
        "generated_tokens": (batch + sum(ACCEPTED)) * steps + done,
        "requests": RequestCounts(done, done, 100 * done, 70 * done, done, 400 * done),
    }
    return report(**(values | changes))


def watched(seconds: float, **changes: Any) -> ReportedWindows:
    """Watched from the 5th second on, in rounds."""
    windows = ReportedWindows()
    for number in range(int(seconds / ROUND) + 1):
        now = 5.0 + number * ROUND
        windows.see([pod(report=engine(now, **changes))], now)
    return windows


def test_counts_become_windows() -> None:
    """Every figure is what 600 s of such an engine amount to."""
    (series,) = watched(2 * WINDOW_SECONDS + 10.0).series([pod()])
    assert len(series.windows) == 2
    window = series.windows[0]
    steps = STEPS_PER_SECOND * WINDOW_SECONDS
    assert window.seconds == WINDOW_SECONDS
    assert window.steps == steps
    assert window.request_steps == BATCH * steps
    assert window.latency_seconds == BATCH * WINDOW_SECONDS
    assert window.batch == BATCH
    assert window.running == BATCH
    assert window.running_deviation == pytest.approx(0.0, abs=1e-6)
    assert (window.drafts, window.draft_tokens) == (BATCH * steps, K * BATCH * steps)
    assert window.accepted == tuple(each * steps for each in ACCEPTED)
    assert (window.finished, window.prompt_tokens) == (WINDOW_SECONDS, 70 * WINDOW_SECONDS)
    assert window.finished_prompt_tokens == pytest.approx(100 * WINDOW_SECONDS)
    assert window.finished_generation_tokens == 400 * WINDOW_SECONDS


def test_a_load_that_varies_has_a_deviation_and_idle_time_none_running() -> None:
    """Decodes are those of the last step with work: an idle engine repeats them."""
    windows = ReportedWindows()
    for number in range(int(WINDOW_SECONDS / ROUND) + 2):
        now = number * ROUND
        windows.see([pod(report=engine(now, running=0 if number % 2 else BATCH))], now)
    (series,) = windows.series([pod()])
    assert series.windows[0].running == pytest.approx(BATCH / 2, rel=0.02)
    assert series.windows[0].running_deviation == pytest.approx(BATCH / 2, rel=0.02)


def test_an_engine_without_a_drafter_has_no_drafts() -> None:
    """Unknown acceptance is not zero."""
    (series,) = watched(WINDOW_SECONDS + 10.0, unsupported_code="NoSpeculation").series([pod()])
    assert series.windows[0].drafts is None
    assert series.windows[0].accepted == ()


@pytest.mark.parametrize("changes", [{"requests": None}, {"unsupported_code": "DataParallel"}])
def test_engines_that_tell_too_little_have_no_windows(changes: dict[str, Any]) -> None:
    """Those that do not count requests, and those that could not be steered whatever came of it."""
    assert watched(2 * WINDOW_SECONDS, **changes).series([pod()]) == ()


@pytest.mark.parametrize("fault", ["restart", "gap", "silence", "another pod"])
def test_a_window_that_was_not_watched_throughout_is_given_up(fault: str) -> None:
    """And the next one counts."""
    windows = ReportedWindows()
    missed = LONGEST_GAP_SECONDS + 10.0
    for number in range(int(1.5 * WINDOW_SECONDS / ROUND)):
        now = number * ROUND
        beyond = now > WINDOW_SECONDS / 2
        if fault in ("gap", "silence") and WINDOW_SECONDS / 2 <= now < WINDOW_SECONDS / 2 + missed:
            if fault == "silence":
                windows.see([pod(report=None)], now)
            continue
        said = engine(now, engine_id="engine-2" if fault == "restart" and beyond else "engine-1")
        if fault == "another pod" and now == WINDOW_SECONDS / 2:
            windows.see([pod("other", report=engine(now))], now)
        windows.see([pod(report=said)], now)
    assert windows.series([pod()]) == ()


class Reports(RecordedPrometheus):
    """Keeps what vLLM counts also by the time of its scrape: an engine's own counts are the same ones."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[float, dict[str, float]] = {}

    def add(self, at: float, metric: str, labels: dict[str, str], value: float) -> None:
        """One sample."""
        super().add(at, metric, labels, value)
        self.counts.setdefault(at, {})[metric + labels.get("position", "")] = value

    def report(self, at: float) -> EngineReport:
        """What the engine would have said then."""
        found = self.counts[at]
        running, finished = int(found[queries.RUNNING]), int(found["vllm:request_prompt_tokens_count"])
        accepted = tuple(int(found[f"{queries.PER_POSITION}{j}"]) for j in range(7))
        drafted = int(found[queries.DRAFT_TOKENS])
        output = int(found["vllm:request_generation_tokens_sum"])
        prompts = int(found["vllm:prompt_tokens_total"])
        return report(
            running=running,
            decodes=running,
            steps=int(found["vllm:iteration_tokens_total_count"]),
            drafts=int(found[queries.DRAFTS]),
            counts=PositionCounts((drafted, 0, 0, 0, 0, 0, 0), accepted),
            generated_tokens=int(found[queries.GENERATION]),
            requests=RequestCounts(finished + running, finished + running, prompts, prompts, finished, output),
        )


@pytest.mark.parametrize(("controller", "clients"), [("static:3", 6), ("static:7", 24), ("off", 12)])
def test_windows_are_those_that_prometheus_has(controller: str, clients: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a simulated engine: what vLLM sums up itself is within a few percent of what is made of samples here."""
    monkeypatch.setattr("turbospec_operator.reported_windows.WINDOW_SECONDS", 20.0)
    scraped, labels = Reports(), {"namespace": "n", "pod": "chat-0", "model_name": "m"}
    load = WorkloadFile(
        phases=[phase(seconds=42.0, clients=clients, acceptance=[0.7], promptTokens=100, outputTokens=150)]
    )
    serve(ENGINE, load, controller, seed=3, warm_up=0.0, into=scraped, labels=labels, interval=1.0)
    windows = ReportedWindows()
    for at in sorted(scraped.counts):
        windows.see([pod(report=scraped.report(at))], at)
    (own,) = windows.series([pod()])
    ((theirs,),) = (group.engines for group in queries.groups(scraped, "", queries.Span(40, 40, 20)))
    ours, other = own.windows[-1], theirs.windows[-1]
    assert ours.request_steps / ours.seconds == pytest.approx(other.request_steps / other.seconds, rel=0.05)
    assert ours.latency_seconds / ours.seconds == pytest.approx(other.latency_seconds / other.seconds, rel=0.08)
    assert ours.batch == pytest.approx(other.batch, rel=0.05)
