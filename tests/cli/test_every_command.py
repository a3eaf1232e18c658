"""Every command has a golden text: what people read of it changes only together with its file in tests/cli/golden."""

import datetime as dt
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from tests.cli.fake_api import FakeApi
from tests.cli.fleet_samples import GOLDEN, POLICIES
from tests.cli.fleet_samples import policy as fleet_policy
from tests.cli.recorded_api import RecordedApi
from tests.cli.samples import EXAMPLE, NAME, example, plain_engine, slower_drafts, stored, with_identity
from tests.cli.test_profile_watch import COMPLETE, job
from tests.cli.test_simulate import ENGINE, WORKLOAD
from tests.simulation.fleet_builders import scenario
from turbospec.cli.main import main

ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "advise": ("advise",),
    "dashboard": ("dashboard",),
    "diagnose": ("diagnose", "diagnose-events", "diagnose-well"),
    "explain": ("explain-pinned", "explain-pod", "explain-policy"),
    "init": ("init", "init-drafter", "init-json", "init-objective", "init-speculating"),
    "must-gather": ("must-gather-files",),
    "schedule": ("schedule", "schedule-json", "schedule-pod"),
    "status": ("status", "status-all", "status-policy"),
    "top": ("top", "top-all", "top-json"),
}
"""Golden texts of the commands with tests of their own, by command."""

HERE: Mapping[str, tuple[str, ...]] = {
    "completion": ("bash",),
    "profile list": ("-A",),
    "profile export": (NAME,),
    "profile import": (str(EXAMPLE), "-n", "other"),
    "profile promote": (NAME, "--as", "epyc"),
    "profile diff": (str(EXAMPLE), "DIR/other.yaml"),
    "profile fit": ("DIR/plain.yaml",),
    "profile plot": (str(EXAMPLE), "-f", "DIR/profile.png"),
    "profile watch": ("--once",),
    "simulate": ("DIR/engine.yaml", "DIR/workload.yaml", "--controller", "off,static:3", "--output", "table"),
    "simulate-fleet": ("DIR/scenario.yaml", "--arm", "off", "--output", "table"),
}
"""Arguments of the others. DIR is a folder with what they read."""

FLEET: Mapping[str, tuple[str, ...]] = {"pause": ("chat",), "resume": ("chat",)}
"""And of those that change a policy."""

BY_ITSELF = ("sim serve", "demo")
"""They go on until they are ended."""


def leaves(group: click.Group, before: str = "") -> Iterator[str]:
    """The commands that do something."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield before + name


def file_of(command: str) -> str:
    return command.replace(" ", "-")


def test_every_command_has_a_golden_text_and_every_text_a_test() -> None:
    """A new command needs one; a text that no test names proves nothing."""
    mine = (*HERE, *FLEET, *BY_ITSELF)
    assert sorted(leaves(main)) == sorted((*ELSEWHERE, *mine))
    named = {name for names in ELSEWHERE.values() for name in names}
    assert {path.stem for path in GOLDEN.iterdir()} == named | {file_of(command) for command in mine}
    others = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    assert {name for name in named if f'"{name}"' not in others and f'"{name}.txt"' not in others} == set()


def steady(text: str, folder: Path) -> str:
    """Without what differs from one run to the next."""
    text = text.replace(str(folder), "DIR").replace(str(EXAMPLE), "EXAMPLE")
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the commands read."""
    other = with_identity(slower_drafts(example(), 1.5), engineVersion="0.33.0")
    plain = example()
    plain["spec"]["plain"] = plain_engine(0.8)
    fleet = scenario().spec.model_dump(by_alias=True, exclude_none=True, mode="json")
    contents: dict[str, Any] = {"other.yaml": other, "plain.yaml": plain, "scenario.yaml": fleet}
    for name, content in contents.items():
        (tmp_path / name).write_text(yaml.safe_dump(content))
    (tmp_path / "engine.yaml").write_text(ENGINE)
    (tmp_path / "workload.yaml").write_text(WORKLOAD)
    return tmp_path


def shown(command: str, arguments: tuple[str, ...], folder: Path) -> str:
    """What a person sees of a command that succeeds."""
    words = [argument.replace("DIR", str(folder)) for argument in arguments]
    result = CliRunner().invoke(main, [*command.split(), *words])
    assert result.exit_code == 0, result.output
    return steady(result.output, folder)


def golden(command: str) -> str:
    return (GOLDEN / f"{file_of(command)}.txt").read_text()


@pytest.mark.parametrize("command", HERE)
def test_a_command_says_what_it_said(api: FakeApi, folder: Path, command: str) -> None:
    """To the letter, stdout and stderr."""
    measured = example()["spec"]["provenance"]
    if command == "profile list":
        measured["measuredAt"] = (dt.datetime.now(dt.UTC) - dt.timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    api.add(stored(plain=plain_engine(0.8), provenance=measured), "speculationprofiles")
    api.add(stored("shared", None, provenance=measured), "clusterspeculationprofiles")
    api.add(stored("edited", "other", key="0" * 16), "speculationprofiles")
    api.add(job(COMPLETE), "jobs")
    assert shown(command, HERE[command], folder) == golden(command)


@pytest.mark.parametrize("command", FLEET)
def test_a_command_that_changes_a_policy_says_what_it_did(fleet_api: RecordedApi, tmp_path: Path, command: str) -> None:
    """And how to undo it."""
    paused = fleet_policy("chat", mode="Paused")
    paused["metadata"]["annotations"] = {"turbospec.io/mode-before-pause": "Enforce"}
    if command == "resume":
        fleet_api.answers[f"{POLICIES}/chat"] = paused
    assert shown(command, FLEET[command], tmp_path) == golden(command)


def test_the_demo_shows_engines_and_what_they_are_sent() -> None:
    """Figures differ from run to run."""
    result = CliRunner().invoke(main, ["demo", "--engines", "1", "--seconds", "2"])
    assert result.exit_code == 0, result.output
    assert re.sub(r" +", " ", re.sub(r"[+-]?\b\d+%?|(?<= )-(?= )", "N", result.stdout)) == golden("demo")


def test_a_stand_in_says_where_it_serves(folder: Path) -> None:
    """In one line, once it does."""
    program = [sys.executable, "-m", "turbospec.cli.main", "sim", "serve", str(folder / "engine.yaml")]
    ports = ["--port", "0", "--control-port", "0"]
    process = subprocess.Popen([*program, *ports], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
    finally:
        process.terminate()
        process.wait()
    assert re.sub(r"port \d+", "port PORT", line) == golden("sim serve")
