"""`turbospec advise`, from a Prometheus over HTTP: what it says, what it asks, and how it ends.

Its golden text is tests/cli/golden/advise.txt.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from benchmarks.advise.scraped import RecordedPrometheus, serve
from tests.advise.builders import group, window
from tests.cli.recorded_prometheus import PrometheusServer, prometheus_server
from tests.simulation.builders import engine_file, phase
from turbospec.advise.advice import Advice, Need, Needed, Observed, Verdict
from turbospec.advise.interval import Interval
from turbospec.advise.queries import CHUNK_POINTS, Span, queries
from turbospec.cli.advise import command
from turbospec.cli.advise.text import text
from turbospec.cli.main import main
from turbospec.control.latency import MeasuredCell, build_latency_model
from turbospec.simulation.files import WorkloadFile
from turbospec.simulation.step_time import StepTime, Work
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import from_model

GOLDEN = Path(__file__).with_name("golden")
SECONDS, STEP = 40, 10
ENGINE = engine_file(plain={"speedup": 1.15})


@pytest.fixture(scope="module")
def samples() -> RecordedPrometheus:
    """Two pods of llama at K = 7, 16 clients each, on text that wants no drafts; one of qwen without speculation."""
    found = RecordedPrometheus()
    load = WorkloadFile(phases=[phase(seconds=SECONDS, clients=16, acceptance=[0.1])])
    for pod, model, namespace, controller in (
        ("chat-0", "llama", "chat", "static:7"),
        ("chat-1", "llama", "chat", "static:7"),
        ("code-0", "qwen", "code", "plain"),
    ):
        labels = {"namespace": namespace, "pod": pod, "model_name": model, "instance": "10.0.0.1:8000"}
        serve(ENGINE, load, controller, seed=1, warm_up=0.0, into=found, labels=labels)
    return found


@pytest.fixture
def prometheus(samples: RecordedPrometheus, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrometheusServer]:
    """It knows the last forty seconds, which are all there is."""
    monkeypatch.setattr(command, "time", SimpleNamespace(time=lambda: SECONDS + 1.0))
    with prometheus_server(samples) as server:
        yield server


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The true step times of the engine, as `turbospec profile export` writes them."""
    truth = StepTime(ENGINE)
    cells = [
        MeasuredCell(b, c, k, 0, truth.seconds(Work(b, k, float(b * k), k, b * c, 0)), 20)
        for b in (1, 4, 16, 32)
        for c in (100, 1000)
        for k in (0, 1, 3, 7)
    ]
    document = from_model(build_latency_model(cells)).as_json()
    identity = ProfileIdentity(
        hardware="gpu", target="llama", drafter="eagle", method="eagle3", engine_arguments={}, engine_version="0.32.0"
    )
    spec = {
        "key": identity.key(),
        "identity": identity.model_dump(by_alias=True),
        "holdOutErrorPermille": 5,
        **document,
    }
    path = tmp_path_factory.mktemp("profile") / "profile.yaml"
    path.write_text(yaml.safe_dump({"kind": "SpeculationProfile", "metadata": {"name": "p"}, "spec": spec}))
    return path


def run(prometheus: PrometheusServer, *arguments: str) -> Result:
    asked = ["advise", "--prometheus", prometheus.url, "--since", f"{SECONDS}s", "--step", f"{STEP}s", *arguments]
    return CliRunner().invoke(main, asked)


