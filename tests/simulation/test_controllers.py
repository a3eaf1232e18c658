"""The arms: schedules and tiers do what their models do, and nobody beats the oracle."""

from pathlib import Path

import pytest

from tests.simulation.builders import engine_file, observed, phase
from turbospec.control.step import StepComposition
from turbospec.simulation.controllers import AcceptanceEma, Schedule, startup_table
from turbospec.simulation.files import EngineFile, PhaseSpec, ScenarioError, WorkloadFile
from turbospec.simulation.run import Scenario, run

GRAPHS = {"paddedTo": [8, 16, 32, 64, 128], "eagerFactor": 1.5}
ENGINES = {
    "linear": engine_file(),
    "graphs": engine_file(graph=GRAPHS),
    "fixed-draft": engine_file(draftAlways=True),
    "noisy": engine_file(noise={"relativeStandardDeviation": 0.03}),
}


def goodput(spec: EngineFile, phases: list[PhaseSpec], controller: str) -> float:
    return run(Scenario(spec, WorkloadFile(phases=phases), seed=3), controller).goodput


@pytest.mark.parametrize("spec", ENGINES.values(), ids=ENGINES.keys())
@pytest.mark.parametrize("clients", [1, 8, 30])
@pytest.mark.parametrize("acceptance", [0.1, 0.6, 0.9])
def test_no_fixed_k_beats_the_oracle(spec: EngineFile, clients: int, acceptance: float) -> None:
    """Beyond 1%: what the windows of a short run and the ends of requests leave to chance."""
    load = [phase(seconds=20, clients=clients, acceptance=acceptance, lengthSpread=0.5, draftYield=[1, 0.9, 0.8])]
    oracle = goodput(spec, load, "oracle")
    assert all(goodput(spec, load, f"static:{k}") <= 1.01 * oracle for k in spec.allowed)


def test_the_oracle_follows_phases() -> None:
    """Where load and text change, it is better than any fixed K."""
    phases = [phase(seconds=10, clients=2, acceptance=0.9), phase(seconds=10, clients=30, acceptance=0.1)]
    spec = ENGINES["linear"]
    assert goodput(spec, phases, "oracle") > 1.03 * max(goodput(spec, phases, f"static:{k}") for k in spec.allowed)


def test_turbospec_comes_close_to_the_oracle() -> None:
    """Profiled in simulated time, then one phase."""
    load, spec = [phase(seconds=20, clients=6, acceptance=0.8)], ENGINES["noisy"]
    assert goodput(spec, load, "turbospec") > 0.97 * goodput(spec, load, "oracle")


def test_plain_is_faster_by_its_speedup() -> None:
    """And has its own KV cache; without the field there is no such arm."""
    load = [phase(seconds=10, clients=4)]
    spec = engine_file(plain={"speedup": 1.2, "kvCacheTokens": 60_000})
    assert goodput(spec, load, "plain") == pytest.approx(1.2 * goodput(spec, load, "off"), rel=0.01)
    with pytest.raises(ScenarioError, match="plain"):
        goodput(engine_file(), load, "plain")


def composition(decodes: int) -> StepComposition:
    return StepComposition(decodes, 0, 100 * decodes, 0)


def test_a_schedule_is_looked_up_by_batch() -> None:
    """Rows include both ends; the last one goes on."""
    schedule = Schedule([(1, 4, 7), (5, 8, 1)])
    assert [schedule.choose(composition(n)) for n in (0, 1, 4, 5, 8, 9, 300)] == [7, 7, 7, 1, 1, 1, 1]


@pytest.mark.parametrize("rows", ["[]", "7", "[[1, 4]]", "[[2, 4, 1]]", "[[1, 4, 2]]", "[[1, 4, 1], [6, 9, 1]]"])
def test_bad_schedules_are_refused_by_file(tmp_path: Path, rows: str) -> None:
    """Empty, malformed, late, with a K that is not allowed, with a gap."""
    path = tmp_path / "schedule.yaml"
    path.write_text(rows, encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"schedule\.yaml"):
        goodput(engine_file(), [phase()], f"schedule:{path}")


@pytest.mark.parametrize("name", ["best", "static:2", "static:x", "schedule", ""])
def test_unknown_controllers_are_refused(name: str) -> None:
    """Also a fixed K that the engine does not allow."""
    with pytest.raises(ScenarioError):
        goodput(engine_file(), [phase()], name)


@pytest.mark.parametrize(("acceptance", "expected"), [(0.05, 1), (0.98, 7)])
def test_tiers_follow_acceptance_and_nothing_else(acceptance: float, expected: int) -> None:
    """At any load."""
    for clients in (1, 30):
        ema = AcceptanceEma((0, 1, 3, 7))
        observed(engine_file(), [phase(seconds=3, clients=clients, acceptance=acceptance)], ema)
        assert ema.choose(composition(clients)) == expected


def test_the_startup_table_falls_with_the_batch() -> None:
    """Every allowed K has a row, the largest at batch 1."""
    table = startup_table((0, 1, 3, 7), 256)
    assert table[1] == 7
    assert list(table[1:]) == sorted(table[1:], reverse=True)
    assert set(table) == {0, 1, 3, 7}
