"""Latency models on the wire: integers there, seconds here."""

from dataclasses import replace

import pytest

from turbospec.control.latency import InvalidProfileError, MeasuredCell, build_latency_model
from turbospec.wire.latency import LatencyDocument, from_model, to_model


def document() -> LatencyDocument:
    cells = [
        MeasuredCell(b, 256, k, 0, 0.006 + 2e-5 * b * (k + 1) + 0.001 * k, 12) for b in (1, 8, 64) for k in (0, 1, 3)
    ]
    return from_model(build_latency_model(cells))


def test_a_document_survives_the_round_trip_through_a_model_and_json() -> None:
    """Rounding happens once: what was read is written again unchanged."""
    there = document()
    assert from_model(to_model(there)) == there
    assert LatencyDocument.model_validate(there.as_json()) == there


@pytest.mark.parametrize(("doubt", "permille"), [(0.0, None), (0.0004, None), (0.0583, 58), (0.3, 300)])
def test_the_doubt_of_a_stand_in_goes_with_it(doubt: float, permille: int | None) -> None:
    """Engines that know nothing of it are told nothing where there is none."""
    sent = from_model(replace(to_model(document()), doubt=doubt))
    assert sent.as_json().get("doubtPermille") == permille
    assert to_model(sent).doubt == (permille or 0) / 1000


def test_units_are_microseconds_and_picoseconds() -> None:
    """A cell of 7.06 ms is 7060 on the wire; a fixed cost of 6 ms is 6e9."""
    there = document()
    cell = next(c for c in there.cells if (c.batch, c.draft_tokens) == (1, 1))
    assert cell.microseconds == 7040
    assert there.fit.per_step == pytest.approx(6_000_000_000, rel=0.01)
    model = to_model(there)
    assert model.step_seconds(decodes=1, draft_tokens=1, kv_tokens=256) == pytest.approx(0.00704)


def test_the_fit_of_the_document_is_kept() -> None:
    """A document's fit is used as it is, not fitted again from its cells."""
    there = document()
    moved = there.model_copy(update={"fit": there.fit.model_copy(update={"per_kv_token": 5000})})
    assert to_model(moved).fit.per_kv_token == 5e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"microseconds": 60_000_000}, "batch 1, contextTokens 256, draftTokens 0"),
        ({"draft_tokens": 2}, None),
    ],
)
def test_a_hand_edited_cell_that_makes_no_sense_is_refused_by_name(change: dict[str, int], message: str | None) -> None:
    """Nonsense is refused with the cell's name; an unusual but possible cell is not."""
    there = document()
    edited = there.model_copy(update={"cells": [there.cells[0].model_copy(update=change), *there.cells[1:]]})
    if message is None:
        to_model(edited)
        return
    with pytest.raises(InvalidProfileError, match=message):
        to_model(edited)


def test_a_document_without_draft_length_zero_is_refused() -> None:
    """K = 0 is what everything is compared with."""
    there = document()
    edited = there.model_copy(update={"cells": [cell for cell in there.cells if cell.draft_tokens > 0]})
    with pytest.raises(InvalidProfileError, match="draftTokens 0"):
        to_model(edited)


def test_a_fit_of_zeros_is_refused() -> None:
    """A fit in which steps cost nothing cannot extrapolate."""
    there = document()
    nothing = dict.fromkeys(type(there.fit).model_fields, 0)
    with pytest.raises(InvalidProfileError, match="no cost"):
        to_model(there.model_copy(update={"fit": there.fit.model_copy(update=nothing)}))
