"""vLLM's own schedulers and engine core, driven without a model: what the runtime says of steps is what was run."""

import hashlib
import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.engine.vllm_server import TOKEN, tiny_model, vllm_environment, vllm_venv
from turbospec_operator.runtime_bundle import build_runtime_zip

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(420)]

ROOT = Path(__file__).resolve().parents[2]
SWAPS = 1000


def drive(folder: Path, kind: str) -> dict[str, Any]:
    """Runs the scenarios in vLLM's environment, with the runtime loaded as in a pod: from a zip."""
    (folder / "turbospec.zip").write_bytes(build_runtime_zip())
    environment = vllm_environment(folder, control_port=0)
    environment["PYTHONPATH"] = os.pathsep.join((str(folder / "turbospec.zip"), str(ROOT)))
    environment["TURBOSPEC_TOKEN_SHA256"] = hashlib.sha256(TOKEN.encode()).hexdigest()
    command = [str(vllm_venv() / "bin/python"), "-m", "tests.engine.driven_scenarios"]
    done = subprocess.run(
        [*command, str(tiny_model()), kind, str(SWAPS)],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["unsupported"] is None
    return result


@pytest.fixture(scope="module")
def asynchronous(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """AsyncScheduler, model runner V2, EAGLE, full graphs at K 0, 1, 3, 7: an engine on a GPU but for the GPU."""
    return drive(tmp_path_factory.mktemp("async"), "async")


@pytest.fixture(scope="module")
def synchronous(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Scheduler, model runner V1, ngram: an engine on a CPU."""
    return drive(tmp_path_factory.mktemp("sync"), "sync")


def steps_of(result: dict[str, Any], lag: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The runtime's record and the executor's own entry of every step."""
    run = result["pairing"][lag]
    records, executed = run["records"], run["executed"]
    assert len(records) == len(executed) > 300
    assert [record["seq"] for record in records] == list(range(records[0]["seq"], records[0]["seq"] + len(records)))
    return list(zip(records, executed, strict=True))


@pytest.mark.parametrize("lag", ["1", "2"])
def test_every_k_was_captured_and_widths_are_uniform(asynchronous: dict[str, Any], lag: str) -> None:
    """Tokens come while one and while two later steps are in flight already. A worker replays a graph where all
    requests of a step verify the same number of drafts, and has to have drafted as many as it is asked to verify."""
    assert asynchronous["scheduler"] == ["TurboSpecAsyncScheduler", "TurboSpecMixin", "AsyncScheduler"]
    assert asynchronous["allowed"] == [0, 1, 3, 7]
    steps = steps_of(asynchronous, lag)
    for record, executed in steps:
        assert record["decided_draft_tokens"] in asynchronous["allowed"]
        assert executed["draft_passes"] == record["decided_draft_tokens"]
        assert executed["widths"] == executed["held"]
        assert len(set(executed["widths"])) <= 1
    assert {executed["draft_passes"] for _, executed in steps} == {0, 1, 3, 7}


@pytest.mark.parametrize("lag", ["1", "2"])
def test_intervals_of_an_asynchronous_engine_belong_to_the_k_that_was_run(
    asynchronous: dict[str, Any], lag: str
) -> None:
    """By the executor's calendar: between two completions it drafted at the K named and verified drafts of that K."""
    steps = steps_of(asynchronous, lag)
    without = 0
    for (_, before), (record, executed) in pairwise(steps):
        if record["interval_seconds"] is None:
            without += 1
            assert executed["started"] > before["completed"] + 1.0  # the pauses of the scenario
            continue
        assert record["interval_seconds"] == pytest.approx(executed["completed"] - before["completed"])
        assert record["interval_draft_tokens"] == before["draft_passes"]
        assert set(executed["widths"]) <= {record["interval_draft_tokens"]}
        assert record["verified_draft_tokens"] == sum(executed["widths"])
        assert record["decodes"] == len(executed["widths"])
    assert without == 2


def test_intervals_of_a_synchronous_engine_have_one_k_or_are_dropped(synchronous: dict[str, Any]) -> None:
    """An interval holds verification, then drafting: at a change of K it belongs to neither."""
    assert synchronous["scheduler"] == ["TurboSpecScheduler", "TurboSpecMixin", "Scheduler"]
    dropped = 0
    for (_, before), (record, executed) in pairwise(steps_of(synchronous, "1")):
        assert record["decided_draft_tokens"] == executed["draft_passes"]
        if record["interval_seconds"] is None:
            dropped += 1
            assert executed["draft_passes"] != before["draft_passes"] or executed["started"] > before["completed"] + 1.0
            continue
        assert record["interval_seconds"] == pytest.approx(executed["completed"] - before["completed"])
        assert record["interval_draft_tokens"] == executed["draft_passes"] == before["draft_passes"]
        assert set(executed["widths"]) <= {executed["draft_passes"]}
    assert dropped >= 8


@pytest.mark.parametrize("lag", ["1", "2"])
def test_requests_that_end_while_steps_are_in_flight_do_not_look_undrafted(
    asynchronous: dict[str, Any], lag: str
) -> None:
    """EAGLE always drafts: every request that was asked has drafts, in every single step."""
    drafted = [record for record, _ in steps_of(asynchronous, lag) if record["asked_draft_tokens"]]
    for record in drafted:
        k = record["asked_draft_tokens"]
        assert record["drafted_per_position"][:k] == [record["drafting_requests"]] * k
    assert any(record["drafting_requests"] < record["decodes"] for record in drafted)


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
def test_structured_outputs_shorten_drafts_after_k_did(request: pytest.FixtureRequest, kind: str) -> None:
    """Every other request has a grammar that lets two drafts pass. An asynchronous engine then asks for the bitmask
    only when the tokens of the step before are there, and pads what does not pass; K and intervals stay true."""
    steps = steps_of(request.getfixturevalue(kind), "grammars")
    shortened = 0
    for (_, before), (record, executed) in pairwise(steps):
        k = record["asked_draft_tokens"]
        assert executed["draft_passes"] == record["decided_draft_tokens"]
        assert set(executed["widths"]) <= ({k} if kind == "asynchronous" else {k, min(k, 2)})
        assert record["verified_draft_tokens"] == sum(executed["widths"])
        if record["interval_seconds"] is not None:
            assert record["interval_seconds"] == pytest.approx(executed["completed"] - before["completed"])
            assert record["interval_draft_tokens"] == before["draft_passes"] == k
        drafted = record["drafted_per_position"]
        assert drafted[: min(k, 2)] == [record["drafting_requests"]] * min(k, 2)
        shortened += k > 2 and 0 < drafted[2] < drafted[1]
    assert shortened > 50
    assert {record["decided_draft_tokens"] for record, _ in steps} == {0, 1, 3, 7}


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
def test_1000_documents_under_load_take_effect_at_once_and_harm_nothing(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """Every schedule() that starts after a document was acknowledged decides with it, and vLLM's own
    ``scheduled_spec_decode_tokens`` and the worker's draft passes show it within ``max_concurrent_batches`` steps."""
    result: dict[str, Any] = request.getfixturevalue(kind)
    puts, steps = result["swaps"]["puts"], result["swaps"]["steps"]
    assert len(puts) == SWAPS
    assert result["statuses"].keys() == {"200"}
    assert result["wrong"] == []
    assert result["requests"] > 100
    by_number = {number: (k, widths) for number, k, widths in steps}
    passes = [executed["draft_passes"] for executed in result["swaps"]["executed"]]
    for (_, k, _), made in zip(steps, passes, strict=True):
        assert made in {0, k}  # a step whose requests are all in the middle of their prompts drafts nothing
    assert sum(made == k for (_, k, _), made in zip(steps, passes, strict=True)) > 0.9 * len(steps)
    decided = 0
    for put, following in pairwise(puts):
        for number in range(put["acknowledged"], following["sent"]):
            if number in by_number:
                assert by_number[number][0] == put["k"]
                decided += 1
    assert decided > SWAPS / 2
    for (_, k, _), (_, _, widths) in pairwise(steps):
        # Drafts that were decided in a step are verified in the very next one that has decodes.
        assert set(widths) <= {k}
    assert result["concurrent"] in {1, 2}
