"""``turbospec simulate`` from files to JSON, table and picture."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from turbospec.cli.main import main

ENGINE = """
maxNumSeqs: 16
maxDraftTokens: 3
kvCacheTokens: 20000
stepTime:
  table: {batch: [1, 16], draftTokens: [0, 1, 3], milliseconds: [[7, 8, 9.5], [9, 12, 17]]}
prefillTokensPerSecond: 20000
plain: {speedup: 1.1}
"""
WORKLOAD = """
phases:
- {seconds: 4, clients: 2, promptTokens: 50, outputTokens: 40, acceptance: [0.8, 0.7, 0.6]}
- {seconds: 4, poissonPerSecond: 6, promptTokens: 50, outputTokens: 40, acceptance: 0.2, acceptanceSpread: 0.1}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """ENGINE.yaml and WORKLOAD.yaml."""
    engine, workload = tmp_path / "engine.yaml", tmp_path / "workload.yaml"
    engine.write_text(ENGINE, encoding="utf-8")
    workload.write_text(WORKLOAD, encoding="utf-8")
    return str(engine), str(workload)


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *arguments])


def test_json_has_what_was_promised(files: tuple[str, str]) -> None:
    """One object for each controller, in the order asked for; nothing else on stdout."""
    result = simulate(*files, "--controller", "turbospec,off", "--controller", "oracle", "--seed", "3")
    assert result.exit_code == 0, result.output
    runs = json.loads(result.stdout)["runs"]
    assert [one["controller"] for one in runs] == ["turbospec", "off", "oracle"]
    for one in runs:
        assert one["goodputTokensPerSecond"] == pytest.approx(one["outputTokens"] / one["seconds"])
        assert one["seconds"] == pytest.approx(8, abs=0.2)
        requests = one["requests"]
        assert requests["completed"] > 20
        for name in ("latencySeconds", "timePerOutputTokenMilliseconds", "timeToFirstTokenSeconds"):
            assert 0 < requests[name]["p50"] <= requests[name]["p95"] <= requests[name]["p99"]
            assert requests[name]["mean"] > 0
        assert 0 <= one["meanDraftTokens"] <= 3
        assert one["tableChanges"] >= 0
    assert runs[0]["profileSeconds"] > 0
    assert runs[1]["meanDraftTokens"] == 0


def test_no_profile_means_a_cold_start(files: tuple[str, str]) -> None:
    """Nothing is measured first."""
    result = simulate(*files, "--controller", "turbospec", "--profile", "none")
    assert result.exit_code == 0, result.output
    assert "profileSeconds" not in json.loads(result.stdout)["runs"][0]


def test_table_and_picture(files: tuple[str, str], tmp_path: Path) -> None:
    """A line for each arm; a PNG with something in it."""
    picture = tmp_path / "arms.png"
    names = ["off", "static:3", "plain", "acceptance-ema"]
    result = simulate(*files, "--controller", ",".join(names), "--output", "table", "--plot", str(picture))
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in names)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


def test_the_same_command_gives_the_same_output(files: tuple[str, str]) -> None:
    """To the last digit."""
    first, second = (simulate(*files, "--controller", "turbospec") for _ in range(2))
    assert first.stdout == second.stdout


@pytest.mark.parametrize(
    ("broken", "text", "expected"),
    [
        ("engine", "maxNumSeqs: 16\n", "engine.yaml: stepTime"),
        ("engine", ENGINE + "color: red\n", "engine.yaml: color"),
        ("workload", "phases: []\n", "workload.yaml: phases"),
        ("workload", WORKLOAD.replace("acceptance: 0.2", "acceptance: 2"), "workload.yaml: phases[1].acceptance[0]"),
    ],
)
def test_bad_files_are_named_without_a_traceback(
    files: tuple[str, str], tmp_path: Path, broken: str, text: str, expected: str
) -> None:
    """One line for each fault: file and field."""
    (tmp_path / f"{broken}.yaml").write_text(text, encoding="utf-8")
    result = simulate(*files)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert "Traceback" not in result.output


def test_an_unknown_controller_is_named(files: tuple[str, str]) -> None:
    """With those there are."""
    result = simulate(*files, "--controller", "magic")
    assert result.exit_code == 1
    assert "unknown controller 'magic'" in result.stderr
    assert "acceptance-ema" in result.stderr
