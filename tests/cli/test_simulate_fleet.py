"""``turbospec simulate-fleet``: what it prints and draws, and how it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tests.simulation.fleet_builders import scenario
from turbospec.cli.main import main


@pytest.fixture(name="path")
def a_scenario(tmp_path: Path) -> Path:
    """Five minutes of a small fleet."""
    spec = scenario(engine={"plain": {"speedup": 1.1}}).spec.model_dump(by_alias=True, exclude_none=True, mode="json")
    spec["load"][0] |= {"seconds": 300, "requestsPerSecond": [10, 30]}
    found = tmp_path / "scenario.yaml"
    found.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return found


def invoked(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["simulate-fleet", *map(str, arguments)])


def test_json_has_one_object_for_each_arm(path: Path, tmp_path: Path) -> None:
    """With goodput, misses, replica-seconds, scale events and K oscillations; a picture beside."""
    picture = tmp_path / "arms.png"
    result = invoked(path, "--arm", "plain,off,static:best", "--arm", "turbospec", "--seed", 2, "--plot", picture)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["seed"] == 2
    assert [one["arm"].partition(":")[0] for one in answer["runs"]] == ["plain", "off", "static", "turbospec"]
    for one in answer["runs"]:
        assert one["requests"]["arrived"] == one["requests"]["completed"] > 5000
        assert one["replicaSeconds"] >= 300
        assert {"goodputTokensPerSecond", "misses", "scaleEvents", "draftTokenOscillations"} <= set(one)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_tuning_finds_the_target_with_the_fewest_replica_hours(path: Path) -> None:
    """At most 1% misses, and a run at a target a little higher misses more."""
    tuned = json.loads(invoked(path, "--arm", "off", "--tune").stdout)["runs"][0]
    assert tuned["misses"]["share"] <= 0.01
    table = invoked(path, "--arm", "off", "--target", tuned["target"] * 2, "--output", "table")
    assert "off" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arm", "fast"), "unknown arm 'fast'"),
        (("--tune", "--target", "3"), "--tune looks for the target"),
        (("--metric", "cpu"), "--metric"),
        (("--arm", "off", "--plot", "/nowhere/arms.png"), "cannot be written"),
    ],
)
def test_refusals_say_what_was_wrong(path: Path, arguments: tuple[str, ...], message: str) -> None:
    """Without a traceback."""
    result = invoked(path, *arguments)
    assert result.exit_code != 0
    assert message in result.output


def test_faults_in_the_file_are_named(tmp_path: Path) -> None:
    """File and field."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("engine: {}\n", encoding="utf-8")
    result = invoked(broken)
    assert result.exit_code == 1
    assert f"{broken}: engine.maxNumSeqs" in result.output
