"""``turbospec profile diff|fit|plot``: what two profiles have in common, and how good one is."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run
from tests.cli.samples import EXAMPLE, Raw, example, plain_engine, slower_drafts, with_identity
from turbospec.cli.profile.commands import profile
from turbospec.cli.profile.compare import compare
from turbospec.cli.profile.files import profile_of
from turbospec.control.latency import LatencyModel


def written(folder: Path, name: str, raw: Raw) -> str:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(raw))
    return str(file)


def model(raw: Raw) -> LatencyModel:
    return profile_of(raw, "test").model


def test_a_profile_does_not_differ_from_itself() -> None:
    """Nor from one whose every step is twice as slow, as far as K is concerned."""
    slow = example()
    for cell in slow["spec"]["cells"]:
        cell["microseconds"] *= 2
    for name in slow["spec"]["fit"]:
        slow["spec"]["fit"][name] *= 2
    for other, ratio in ((example(), 1.0), (slow, 2.0)):
        found = compare(model(example()), model(other), [0.5, 0.9])
        assert [cell.ratio for cell in found.cells] == pytest.approx([ratio] * 24)
        assert max(abs(cell.relative_change or 0) for cell in found.cells) < 1e-9
        assert found.differing == ()
        assert found.left_out == 0


def test_dearer_drafts_change_relative_costs_and_the_choice() -> None:
    """By about as much as they are dearer; what the old choice would lose is told."""
    found = compare(model(example()), model(slower_drafts(example(), 1.5)), [0.5])
    changes = [cell.relative_change for cell in found.cells if cell.relative_change is not None]
    assert min(changes) > 0.15
    assert max(changes) == pytest.approx(0.5, abs=0.15)
    assert found.differing
    assert all(choice.second < choice.first and choice.loss > 0 for choice in found.differing)


def test_diff_prints_ratios_identity_and_choices(run: Run, tmp_path: Path) -> None:
    """What differs in the identity comes first, for it explains the rest."""
    other = with_identity(slower_drafts(example(), 1.5), engineVersion="0.33.0")
    result = run("diff", str(EXAMPLE), written(tmp_path, "other", other), "--acceptance", "0.5")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "engineVersion: 0.32.0 | 0.33.0" in lines
    assert any(line.startswith("24 cells compared.") for line in lines)
    assert "Largest differences in T(K)/T(0):" in lines
    assert any(line.startswith("Best K differs") for line in lines)
    same = run("diff", str(EXAMPLE), str(EXAMPLE)).stdout
    assert "Same key: hardware, models, method and engine are equal." in same
    assert "Best K is the same everywhere" in same


def test_diff_as_json_holds_every_cell(run: Run, tmp_path: Path) -> None:
    """For programs."""
    other = written(tmp_path, "other", slower_drafts(example(), 1.5))
    found = json.loads(run("diff", str(EXAMPLE), other, "-o", "json").stdout)
    assert len(found["cells"]) == 24
    assert {each["acceptance"] for each in found["choices"]} == {0.5, 0.7, 0.9}
    assert found["cells"][0]["relativeCostChange"] is None


def test_profiles_without_a_common_range_are_not_compared(run: Run, tmp_path: Path) -> None:
    """Extrapolation would only compare fits."""
    far = example()
    for cell in far["spec"]["cells"]:
        cell["batch"] += 100
        cell["microseconds"] *= 10
    result = run("diff", str(EXAMPLE), written(tmp_path, "far", far))
    assert result.exit_code == 1
    assert "no batch and context in common" in result.stderr


def test_fit_sets_the_engine_without_speculation_beside_this_one(run: Run, tmp_path: Path) -> None:
    """Where it was measured: step times, KV cache, start-up."""
    raw = example()
    raw["spec"]["plain"] = plain_engine(0.8)
    printed = " ".join(run("fit", str(written(tmp_path, "with-plain", raw))).stdout.split())
    assert "its KV cache holds 17000 tokens" in printed
    assert "it started in 21 s" in printed
    assert printed.count("+25") >= 4
    assert "without speculation" not in run("fit", str(EXAMPLE)).stdout


def test_fit_prints_errors_and_coefficients_that_a_profile_takes(run: Run, tmp_path: Path) -> None:
    """``-o yaml`` goes into spec.fit as it is."""
    result = run("fit", str(EXAMPLE))
    assert result.exit_code == 0, result.output
    assert "24 cells. Median error: " in result.stdout
    assert "the profile says 7.2%" in result.stdout
    assert "perBatchedToken" in result.stdout
    found = yaml.safe_load(run("fit", str(EXAMPLE), "-o", "yaml").stdout)
    assert set(found["fit"]) == set(example()["spec"]["fit"])
    assert 0 < found["medianErrorPermille"] <= found["holdOutErrorPermille"] < 300
    raw = example()
    raw["spec"]["fit"] = found["fit"]
    assert run("fit", written(tmp_path, "refitted", raw)).exit_code == 0


def test_every_command_is_in_the_docs() -> None:
    """The table of docs/profiles.md is complete, and names no option that is none."""
    text = (EXAMPLE.parents[1] / "profiles.md").read_text().partition("## Sharing one")[2]
    rows = dict(re.findall(r"^\| `([a-z]+)( [A-Z[][^`]*)?` \|", text, re.MULTILINE))
    assert set(rows) == set(profile.commands)
    for name, usage in rows.items():
        known = {option for parameter in profile.commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--?[a-z-]+|-A", usage)) <= known, name


def test_plot_writes_a_picture(run: Run, tmp_path: Path) -> None:
    """A PNG with something in it, where it was asked for; a folder that is not there is one line."""
    target = tmp_path / "profile.png"
    result = run("plot", str(EXAMPLE), "-f", str(target), "--acceptance", "0.8", "--context-tokens", "300")
    assert (result.exit_code, result.output) == (0, f"wrote {target}\n")
    assert target.read_bytes().startswith(b"\x89PNG")
    assert target.stat().st_size > 20_000
    failed = run("plot", str(EXAMPLE), "-f", str(tmp_path / "no" / "p.png"))
    assert failed.exit_code == 1
    assert failed.stderr == f"Error: {tmp_path / 'no' / 'p.png'}: cannot be written: No such file or directory\n"


def test_plot_shows_the_engine_without_speculation(run: Run, tmp_path: Path) -> None:
    """Where it was measured, its step times are in the picture."""
    raw = example()
    raw["spec"]["plain"] = plain_engine(0.8)
    pictures = []
    for number, path in enumerate((EXAMPLE, written(tmp_path, "with-plain", raw))):
        target = tmp_path / f"{number}.png"
        assert run("plot", str(path), "-f", str(target)).exit_code == 0
        pictures.append(target.read_bytes())
    assert pictures[0] != pictures[1]
