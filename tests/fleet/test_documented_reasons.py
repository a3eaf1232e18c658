"""Every reason that TurboSpec gives is documented with a remedy, and produced on a real API server by a test."""

import ast
import inspect
import re
from pathlib import Path

from tests.fleet.reasons import reasons
from tests.operator.reason_cases import CASES, ELSEWHERE
from turbospec.fleet import scale_events

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"


def test_every_reason_has_a_remedy() -> None:
    """One row of the page for each, and none for what nobody says."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    documented = {name for name, _, remedy in rows if remedy.strip()}
    assert reasons() == documented
    assert len(rows) == len(documented)


def test_every_word_about_a_scale_event_is_explained() -> None:
    """States and reasons are labels of a series that people write alerts on."""
    tree = ast.parse(inspect.getsource(scale_events))
    words = {
        str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    said = {word for word in words if re.fullmatch(r"(?:[A-Z][a-z]+){2,}|Steady|Unknown", word)}
    assert {"UpImminent", "NodesAwaited", "Steady"} <= said
    page = (PAGE.parent / "autoscaling.md").read_text()
    assert {word for word in said if f"`{word}`" not in page} == set()


def test_every_reason_is_produced_on_a_real_api_server() -> None:
    """By one of the cases there, each of which is run by a test."""
    produced = {reason for case in CASES.values() for reason in case.reasons}
    assert reasons() == produced | set(ELSEWHERE)
