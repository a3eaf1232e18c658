"""``turbospec demo``: real loops over simulated engines, and a table in which K follows load and text."""

import re

import pytest
from click.testing import CliRunner, Result

from turbospec.cli.demo import command
from turbospec.cli.main import main

ROW = re.compile(r"^chat +(chat-\d) +simulated H100 +(\d+) +(\d) +(\d+%|-) +(\d+|-) +([+-]\d+%|-)$", re.MULTILINE)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Result:
    """Four loads of two seconds each: all phases, on every engine."""
    monkeypatch.setattr(command, "ROUND_SECONDS", 0.25)
    monkeypatch.setattr(command, "TURN_SECONDS", 2.0)
    return CliRunner().invoke(main, ["demo", "--engines", "2", "--seconds", "8"])


def test_k_moves_with_the_load(shown: Result) -> None:
    """Long drafts for few clients with predictable text, short ones or none for many; all are controlled."""
    assert shown.exit_code == 0, shown.output
    rows = ROW.findall(shown.stdout)
    assert len(rows) == 8, shown.stdout
    assert shown.stdout.count("2 engine(s), 2 controlled") == 4
    few = {int(k) for _, batch, k, *_ in rows if int(batch) <= 8}
    many = {int(k) for _, batch, k, *_ in rows if int(batch) > 48}
    assert max(few) >= 3
    assert max(many) <= 1
