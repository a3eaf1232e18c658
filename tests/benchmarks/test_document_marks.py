"""Figures that benchmarks put into a document."""

from pathlib import Path

import pytest

from benchmarks.document import DOCUMENT, write_between


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    """Twice is once."""
    document = tmp_path / "benchmarks.md"
    document.write_text("before\n<!-- a: begin -->\nold\n<!-- a: end -->\nafter <!-- b: begin -->\n")
    write_between("a", ["new"], document)
    write_between("a", ["new"], document)
    assert document.read_text() == ("before\n<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\nafter <!-- b: begin -->\n")


@pytest.mark.parametrize("text", ["", "<!-- a: begin -->", "<!-- a: begin --> <!-- a: end --> <!-- a: end -->"])
def test_a_document_without_the_marks_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    """Nothing is guessed."""
    document = tmp_path / "benchmarks.md"
    document.write_text(text)
    with pytest.raises(ValueError, match="once each"):
        write_between("a", ["new"], document)
    assert document.read_text() == text


@pytest.mark.parametrize("name", ["results", "closed loop", "profiles", "plain start"])
def test_the_document_has_the_marks_of_all_benchmarks(name: str) -> None:
    """Found out here, and not after an hour of measuring."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.count(f"<!-- {name}: begin -->") == text.count(f"<!-- {name}: end -->") == 1
