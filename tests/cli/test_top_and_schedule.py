"""`top` and `schedule`: what engines run, deliver and gain, and K by batch, out of the policies' statuses alone."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cli.fleet_samples import CHAT, CODE, POLICIES, golden, run
from tests.cli.recorded_api import RecordedApi
from turbospec.cli.errors import CommandError
from turbospec.cli.fleet import top
from turbospec.cli.fleet.top import text


@pytest.mark.usefixtures("fleet_api")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("top", ["top", "--once"]),
        ("top-all", ["top", "--once", "-A"]),
        ("top-json", ["top", "chat", "-o", "json"]),
        ("schedule", ["schedule", "chat"]),
        ("schedule-pod", ["schedule", "pod/code-1"]),
        ("schedule-json", ["schedule", "chat-1", "-o", "json"]),
    ],
)
def test_people_and_programs_read_this(name: str, arguments: list[str]) -> None:
    """What is not known is -, or null, never 0."""
    golden(name, run(*arguments))


@pytest.mark.usefixtures("fleet_api")
@pytest.mark.parametrize("arguments", [["top"], ["schedule", "chat"]], ids=" ".join)
def test_json_and_yaml_are_one_document(arguments: list[str]) -> None:
    """And nothing else is on stdout."""
    assert yaml.safe_load(run(*arguments, "-o", "yaml").stdout) == json.loads(run(*arguments, "-o", "json").stdout)


def test_nothing_but_policies_is_asked_for(fleet_api: RecordedApi) -> None:
    """Who may read policies needs no other right: no pods, no proxy, no Secret."""
    run("top", "--once")
    run("schedule", "chat")
    assert set(fleet_api.asked) == {POLICIES, f"{POLICIES}/chat"}


def decision(k: int, **rates: int) -> dict[str, object]:
    """A decision for this K, with the predicted goodput of each K as ``k3=150``."""
    predictions = [{"draftTokens": int(name[1:]), "tokensPerSecond": rate} for name, rate in rates.items()]
    return {"draftTokens": k, "reason": "HighestGoodput", "predictions": predictions}


@pytest.mark.parametrize(
    ("decided", "gain"),
    [
        (decision(3, k0=100, k3=150), 50),
        (decision(0, k0=100, k3=90), 0),
        (decision(3, k0=100, k3=80), -20),
        (decision(3, k3=150), None),
        (decision(3, k0=0, k3=9), None),
        (decision(7, k0=100, k3=150), None),
        ({"draftTokens": 7, "reason": "OnlyAllowed"}, None),
        (None, None),
    ],
)
def test_the_gain_is_that_of_the_k_in_use_against_off(
    fleet_api: RecordedApi, decided: object, gain: int | None
) -> None:
    """Without a prediction of both it is not known; a loss is shown as one."""
    changed = copy.deepcopy(CODE)
    changed["status"]["engines"][0]["decision"] = decided
    fleet_api.answers[POLICIES] = {"items": [changed]}
    (found,) = json.loads(run("top", "-o", "json").stdout)["engines"]
    assert found["gainPercent"] == gain


def test_without_engines_there_is_a_remedy(fleet_api: RecordedApi) -> None:
    """A policy without a status, and no policy."""
    fleet_api.answers[POLICIES] = {"items": []}
    assert "No policy of namespace team governs an engine; see: turbospec status" in run("top").stdout


def test_looks_follow_each_other_and_survive_a_lost_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last good figures stay, with the error below them; the first look must succeed."""
    answers: Iterator[list[object] | CommandError] = iter([[CODE], CommandError("gone"), [CHAT], CommandError("gone")])

    def found(*_: object) -> list[object]:
        answer = next(answers)
        if isinstance(answer, CommandError):
            raise answer
        return answer

    monkeypatch.setattr("turbospec.cli.fleet.policies.found", found)
    looks = top.pictures(None, "team", None)  # type: ignore[arg-type]  # what it would ask is replaced above
    first, lost, third = next(looks), next(looks), next(looks)
    assert "code-1" in first
    assert lost == f"{first}\n\ngone"
    assert "chat-1" in third
    with pytest.raises(CommandError):
        next(top.pictures(None, "team", None))  # type: ignore[arg-type]


def test_who_has_seen_enough_keeps_the_last_look(capsys: pytest.CaptureFixture[str]) -> None:
    """Interrupted between two looks: no traceback, exit status 0."""
    waits = iter([None, None])

    def wait() -> None:
        try:
            next(waits)
        except StopIteration:
            raise KeyboardInterrupt from None

    top._follow(iter(["one", "two", "three", "four"]), wait)
    assert capsys.readouterr().out.splitlines()[-1] == "three"


def test_figures_are_summed_up_over_those_that_are_known() -> None:
    """An engine that was not heard of delivers an unknown number of tokens."""
    figures = {"policy": "p", "namespace": "n", "pod": "a", "hardware": None, "batch": None, "draftTokens": None}
    rows: list[dict[str, Any]] = [
        {**figures, "controlled": True, "acceptancePercent": None, "tokensPerSecond": 40, "gainPercent": None},
        {**figures, "controlled": False, "acceptancePercent": None, "tokensPerSecond": None, "gainPercent": None},
    ]
    assert text(rows, "n").splitlines()[-1] == "2 engine(s), 1 controlled; 40 tokens/s from 1 of them"
    assert text(rows[1:], "n").splitlines()[-1] == "1 engine(s), 0 controlled"
