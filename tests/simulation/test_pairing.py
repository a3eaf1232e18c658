"""Arms of one seed meet the same requests with the same text; runs can be repeated."""

from itertools import pairwise

import pytest

from tests.simulation.builders import engine_file, observed, phase
from turbospec.simulation.files import WorkloadFile
from turbospec.simulation.run import ProfileSource, Scenario, run
from turbospec.simulation.workload import Request

LOADS = {
    "clients": phase(clients=6, lengthSpread=0.5, acceptanceSpread=0.1),
    "poisson": phase(poissonPerSecond=6, lengthSpread=0.5, acceptanceSpread=0.1),
}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS.keys())
def test_same_seed_gives_the_same_run(load: object) -> None:
    """Step by step, under any controller."""
    results = [
        run(Scenario(engine_file(), WorkloadFile.model_validate({"phases": [load]}), seed=5), "oracle").as_json()
        for _ in range(2)
    ]
    assert results[0] == results[1]


def test_another_seed_gives_another_run() -> None:
    """Text and noise both belong to the seed."""
    ended = [
        observed(engine_file(), [LOADS["clients"]], seed=seed, k=3)[1].records[-1].ended_seconds for seed in (1, 2)
    ]
    assert ended[0] != ended[1]


def _identity(request: Request) -> tuple[int, int, int, int]:
    return request.number, request.prompt_tokens, request.output_tokens, request.place - request.text.start


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS.keys())
def test_arms_meet_the_same_requests(load: object) -> None:
    """Whatever K: request n has the same lengths and the same text, and open arrivals the same times."""
    runs = [observed(engine_file(), [load], k=k)[0].requests for k in (0, 7)]  # type: ignore[list-item]
    first, second = ({request.number: request for request in requests} for requests in runs)
    common = first.keys() & second.keys()
    assert len(common) > 20
    for number in common:
        assert _identity(first[number]) == _identity(second[number])
        if first[number].client is None:
            assert first[number].arrived == second[number].arrived


def test_more_acceptance_is_never_slower() -> None:
    """One client, the same seed: a request's draft is accepted at least as far where acceptance is higher."""
    ends = []
    for acceptance in (0.0, 0.3, 0.6, 0.9, 1.0):
        run_, _ = observed(
            engine_file(), [phase(clients=1, seconds=0.001, outputTokens=500, acceptance=acceptance)], k=3
        )
        ends.append(run_.requests[0].finished or 0.0)
    assert all(a > b for a, b in pairwise(ends))


def test_measured_acceptance_is_the_one_asked_for() -> None:
    """Conditional acceptance and yield by position, from the records of a long run."""
    load = phase(seconds=60, clients=16, acceptance=[0.8, 0.5, 0.3], draftYield=[0.9, 0.6, 0.5])
    _, spy = observed(engine_file(), [load], k=3)
    asked = sum(record.drafting_requests for record in spy.records)
    drafted = [sum(record.drafted_per_position[j] for record in spy.records) for j in range(3)]
    accepted = [sum(record.accepted_per_position[j] for record in spy.records) for j in range(3)]
    assert [d / asked for d in drafted] == pytest.approx([0.9, 0.6, 0.5], abs=0.01)
    assert accepted[0] / drafted[0] == pytest.approx(0.8, abs=0.01)
    # Reaching position 1 means being accepted at 0 and having a draft there: the two are independent.
    assert accepted[1] / (drafted[1] * 0.8) == pytest.approx(0.5, abs=0.01)
    assert accepted[2] / (drafted[2] * 0.8 * 0.5) == pytest.approx(0.3, abs=0.01)


def test_phases_move_load_and_text() -> None:
    """Clients come and go at phase starts; requests keep the text they came with."""
    phases = [phase(seconds=3, clients=2, acceptance=0.0), phase(seconds=3, clients=8, acceptance=1.0)]
    result, spy = observed(engine_file(), [*phases, phase(seconds=3, clients=1, acceptance=0.0)], k=3)
    late = [record.decodes for record in spy.records if record.ended_seconds > 8]
    assert [stretch.started for stretch in result.stretches] == pytest.approx([0, 3, 6], abs=0.1)
    assert max(record.decodes for record in spy.records) == 8
    assert max(late) == 1
    assert {sum(r.accepted_per_position) > 0 for r in spy.records if r.ended_seconds < 3} == {False}


def test_cold_and_prepared_loops_run_to_the_end() -> None:
    """``turbospec`` with a measured profile and without any: both deliver, and only one pays for a profile."""
    load = WorkloadFile(phases=[phase(seconds=3, clients=8)])
    prepared = run(Scenario(engine_file(maxNumSeqs=8), load, seed=1), "turbospec").as_json()
    cold = run(Scenario(engine_file(maxNumSeqs=8), load, seed=1, profile=ProfileSource(measured=False)), "turbospec")
    assert 0 < prepared["profileSeconds"] <= 60
    assert "profileSeconds" not in cold.as_json()
    assert cold.goodput > 0
