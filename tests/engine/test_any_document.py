"""Whatever is in a document: it is refused with its cause and changes nothing, or the engine loop can live with it."""

import json
import math
from collections.abc import Iterator
from copy import deepcopy
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.live import GOOD
from tests.engine.test_learnt_state import local_document
from turbospec.control.engine_loop import EngineLoop, LoopLimits
from turbospec.control.step import StepComposition, StepRecord
from turbospec.engine.controller import DocumentController
from turbospec.engine.documents import parse_document
from turbospec.engine.refusals import RequestRefusedError

MAXIMUM = 5
LIMITS = LoopLimits(8, MAXIMUM, tuple(range(MAXIMUM + 1)), graph_sizes=(1, 2, 4, 8, 16), max_num_batched_tokens=2048)
CEILING = {"milliseconds": 50, "percentile": 95}
FULL: dict[str, Any] = {
    **local_document("full"),
    "version": 1,
    "objective": {"timePerOutputToken": CEILING, "timeToFirstToken": CEILING},
    "acceptancePrior": [{"acceptance": 0.8, "samples": 100}, {"acceptance": 0.6, "samples": 50.5}],
    "policy": {"namespace": "shop", "name": "chat", "generation": 3},
    "reason": "a test",
    "ttlSeconds": 60,
}
# Few cells, so that the other places are drawn as often.
FULL["latency"] |= {"doubtPermille": 100, "cells": [c for c in FULL["latency"]["cells"] if c["batch"] in (1, 8)][::5]}

ODD: st.SearchStrategy[Any] = st.sampled_from((
    None, True, False, "", "3", "soon", [], {}, [[]], {"a": 1}, 0, -1, 1, 2, 7, 64, 65, 1.5, 2.0, -0.0, 1e-9, 1e308,
    2**31, 2**63, 10**18, -(10**18), 10**400, float("nan"), float("inf"), "\ud800", "x" * 2000, "NaN",
))  # fmt: skip
CHANGES = st.sampled_from(["set", "set", "remove", "double", "add"])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, its own root included."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(document: Any, path: tuple[Any, ...], change: str, odd: Any) -> Any:
    """The document with one place replaced, taken out, doubled, or with one field more."""
    if not path:
        return odd
    document = deepcopy(document)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if change == "remove":
        del parent[path[-1]]
    elif change == "double" and isinstance(parent, list):
        parent.insert(path[-1], parent[path[-1]])
    elif change == "add" and isinstance(parent, dict):
        parent["more"] = odd
    else:
        parent[path[-1]] = odd
    return document


class Engine:
    """The engine loop behind the controller, as in an engine, and steps of it."""

    def __init__(self) -> None:
        self.loop = EngineLoop(LIMITS, (0, *[MAXIMUM] * 8))
        self.numbers, self.now = count(), 0.0
        self.controller = DocumentController(
            LIMITS,
            apply=self.loop.configure,
            next_step=lambda: 0,
            unsupported=lambda: None,
            clock=lambda: 0.0,
            store=None,
        )

    def put(self, body: bytes) -> None:
        self.controller.put(parse_document(body))

    def refusal(self, body: bytes) -> RequestRefusedError | None:
        try:
            self.put(body)
        except RequestRefusedError as refused:
            return refused
        return None

    def serve(self, steps: int) -> None:
        """Raises what would end the runtime's part in the engine."""
        asked = 0
        for _ in range(steps):
            number = next(self.numbers)
            batch = number % 8 + 1
            k = self.loop.draft_tokens(StepComposition(batch, 100 * (number % 5 == 0), 300 * batch, 0))
            assert type(k) is int
            assert k in self.controller.settings().allowed
            took = 0.001 * (1 + number % 3)
            self.now += took
            accepted = min(asked, number % 4)
            per_position = tuple(batch if j < asked else 0 for j in range(MAXIMUM))
            self.loop.observe(
                StepRecord(
                    number, self.now, took, asked, k, batch, 0, 300 * batch, 0, batch * (1 + accepted), batch * asked,
                    asked, batch if asked else 0, per_position,
                    tuple(batch if j < accepted else 0 for j in range(MAXIMUM)),
                )
            )  # fmt: skip
            asked = k
        self.loop.estimates()
        self.loop.decision()
        latency = self.controller.settings().latency
        if latency is not None:  # what a scrape asks
            assert 0 < latency.step_seconds(decodes=4, draft_tokens=asked, kv_tokens=1200, prefill_tokens=50) < math.inf


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_document_raises_anything_but_a_refusal(data: st.DataObject) -> None:
    """One place of a good document is anything at all; what was in force before stays where it is refused."""
    base = data.draw(st.sampled_from([GOOD, FULL, FULL]))
    path = data.draw(st.sampled_from(list(places(base))))
    document = changed(
        base, path, data.draw(st.sampled_from(["set", "set", "remove", "double", "add"])), data.draw(ODD)
    )
    engine = Engine()
    engine.put(json.dumps(local_document("before")).encode())
    engine.serve(40)
    before = (engine.controller.applied(), engine.controller.settings())
    refusal = engine.refusal(json.dumps(document).encode())
    if refusal is not None:
        assert refusal.status < 500
        assert refusal.message
        assert (engine.controller.applied(), engine.controller.settings()) == before
    engine.serve(80)


@pytest.mark.parametrize(
    ("path", "odd"),
    [
        (("epoch",), "3"),
        (("epoch",), True),
        (("epoch",), 3.0),
        (("epoch",), 10**400),
        (("id",), 5),
        (("version",), True),
        (("version",), "1"),
        (("mode",), True),
        (("allowedDraftTokens", 1), "1"),
        (("allowedDraftTokens", 1), True),
        (("allowedDraftTokens", 1), 1.0),
        (("latency", "cells", 0, "batch"), "1"),
        (("latency", "cells", 0, "batch"), 0),
        (("latency", "cells", 0, "microseconds"), -5),
        (("latency", "cells", 0, "microseconds"), 0),
        (("latency", "cells", 0, "microseconds"), 1.5),
        (("latency", "cells", 0, "samples"), True),
        (("latency", "fit", "perStep"), -1),
        (("latency", "fit", "perStep"), 10**400),
        (("latency", "fit", "perKvToken"), 10**18),
        (("objective", "timePerOutputToken", "milliseconds"), "50"),
        (("objective", "timePerOutputToken", "percentile"), 100),
        (("acceptancePrior", 0, "acceptance"), "0.8"),
        (("acceptancePrior", 0, "samples"), -1),
        (("ttlSeconds",), "60"),
        (("ttlSeconds",), True),
        (("reason",), 7),
    ],
)  # fmt: skip
def test_a_wrong_type_or_an_impossible_number_is_refused_by_its_place(path: tuple[Any, ...], odd: Any) -> None:
    """Nothing is taken for something like it: text for a number, a truth value for one, a fraction for a count."""
    with pytest.raises(RequestRefusedError) as caught:
        parse_document(json.dumps(changed(FULL, path, "set", odd)).encode())
    assert caught.value.code == "Invalid"
    assert caught.value.message.startswith(".".join(map(str, path)))


def test_the_document_of_the_table_above_is_good() -> None:
    """So that the table fails for the reason it names."""
    engine = Engine()
    engine.put(json.dumps(FULL).encode())
    applied = engine.controller.applied()
    assert applied is not None
    assert applied.id == "full"
    engine.serve(80)
