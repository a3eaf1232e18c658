"""SCENARIO.yaml: what is wrong is said with file and field."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.simulation.fleet_builders import scenario
from turbospec.simulation.fleet.arms import arm_named
from turbospec.simulation.fleet.arrivals import draw
from turbospec.simulation.fleet.files import FleetScenario, ScenarioError, load_scenario


def fields(**changes: Any) -> dict[str, Any]:
    """A whole scenario as in a file; a change to None takes a field away."""
    made: dict[str, Any] = scenario().spec.model_dump(by_alias=True, exclude_none=True, mode="json")
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


def written(folder: Path, data: object) -> Path:
    path = folder / "scenario.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data), encoding="utf-8")
    return path


LOAD = {"seconds": 10, "requestsPerSecond": 1, "promptTokens": 10, "outputTokens": 10, "acceptance": 0.5}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"engine": None}, "engine: "),
    ({"engine": {"maxNumSeqs": 0}}, "engine.maxNumSeqs: "),
    ({"objective": {}}, "objective: give timePerOutputToken"),
    ({"objective": {"timePerOutputToken": {"milliseconds": 0}}}, "objective.timePerOutputToken.milliseconds: "),
    ({"autoscaler": {"initialReplicas": 2}}, "autoscaler.target: "),
    ({"autoscaler": {"initialReplicas": 2, "target": 1, "metric": "cpu"}}, "autoscaler.metric: "),
    ({"autoscaler": {"initialReplicas": 9, "target": 1, "maxReplicas": 5}}, "autoscaler: initialReplicas 9"),
    ({"loadBalancer": "Random"}, "loadBalancer: "),
    ({"load": []}, "load: "),
    ({"load": [{**LOAD, "trace": "t.csv"}]}, "load[0]: give exactly one of requestsPerSecond and trace"),
    ({"load": [{**LOAD, "seconds": None}]}, "load[0]: requestsPerSecond needs seconds"),
    ({"load": [{**LOAD, "copies": 2}]}, "load[0]: speed and copies go with a trace"),
    ({"load": [{**LOAD, "acceptance": [1.5]}]}, "load[0].acceptance[0]: "),
    ({"replicas": 3}, "replicas: "),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=lambda value: str(value)[:50])
def test_faults_name_file_and_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Missing, unknown, impossible and contradictory fields."""
    path = written(tmp_path, fields(**change))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_an_engine_may_lie_in_a_file_beside_the_scenario(tmp_path: Path) -> None:
    """By its name; faults in it name that file."""
    engine = tmp_path / "engine.yaml"
    engine.write_text(yaml.safe_dump(fields()["engine"]), encoding="utf-8")
    assert load_scenario(written(tmp_path, fields(engine="engine.yaml"))).spec.engine == scenario().spec.engine
    engine.write_text("maxNumSeqs: 3", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"engine\.yaml: maxDraftTokens"):
        load_scenario(written(tmp_path, fields(engine="engine.yaml")))


def test_what_only_the_load_shows_is_named() -> None:
    """A request that no cache holds, a trace that is not there, an arm that needs what is not said."""
    part = {**LOAD, "promptTokens": 200_000}
    with pytest.raises(ScenarioError, match=r"scenario\.yaml: load: a request of .* exceeds engine.kvCacheTokens"):
        draw(scenario(load=[part]), 0)
    with pytest.raises(ScenarioError, match=r"scenario\.yaml: load\[0\]\.trace: .*cannot be read"):
        draw(scenario(load=[{"trace": "gone.csv", "acceptance": 0.5}]), 0)
    with pytest.raises(ScenarioError, match=r"scenario\.yaml: engine: arm plain needs the field plain"):
        arm_named("plain", scenario(), 0)
    with pytest.raises(ScenarioError, match="allows only K of"):
        arm_named("static:2", scenario(), 0)
    with pytest.raises(ScenarioError, match="unknown arm 'best'"):
        arm_named("best", scenario(), 0)


TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00.0,100,7\n2023-11-16 18:01:40.0,50,3\n"


def test_a_trace_is_scaled_up_by_copies_near_the_original(tmp_path: Path) -> None:
    """Each request so many times, within half a minute of its time, lengths as they are."""
    (tmp_path / "t.csv").write_text(TRACE, encoding="utf-8")
    spec = scenario(load=[{"trace": "t.csv", "copies": 50, "speed": 0.5, "acceptance": 0.5}]).spec
    day = draw(FleetScenario(spec, tmp_path / "scenario.yaml"), 0)
    early = day.at < 100
    assert early.sum() == 50
    assert set(day.prompt[early].tolist()) == {100}
    assert (day.at[early] <= 30).all()
    assert (abs(day.at[~early] - 200) <= 30).all()
    assert day.end == 201.0


def test_rates_follow_straight_lines() -> None:
    """Arrivals of a ramp, by their number in each half."""
    day = draw(scenario(load=[{**LOAD, "seconds": 1000, "requestsPerSecond": [0, 40]}]), 3)
    assert len(day.at) == pytest.approx(20_000, rel=0.03)
    assert (day.at < 500).sum() == pytest.approx(5_000, rel=0.06)
