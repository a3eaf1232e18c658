"""Latency ceilings on the wire: whole milliseconds there, seconds here, nonsense refused by field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from turbospec.control.objective import Objective
from turbospec.wire.control_document import ControlDocument
from turbospec.wire.objective import LatencyCeiling, ObjectiveDocument, from_objective, to_objective
from turbospec.wire.speculation_policy import SpeculationPolicySpec

ceilings = st.none() | st.builds(LatencyCeiling, milliseconds=st.integers(1, 3_600_000), percentile=st.integers(1, 99))


@given(st.builds(ObjectiveDocument, time_per_output_token=ceilings, time_to_first_token=ceilings))
def test_ceilings_survive_the_way_through_seconds(document: ObjectiveDocument) -> None:
    """What an engine is told is what the policy says; no ceiling at all needs no document."""
    nothing = document.time_per_output_token is None and document.time_to_first_token is None
    assert from_objective(to_objective(document)) == (None if nothing else document)


def test_units_are_milliseconds_and_seconds() -> None:
    """A ceiling without a percentile is for all but the slowest tenth; one that is not set is None, not 0."""
    document = ObjectiveDocument.model_validate({"timePerOutputToken": {"milliseconds": 50}})
    assert to_objective(document) == Objective(time_per_output_token_seconds=0.05, time_per_output_token_percentile=90)
    assert to_objective(None).empty
    assert to_objective(ObjectiveDocument()).empty


@pytest.mark.parametrize(
    ("ceiling", "field"),
    [
        ({"milliseconds": 0}, "milliseconds"),
        ({"milliseconds": -50}, "milliseconds"),
        ({"milliseconds": 3_600_001}, "milliseconds"),
        ({"milliseconds": 12.5}, "milliseconds"),
        ({"milliseconds": "soon"}, "milliseconds"),
        ({"milliseconds": None}, "milliseconds"),
        ({"percentile": 90}, "milliseconds"),
        ({"milliseconds": 50, "percentile": 0}, "percentile"),
        ({"milliseconds": 50, "percentile": 100}, "percentile"),
        ({"milliseconds": 50, "percentile": 101}, "percentile"),
        ({"milliseconds": 50, "percentile": 99.9}, "percentile"),
        ({"milliseconds": 50, "percentil": 90}, "percentil"),
    ],
)
@pytest.mark.parametrize("name", ["timePerOutputToken", "timeToFirstToken"])
def test_a_ceiling_that_cannot_be_is_refused_by_field(name: str, ceiling: dict[str, Any], field: str) -> None:
    """By whoever reads it: the operator its policy, the engine its document."""
    objective = {name: ceiling}
    policy = {"selector": {"matchLabels": {"app": "chat"}}, "objective": objective}
    document = {"id": "a", "epoch": 1, "mode": "local", "allowedDraftTokens": [0, 1], "objective": objective}
    for model, content in ((SpeculationPolicySpec, policy), (ControlDocument, document)):
        with pytest.raises(ValidationError) as refusal:
            model.model_validate(content)
        assert [error["loc"] for error in refusal.value.errors()] == [("objective", name, field)]
