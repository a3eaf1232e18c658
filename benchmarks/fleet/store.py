"""Runs that are on disk already: nothing is run again that the same code made of the same scenario."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from turbospec.simulation.files import read_yaml

Row = dict[str, Any]


def fingerprint(*files: Path) -> str:
    """Of these files, scenarios with their engines and traces; of all modules of turbospec that are loaded; of numpy.

    Call it when all that makes runs has been imported.
    """
    modules = sorted((name, module) for name, module in sys.modules.items() if name.split(".")[0] == "turbospec")
    code = [Path(module.__file__) for _, module in modules if module.__file__]
    found = hashlib.sha256(np.__version__.encode())
    beside = [other for file in files if file.suffix == ".yaml" for other in _beside(file)]
    for file in (*code, *files, *beside):
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def _beside(scenario: Path) -> list[Path]:
    data = read_yaml(scenario)
    return [scenario.parent / name for name in (data["engine"], *(p["trace"] for p in data["load"] if "trace" in p))]


@dataclass
class Store:
    """The runs of one case, by arm, target and seed: in a file, as far as the same code made them."""

    path: Path
    made_by: str
    _rows: dict[tuple[str, float, int], Row] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for row in read(self.path, self.made_by):
            self._rows[row["arm"], row["target"], row["seed"]] = row

    def get(self, arm: str, target: float, seed: int, run: Callable[[], Row]) -> Row:
        """The run's row; ``run`` makes it where it is not there, and it is written at once."""
        found = self._rows.get((arm, target, seed))
        if found is None:
            found = self._rows[arm, target, seed] = run()
            write(self.path, self.made_by, self._rows.values())
        return found


def read(path: Path, made_by: str | None = None) -> list[Row]:
    """The rows of a file; none where there is no such file, or something else than ``made_by`` made it."""
    if not path.exists():
        return []
    data = json.loads(path.read_text(encoding="utf-8"))
    rows: list[Row] = data["rows"] if made_by in {None, data["madeBy"]} else []
    return rows


def write(path: Path, made_by: str, rows: Iterable[Row]) -> None:
    """As a whole or not at all: who is killed while it writes leaves the file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"madeBy": made_by, "rows": list(rows)}, indent=1), encoding="utf-8")
    new.replace(path)
