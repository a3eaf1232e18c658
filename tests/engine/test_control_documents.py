"""Which document is in force: fencing, overlays, idempotence, resumption. A refused document changes nothing."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from turbospec.control.engine_loop import LoopLimits, LoopSettings
from turbospec.engine.controller import FENCE_SECONDS, DocumentController
from turbospec.engine.documents import DocumentStore, dense_table, table_rows
from turbospec.engine.refusals import RequestRefusedError
from turbospec.wire.control_document import ControlDocument, ControlMode, TableRow
from turbospec.wire.engine_state import Unsupported
from turbospec.wire.objective import ObjectiveDocument

LIMITS = LoopLimits(max_num_seqs=8, max_draft_tokens=5, engine_allowed=(0, 1, 3, 5))


@dataclass
class Desk:
    """A controller with a clock to turn, a step counter and a list of what the loop was given."""

    store: DocumentStore | None = None
    now: float = 1000.0
    step: int = 0
    applied: list[LoopSettings] = field(default_factory=list)
    reason: Unsupported | None = None
    refuse: Callable[[LoopSettings], None] = lambda _: None

    def __post_init__(self) -> None:
        self.controller = DocumentController(
            LIMITS,
            apply=self._apply,
            next_step=lambda: self.step,
            unsupported=lambda: self.reason,
            clock=lambda: self.now,
            store=self.store,
        )

    def _apply(self, settings: LoopSettings) -> None:
        self.refuse(settings)
        self.applied.append(settings)

    def in_force(self) -> str | None:
        applied = self.controller.applied()
        return applied.id if applied is not None else None


def document(name: str, epoch: int = 1, k: int = 3, **more: Any) -> ControlDocument:
    row = TableRow(from_batch=1, to_batch=8, draft_tokens=k)
    return ControlDocument(id=name, epoch=epoch, mode=ControlMode.TABLE, allowed_draft_tokens=[k], table=[row], **more)


def refusal(desk: Desk, put: ControlDocument) -> RequestRefusedError:
    before = (desk.in_force(), len(desk.applied))
    with pytest.raises(RequestRefusedError) as caught:
        desk.controller.put(put)
    assert (desk.in_force(), len(desk.applied)) == before
    return caught.value


def test_the_answer_names_the_first_step_that_decides_with_the_document() -> None:
    """And a heartbeat repeats it without doing anything."""
    desk = Desk(step=41)
    answer = desk.controller.put(document("a"))
    assert (answer.id, answer.step, answer.changed) == ("a", 41, True)
    desk.step = 99
    again = desk.controller.put(document("a"))
    assert (again.id, again.step, again.changed) == ("a", 41, False)
    assert len(desk.applied) == 1
    assert desk.controller.applied_count == 1


def test_an_objective_reaches_the_loop_in_seconds() -> None:
    """Ceilings and their percentiles; without one goodput is maximised freely."""
    desk = Desk()
    desk.controller.put(document("free"))
    assert desk.applied[-1].objective.empty
    ceilings = {"timePerOutputToken": {"milliseconds": 50, "percentile": 95}}
    desk.controller.put(document("bound", objective=ObjectiveDocument.model_validate(ceilings)))
    objective = desk.applied[-1].objective
    assert objective.time_per_output_token_seconds == 0.05
    assert objective.time_per_output_token_percentile == 95
    assert objective.time_to_first_token_seconds is None


def test_documents_with_the_same_profile_share_its_model_and_others_do_not() -> None:
    """To make it takes milliseconds of the engine's interpreter."""
    from tests.engine.test_learnt_state import local_document

    desk = Desk()
    limits = {"allowedDraftTokens": [0, 1, 3, 5]}
    for name, per_draft in (("a", 2000), ("b", 2000), ("c", 500), ("d", 2000)):
        desk.controller.put(ControlDocument.model_validate({**local_document(name, per_draft), **limits}))
    models = [settings.latency for settings in desk.applied]
    assert models[0] is models[1]
    assert models[1] is not models[2]
    assert models[2] != models[3]
    assert models[3] == models[0]


def test_an_older_epoch_is_refused_until_the_newer_owner_has_been_silent() -> None:
    """A reinstalled operator is not locked out; a deposed one is."""
    desk = Desk()
    desk.controller.put(document("new", epoch=7))
    assert refusal(desk, document("old", epoch=6)).code == "StaleEpoch"
    assert refusal(desk, document("new", epoch=6)).code == "StaleEpoch"
    desk.now += FENCE_SECONDS - 1
    desk.controller.put(document("new", epoch=7))  # a heartbeat renews the claim
    desk.now += FENCE_SECONDS - 1
    assert refusal(desk, document("old", epoch=6)).code == "StaleEpoch"
    desk.now += 1
    assert desk.controller.put(document("old", epoch=6)).changed
    assert desk.controller.put(document("next", epoch=6, k=1)).changed


def test_a_heartbeat_with_a_newer_epoch_moves_the_fence() -> None:
    """A new leader that has nothing to change still shuts the old one out."""
    desk = Desk()
    desk.controller.put(document("a", epoch=1))
    assert not desk.controller.put(document("a", epoch=2)).changed
    assert refusal(desk, document("b", epoch=1)).code == "StaleEpoch"
    applied = desk.controller.applied()
    assert applied is not None
    assert applied.epoch == 2


def test_an_overlay_gives_way_to_the_document_under_it() -> None:
    """The base document may change meanwhile, and is what returns."""
    desk = Desk()
    desk.controller.put(document("base", k=3))
    desk.controller.put(document("over", k=5, ttl_seconds=10))
    assert desk.in_force() == "over"
    desk.controller.put(document("base-2", k=1))
    assert desk.in_force() == "over"
    desk.now += 9.9
    desk.controller.tick()
    assert desk.in_force() == "over"
    desk.now += 0.1
    desk.controller.tick()
    assert desk.in_force() == "base-2"
    assert [settings.allowed for settings in desk.applied] == [(3,), (5,), (1,)]


