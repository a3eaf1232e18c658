"""Scenario files: every fault is named with its file and field."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.simulation.builders import LINEAR
from turbospec.simulation.files import EngineFile, ScenarioError, WorkloadFile, load
from turbospec.simulation.profiles import load_profile
from turbospec.simulation.workload import Workload

ENGINE: dict[str, Any] = {
    "maxNumSeqs": 8, "maxDraftTokens": 3, "kvCacheTokens": 10_000, "stepTime": {"linear": LINEAR},
}  # fmt: skip
PHASE: dict[str, Any] = {"seconds": 10, "clients": 2, "promptTokens": 10, "outputTokens": 10, "acceptance": [0.5]}
CELLS = {"batch": [1, 8], "draftTokens": [0, 3], "milliseconds": [[7, 8], [8, 9]]}


def written(folder: Path, data: object) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")
    return path


ENGINE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"maxNumSeqs": 0}, "maxNumSeqs: "),
    ({"maxNumSeqs": "many"}, "maxNumSeqs: "),
    ({"kvCacheTokens": None}, "kvCacheTokens: "),
    ({"maxNumSeq": 3}, "maxNumSeq: "),
    ({"allowedDraftTokens": [0, 4]}, "allowedDraftTokens holds 4"),
    ({"allowedDraftTokens": []}, "allowedDraftTokens: "),
    ({"stepTime": {}}, "stepTime: give exactly one of table and linear"),
    ({"stepTime": {"linear": LINEAR, "table": CELLS}}, "stepTime: give exactly one"),
    ({"stepTime": {"linear": {**LINEAR, "secondsPerStep": -1}}}, "stepTime.linear.secondsPerStep: "),
    ({"stepTime": {"linear": {**LINEAR, "secondsPerStep": float("nan")}}}, "stepTime.linear.secondsPerStep: "),
    ({"stepTime": {"table": {**CELLS, "milliseconds": [[7, 8]]}}}, "stepTime.table: milliseconds has 1 rows"),
    ({"stepTime": {"table": {**CELLS, "milliseconds": [[7, 8], [8]]}}}, "stepTime.table: milliseconds[1] has 1"),
    ({"stepTime": {"table": {**CELLS, "milliseconds": [[7, 8], [8, 0]]}}}, "stepTime.table.milliseconds[1][1]: "),
    ({"stepTime": {"table": {**CELLS, "batch": [8, 1]}}}, "stepTime.table: batch must rise"),
    ({"stepTime": {"table": {**CELLS, "draftTokens": [1, 3]}}}, "stepTime.table: draftTokens must begin with 0"),
    ({"graph": {"paddedTo": [4, 2]}}, "graph: paddedTo must rise"),
    ({"noise": {"outlierProbability": 2}}, "noise.outlierProbability: "),
    ({"drift": [{"at": 5}, {"at": 4}]}, "drift entries must follow"),
]
PHASE_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"acceptance": [0.5, 1.5]}, "phases[0].acceptance[1]: "),
    ({"acceptance": []}, "phases[0].acceptance: "),
    ({"clients": None}, "phases[0]: give exactly one of clients, poissonPerSecond and trace"),
    ({"poissonPerSecond": 3}, "phases[0]: give exactly one"),
    ({"promptTokens": None}, "phases[0]: clients needs seconds, promptTokens and outputTokens"),
    ({"clients": None, "trace": "t.csv"}, "phases[0]: promptTokens and outputTokens come from the trace"),
    ({"speed": 2}, "phases[0]: speed goes with a trace"),
    ({"draftYield": [0.5, 0.6]}, "phases[0]: draftYield may not rise"),
    ({"seconds": 0}, "phases[0].seconds: "),
]


@pytest.mark.parametrize(("change", "message"), ENGINE_FAULTS, ids=lambda value: str(value)[:40])
def test_engine_faults_name_file_and_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Missing, unknown, impossible and contradictory fields."""
    path = written(tmp_path, {k: v for k, v in {**ENGINE, **change}.items() if v is not None})
    with pytest.raises(ScenarioError) as caught:
        load(path, EngineFile)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(("change", "message"), PHASE_FAULTS, ids=lambda value: str(value)[:40])
def test_workload_faults_name_file_and_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The index of the phase is part of the field."""
    given = {k: v for k, v in {**PHASE, **change}.items() if v is not None}
    path = written(tmp_path, {"phases": [given]})
    with pytest.raises(ScenarioError) as caught:
        load(path, WorkloadFile)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "\x00"], ids=["empty", "list", "broken", "binary"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """With the file's name, whatever is in it."""
    path = written(tmp_path, text)
    with pytest.raises(ScenarioError, match=r"scenario\.yaml"):
        load(path, EngineFile)


def test_a_request_that_cannot_fit_is_named() -> None:
    """Prompt and output beyond the KV cache: the phase is named, nothing hangs."""
    from tests.simulation.builders import engine_file, observed, phase

    with pytest.raises(ScenarioError, match=r"phases\[0\]: a request of .* exceeds kvCacheTokens 1000"):
        observed(engine_file(kvCacheTokens=1000), [phase(promptTokens=990)])


TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00.0000000,100,7\n2023-11-16 18:00:04.0000000,50,3\n"


def workload(folder: Path, trace: str | None, **changes: object) -> Workload:
    if trace is not None:
        (folder / "t.csv").write_text(trace, encoding="utf-8")
    spec = WorkloadFile.model_validate({"phases": [{"trace": "t.csv", "acceptance": 0.5, **changes}]})
    return Workload(spec, folder / "scenario.yaml", 0, 3)


def test_a_trace_is_read_beside_the_workload_and_sped_up(tmp_path: Path) -> None:
    """Times relative to the first row, divided by the speed; lengths as they are."""
    load_ = workload(tmp_path, TRACE, speed=2)
    arrived = [r for now in (0.0, 1.9, 2.0) for r in load_.advance(now)]
    assert [(r.arrived, r.prompt_tokens, r.output_tokens) for r in arrived] == [(0.0, 100, 7), (2.0, 50, 3)]


@pytest.mark.parametrize(
    ("trace", "message"),
    [(None, "cannot be read"), ("a,b\n1,2\n", "must have rows and the columns"), (TRACE + "soon,1,2\n", "line 4")],
)
def test_faults_of_a_trace_are_named(tmp_path: Path, trace: str | None, message: str) -> None:
    """The workload's file and field, the trace's file and line."""
    with pytest.raises(ScenarioError, match=message) as caught:
        workload(tmp_path, trace)
    assert "scenario.yaml: phases[0].trace" in str(caught.value)


def test_profiles_are_read_bare_and_as_resources(tmp_path: Path) -> None:
    """cells and fit at the top, or under spec; what is wrong with them is said."""
    cells = [
        {"batch": b, "contextTokens": 100, "draftTokens": k, "microseconds": 7000 + 500 * k + 100 * b, "samples": 9}
        for b in (1, 8) for k in (0, 3)
    ]  # fmt: skip
    names = ("perStep", "perBatchedToken", "perKvToken", "perDraftingStep", "perDraftPass", "perDraftToken")
    document = {"cells": cells, "fit": dict.fromkeys(names, 10**8)}
    bare = load_profile(written(tmp_path, document))
    assert load_profile(written(tmp_path, {"kind": "SpeculationProfile", "spec": document})) == bare
    with pytest.raises(ScenarioError, match="fit missing"):
        load_profile(written(tmp_path, {"cells": cells}))
    with pytest.raises(ScenarioError, match="no cell with draftTokens 0"):
        load_profile(written(tmp_path, {**document, "cells": cells[1::2]}))