def groups(result: Result) -> dict[str, dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return {each["model"]: each for each in json.loads(result.stdout)["groups"]}


def test_a_gain_is_found_from_what_stock_pods_export(prometheus: PrometheusServer, profile: Path) -> None:
    """K = 7 for text that accepts a tenth of the drafts, against none at all."""
    found = groups(run(prometheus, "--profile", f"llama={profile}", "-o", "json"))["llama"]
    assert found["engines"] == ["chat-0", "chat-1"]
    assert found["verdict"] == "Gain"
    assert 0.2 < found["gain"]["low"] < found["gain"]["high"]
    assert max(found["draftTokensShare"], key=found["draftTokensShare"].get) == "0"
    assert found["observed"]["draftTokens"] == 7.0
    assert found["observed"]["batch"] == pytest.approx(15.5, abs=0.6)
    assert found["observed"]["acceptance"][0] == pytest.approx(0.1, abs=0.02)
    assert found["measuredOverPredictedLatency"] == pytest.approx(1.0, abs=0.05)


def test_without_a_drafter_it_says_what_acceptance_it_would_take(prometheus: PrometheusServer, profile: Path) -> None:
    """And claims nothing."""
    found = groups(run(prometheus, "--selector", '{namespace="code"}', "--profile", str(profile), "-o", "json"))["qwen"]
    assert (found["verdict"], found["gain"]) == ("Unknown", None)
    assert [need["need"] for need in found["needs"]] == ["Drafter"]
    assert 0.0 < found["breakEvenAcceptance"]["1"] < 1.0


def test_without_a_profile_acceptance_is_all_that_is_known(prometheus: PrometheusServer) -> None:
    """JSON and YAML are one document."""
    result = run(prometheus, "-o", "json")
    found = groups(result)
    assert {model: [n["need"] for n in each["needs"]] for model, each in found.items()} == {
        "llama": ["Profile"],
        "qwen": ["Drafter", "Profile"],
    }
    assert yaml.safe_load(run(prometheus, "-o", "yaml").stdout) == json.loads(result.stdout)


def test_long_times_are_asked_for_in_pieces_that_meet(
    prometheus: PrometheusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each series once for each piece, none of them larger than the bound, without a gap or an overlap."""
    monkeypatch.setattr(command, "time", SimpleNamespace(time=lambda: 700_000.0))
    CliRunner().invoke(main, ["advise", "--prometheus", prometheus.url, "--since", "7d", "--step", "5m"])
    spans = [span for query, span in prometheus.asked if "avg_over_time" in query]
    points = [at for span in spans for at in range(span.start, span.end + 1, span.step)]
    assert points == list(range(points[0], points[-1] + 1, 300))
    assert len(points) == 7 * 24 * 12
    assert len(spans) == -(-len(points) // CHUNK_POINTS)
    assert len(prometheus.asked) == len(spans) * len(queries("", 300))


def test_a_token_and_headers_are_sent(prometheus: PrometheusServer, tmp_path: Path) -> None:
    """As a file, so that it stands in no history."""
    prometheus.token = "secret"
    token = tmp_path / "token"
    token.write_text("secret\n")
    result = run(prometheus, "--bearer-token-file", str(token), "--header", "X-Scope-OrgID: team")
    assert result.exit_code == 0, result.output
    assert prometheus.headers[0]["X-Scope-OrgID"] == "team"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((401, "Unauthorized"), "refused (401): give --bearer-token-file"),
        ((403, "no"), "refused (403): give --bearer-token-file"),
        ((404, "404 page not found"), "has no /api/v1/query_range: give Prometheus's own address"),
        ((400, '{"error": "parse error: unexpected \\"x\\""}'), 'unexpected "x": correct --selector'),
        ((422, '{"error": "query processing would load too many samples"}'), "too many samples: ask for less"),
        ((503, '{"error": "query timed out in expression evaluation"}'), "timed out in expression evaluation: ask for"),
        ((500, "it's broken"), "answers 500: it's broken"),
        ((200, "<html>sign in</html>"), "its answer is not Prometheus's (a login page?)"),
        ((200, '{"status": "success"}'), "its answer is not Prometheus's"),
    ],
    ids=["401", "403", "404", "400", "422", "503", "500", "login page", "other json"],
)
def test_a_refusal_is_one_line_with_a_remedy(prometheus: PrometheusServer, fault: tuple[int, str], said: str) -> None:
    """And exit status 1."""
    prometheus.fault = fault
    result = run(prometheus)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_nobody_there_is_one_line_with_a_remedy() -> None:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        result = CliRunner().invoke(main, ["advise", "--prometheus", url])
    assert result.exit_code == 1
    assert "cannot be reached: " in result.stderr
    assert "refused" in result.stderr
    assert "kubectl port-forward" in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_series_of_vllm_is_one_line_with_a_remedy(prometheus: PrometheusServer) -> None:
    """As where the pods are not scraped."""
    result = run(prometheus, "--selector", 'namespace="elsewhere"')
    assert result.exit_code == 1
    assert 'vllm:generation_tokens_total with namespace="elsewhere"' in result.stderr
    assert "PodMonitor" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--since", "week"], 2, "write a whole number with its unit"),
        (["--since", "99999d"], 2, "a larger --step"),
        (["--draft-tokens", "0,x"], 2, "write whole numbers"),
        (["--header", "token"], 2, "write 'Name: value'"),
        (["--profile", "nowhere.yaml"], 1, "nowhere.yaml: cannot be read"),
        (["--profile", "llama=PROFILE", "--draft-tokens", "0,9"], 1, "the profile of llama measured K up to 7"),
        (["--profile", "PROFILE"], 1, "2 models or namespaces were found"),
        (["--profile", "llama=PROFILE", "--profile", "llama=PROFILE"], 2, "one for each model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_line_says_what_to_write(
    prometheus: PrometheusServer, profile: Path, arguments: list[str], status: int, said: str
) -> None:
    """Exit status 2, or 1 where what was found decides."""
    result = run(prometheus, *(argument.replace("PROFILE", str(profile)) for argument in arguments))
    assert result.exit_code == status
    assert said in result.stderr


def test_people_read_this() -> None:
    """A gain, a fleet without a drafter, and one without metrics."""
    chat = group(window(), window())
    observed = Observed(12.34, 0.0213, 1.25, 7.0, (0.2, 0.19), 0.62)
    found = [
        Advice(chat, Verdict.GAIN, observed, Interval(0.231, 0.402), {0: 0.9, 1: 0.095, 7: 0.005}),
        Advice(
            chat, Verdict.UNKNOWN, Observed(3.0, 0.01, 1.0, None, (), 0.2),
            needs=(Needed(Need.DRAFTER, "a drafter: start one"),), break_even={1: 0.22, 7: None},
        ),
        Advice(chat, Verdict.NO_GAIN, observed, Interval(-0.02, 0.004), {0: 1.0}),
        Advice(group(missing=("x",)), Verdict.UNKNOWN, needs=(Needed(Need.METRICS, "the series x"),)),
    ]  # fmt: skip
    assert text(found) + "\n" == (GOLDEN / "advise.txt").read_text()


@pytest.mark.parametrize(("now", "since", "step"), [(1003.0, 100, 10), (1000.0, 7, 10), (999.9, 95, 10)])
def test_a_span_is_of_whole_steps(now: float, since: int, step: int) -> None:
    """At least one, the last of them over."""
    span = Span.until(now, since, step)
    assert span.end % step == 0
    assert now - step < span.end <= now
    assert (span.end - span.start) // step + 1 == max(since // step, 1)
