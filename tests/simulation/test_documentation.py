"""The files that docs/simulator.md shows can be used as they stand."""

import re
from pathlib import Path

import yaml

from turbospec.simulation.files import EngineFile, WorkloadFile, parse
from turbospec.wire.base import WireModel

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "simulator.md"


def test_examples_are_valid() -> None:
    """Every YAML block is an engine or a workload, and there are both."""
    blocks = re.findall(r"```yaml\n# (ENGINE|WORKLOAD)\.yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    kinds: dict[str, type[WireModel]] = {"ENGINE": EngineFile, "WORKLOAD": WorkloadFile}
    assert {kind for kind, _ in blocks} == set(kinds)
    for kind, text in blocks:
        parse(yaml.safe_load(text), kinds[kind], kind)
