"""A benchmark of hours that is stopped goes on where it was, and never with what other code has made."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet.store import Store, fingerprint


def row(arm: str, target: float, seed: int) -> dict[str, Any]:
    return {"arm": arm, "target": target, "seed": seed, "replicaSeconds": 1.0 + seed}


def filled(path: Path, made_by: str, calls: list[int]) -> list[dict[str, Any]]:
    store = Store(path, made_by)

    def run(seed: int) -> dict[str, Any]:
        calls.append(seed)
        return row("plain", 1.0 / 3.0, seed)

    return [store.get("plain", 1.0 / 3.0, seed, lambda seed=seed: run(seed)) for seed in (0, 1)]  # type: ignore[misc]


@pytest.mark.parametrize(("second", "again"), [("this", []), ("other", [0, 1])])
def test_a_run_is_made_once_by_the_same_code(tmp_path: Path, second: str, again: list[int]) -> None:
    calls: list[int] = []
    first = filled(tmp_path / "case.json", "this", calls)
    later: list[int] = []
    assert filled(tmp_path / "case.json", second, later) == first
    assert (calls, later) == ([0, 1], again)


def test_what_is_done_is_kept_when_the_next_run_fails(tmp_path: Path) -> None:
    store = Store(tmp_path / "case.json", "this")
    store.get("plain", 1.0, 0, lambda: row("plain", 1.0, 0))

    def fails() -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get("plain", 1.0, 1, fails)
    kept = Store(tmp_path / "case.json", "this")
    assert kept.get("plain", 1.0, 0, fails)["seed"] == 0


@pytest.mark.parametrize("changed", ["scenario.yaml", "engine.yaml", "trace.csv"])
def test_whatever_a_scenario_is_made_of_counts(tmp_path: Path, changed: str) -> None:
    files = {"scenario.yaml": "engine: engine.yaml\nload: [{trace: trace.csv}]", "engine.yaml": "a", "trace.csv": "b"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    before = fingerprint(tmp_path / "scenario.yaml")
    assert fingerprint(tmp_path / "scenario.yaml") == before
    (tmp_path / changed).write_text(files[changed] + " # another", encoding="utf-8")
    assert fingerprint(tmp_path / "scenario.yaml") != before
