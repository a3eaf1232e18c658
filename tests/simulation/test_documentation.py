"""The files that docs/simulator.md and docs/fleet-simulator.md show can be used as they stand."""

import re
from pathlib import Path

import yaml

from turbospec.simulation.files import EngineFile, WorkloadFile, parse
from turbospec.simulation.fleet.files import load_scenario
from turbospec.wire.base import WireModel

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDE = DOCS / "simulator.md"
SCENARIOS = DOCS.parent / "benchmarks" / "fleet" / "scenarios"


def test_examples_are_valid() -> None:
    """Every YAML block is an engine or a workload, and there are both."""
    blocks = re.findall(r"```yaml\n# (ENGINE|WORKLOAD)\.yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    kinds: dict[str, type[WireModel]] = {"ENGINE": EngineFile, "WORKLOAD": WorkloadFile}
    assert {kind for kind, _ in blocks} == set(kinds)
    for kind, text in blocks:
        parse(yaml.safe_load(text), kinds[kind], kind)


def test_the_scenario_is_valid(tmp_path: Path) -> None:
    """As it stands, in the benchmark's folder structure; and so are the benchmark's own scenarios."""
    found = re.search(
        r"```yaml\n# SCENARIO\.yaml\n(.*?)```", (DOCS / "fleet-simulator.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert found is not None
    (tmp_path / "engines").symlink_to(SCENARIOS.parent / "engines")
    (tmp_path / "scenarios").mkdir()
    path = tmp_path / "scenarios" / "scenario.yaml"
    path.write_text(found[1], encoding="utf-8")
    assert load_scenario(path).spec.autoscaler.behavior.scale_down.stabilization_window_seconds == 300
    assert len([load_scenario(scenario) for scenario in SCENARIOS.glob("*.yaml")]) == 4