def test_a_repeated_overlay_lives_longer_and_a_lone_one_leaves_the_start_up_table() -> None:
    """Its time counts from the last repetition."""
    desk = Desk()
    desk.controller.put(document("over", ttl_seconds=10))
    desk.now += 8
    assert not desk.controller.put(document("over", ttl_seconds=10)).changed
    desk.now += 8
    desk.controller.tick()
    assert desk.in_force() == "over"
    desk.now += 2
    desk.controller.tick()
    assert desk.in_force() is None
    assert desk.applied[-1] == LoopSettings(mode="local", allowed=LIMITS.engine_allowed)


@pytest.mark.parametrize(
    ("bad", "code", "word"),
    [
        (document("x", k=2), "NotAllowed", "[0, 1, 3, 5]"),
        (document("x", k=64), "NotAllowed", "[64]"),
    ],
)
def test_a_k_outside_the_engines_set_is_refused(bad: ControlDocument, code: str, word: str) -> None:
    """The message names the K that cannot be run and those that can."""
    desk = Desk()
    desk.controller.put(document("good"))
    error = refusal(desk, bad)
    assert error.code == code
    assert word in error.message


def test_settings_that_the_loop_refuses_leave_the_last_good_document() -> None:
    """The loop's own words reach the sender."""

    def refuse(settings: LoopSettings) -> None:
        if settings.allowed == (5,):
            raise ValueError("cells make no sense")

    desk = Desk(refuse=refuse)
    desk.controller.put(document("good"))
    error = refusal(desk, document("bad", k=5))
    assert (error.code, error.message) == ("Invalid", "cells make no sense")


def test_an_engine_that_cannot_be_steered_refuses_with_its_reason() -> None:
    """So that the operator can show it."""
    desk = Desk(reason=Unsupported(code="DataParallel", message="two ranks"))
    error = refusal(desk, document("a"))
    assert (error.code, error.message) == ("Unsupported", "DataParallel: two ranks")


def test_a_restarted_engine_resumes_and_then_obeys_whoever_comes_first(tmp_path: Path) -> None:
    """The document from disk has no authority: a lower epoch replaces it at once."""
    store = DocumentStore(tmp_path / "control.json")
    Desk(store=store).controller.put(document("last", epoch=9, k=1))
    desk = Desk(store=store)
    desk.controller.resume()
    assert desk.in_force() == "last"
    assert desk.applied[-1].allowed == (1,)
    assert desk.controller.put(document("first", epoch=2, k=5)).changed
    assert refusal(desk, document("late", epoch=1)).code == "StaleEpoch"


def test_overlays_are_not_resumed(tmp_path: Path) -> None:
    """They were meant for minutes of another process."""
    store = DocumentStore(tmp_path / "control.json")
    Desk(store=store).controller.put(document("over", ttl_seconds=600))
    desk = Desk(store=store)
    desk.controller.resume()
    assert desk.in_force() is None


@pytest.mark.parametrize("content", ["", "{", '{"id": "a"}', "[]", "\x00\xff", "9" * 70000])
def test_a_spoilt_file_is_ignored(tmp_path: Path, content: str) -> None:
    """The engine then starts with its start-up table."""
    (tmp_path / "control.json").write_text(content, encoding="latin-1")
    desk = Desk(store=DocumentStore(tmp_path / "control.json"))
    desk.controller.resume()
    assert desk.in_force() is None


def test_a_file_whose_k_the_engine_no_longer_allows_is_ignored(tmp_path: Path) -> None:
    """The engine may have been started with other arguments since."""
    store = DocumentStore(tmp_path / "control.json")
    store.save(document("old", k=4))
    desk = Desk(store=store)
    desk.controller.resume()
    assert desk.in_force() is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """The folder may be one that everybody writes to."""
    DocumentStore(tmp_path / "real.json").save(document("planted"))
    (tmp_path / "control.json").symlink_to(tmp_path / "real.json")
    assert DocumentStore(tmp_path / "control.json").load() is None
    assert DocumentStore(tmp_path / "real.json").load() is not None


def test_a_disk_that_cannot_be_written_costs_only_the_resumption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing folder, and a disk that fills while writing: the document is applied, nothing half-written stays."""
    Desk(store=DocumentStore(tmp_path / "nowhere" / "control.json")).controller.put(document("a"))

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    desk = Desk(store=DocumentStore(tmp_path / "control.json"))
    monkeypatch.setattr(os, "write", full)
    desk.controller.put(document("b"))
    desk.controller.put(document("c"))
    assert desk.in_force() == "c"
    assert list(tmp_path.iterdir()) == []
    assert sum("will not resume it" in message for message in caplog.messages) == 2  # one for each disk


def test_table_rows_and_dense_tables_say_the_same() -> None:
    """Above the last row its K goes on; rows beyond the engine's batch are cut."""
    rows = [TableRow(from_batch=1, to_batch=2, draft_tokens=5), TableRow(from_batch=3, to_batch=5, draft_tokens=1)]
    dense = dense_table(rows, 8)
    assert dense[1:] == (5, 5, 1, 1, 1, 1, 1, 1)
    assert [(row.from_batch, row.to_batch, row.draft_tokens) for row in table_rows(dense)] == [(1, 2, 5), (3, 8, 1)]
    assert dense_table(rows, 1)[1:] == (5,)
    assert [(row.from_batch, row.to_batch) for row in table_rows((0, 4))] == [(1, 1)]
