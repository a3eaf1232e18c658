"""What is measured beside whole days: a new pod's first seconds, and the load ratio while K or the load changes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.control.lines import Part
from benchmarks.fleet import cases, fresh, load_ratio
from benchmarks.fleet.cases import RESULTS
from benchmarks.fleet.store import fingerprint, read, write


@dataclass(frozen=True, slots=True)
class Line:
    """Tasks that give rows, and what rows say."""

    name: str
    measure: Callable[..., list[dict[str, Any]]]
    tasks: Sequence[tuple[Any, ...]]
    quick: int
    """So many tasks are a sample."""
    parts: Callable[[Sequence[dict[str, Any]]], list[Part]]

    @property
    def path(self) -> Path:
        """Where its rows are."""
        return RESULTS / f"{self.name}.json"


CHANGES = (*load_ratio.CHANGES, load_ratio.BOUNDED)
LINES = (
    Line("fresh", fresh.measure, [(name, seed) for name in fresh.SCENARIOS for seed in fresh.SEEDS], 2, fresh.parts),
    Line(
        "neutral",
        load_ratio.neutral,
        [(name, ratio) for name in load_ratio.SCENARIOS for ratio in load_ratio.RATIOS],
        1,
        load_ratio.parts,
    ),
    Line(
        "alive",
        load_ratio.alive,
        [(name, change) for name in load_ratio.SCENARIOS for change in CHANGES],
        1,
        load_ratio.parts,
    ),
)


def run_all(jobs: int, *, quick: bool) -> None:
    """The rows of all lines, where those on disk were not made by the same code."""
    files = [Path(str(module.__file__)) for module in (fresh, load_ratio)]
    made = fingerprint(*files, *(cases.scenario_file(name) for name in load_ratio.SCENARIOS))
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        for line in LINES:
            tasks = line.tasks[: line.quick] if quick else line.tasks
            by = f"{made} {len(tasks)}"
            if not read(line.path, by):
                futures = [pool.submit(line.measure, *task) for task in tasks]
                write(line.path, by, [row for future in futures for row in future.result()])


def parts() -> list[Part]:
    """What the rows on disk say."""
    return [part for line in LINES for part in line.parts(read(line.path))]
