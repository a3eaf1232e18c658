"""What was written down of vLLM's releases (tools/seams), as the runtime would read it from their source."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from turbospec.engine.speculators import SpeculatorFacts, SpeculatorProbe

FOLDER = Path(__file__).resolve().parents[2] / "tools" / "seams"


def version_of(release: str) -> tuple[int, ...]:
    """For sorting: 0.9 comes before 0.10."""
    return tuple(int(part) for part in re.findall(r"\d+", release))


RELEASES = sorted((path.stem for path in FOLDER.glob("*.json")), key=version_of)


@cache
def seams(release: str) -> dict[str, dict[str, Any]]:
    """Every seam of a release by name."""
    content: dict[str, dict[str, Any]] = json.loads((FOLDER / f"{release}.json").read_text())["seams"]
    return content


def committed_probe(release: str) -> SpeculatorProbe:
    """The facts of a release, as its source would tell them."""

    def probe(variant: str, runner: str) -> SpeculatorFacts:
        lines = seams(release)
        worker = lines[f"{runner} model runner"]
        line = lines.get(f"{runner} {variant}.propose", {"found": False})
        return SpeculatorFacts(
            readable=worker["found"],
            found=line["found"],
            worker_reads_length=worker["reads_length"],
            asserts_length=line.get("asserts_length", False),
            reads_length=line.get("reads_length", False),
        )

    return probe
