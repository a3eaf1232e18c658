"""What was learnt survives a restart; whatever is wrong with the file or the disk costs only that."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engine.fakes import engine_facts
from tests.engine.live import Engine, start, wait_for
from turbospec.engine import learnt as learnt_module
from turbospec.engine.learnt import MAX_AGE_SECONDS, MAX_BYTES, LearntStore
from turbospec.engine.runtime import EngineRuntime
from turbospec.engine.state_file import StateFile


def local_document(name: str = "local", per_draft: int = 2000) -> dict[str, Any]:
    """The engine loop decides, with step times of about those of the fake steps."""
    cells = [
        {"batch": batch, "contextTokens": 300, "draftTokens": k, "microseconds": 1000 + per_draft * k, "samples": 20}
        for batch in (1, 2, 4, 8)
        for k in range(6)
    ]
    fit = dict.fromkeys(("perBatchedToken", "perKvToken", "perDraftingStep", "perDraftToken"), 0)
    fit |= {"perStep": 10**9, "perDraftPass": per_draft * 10**6}
    latency = {"cells": cells, "fit": fit}
    allowed = list(range(6))
    return {"id": name, "epoch": 1, "mode": "local", "allowedDraftTokens": allowed, "latency": latency}


def learn(engine: Engine, steps: int = 400) -> None:
    """Steps enough for acceptance and step times to be known."""
    engine.scheduler.add("a")
    for _ in range(steps):
        engine.step()


def kept(folder: Path) -> Path:
    (found,) = folder.glob("turbospec-*-learnt.json")
    return found


def stopped(folder: Path, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """An engine that has served and was shut down; what it had learnt by then."""
    engine = start(folder)
    engine.put(document or local_document())
    learn(engine)
    saved = engine.attached.runtime.save()
    engine.scheduler.shutdown()
    assert saved is not None
    assert saved["acceptance"]["memory"]["steps"] + len(saved["acceptance"]["sums"]) > 1
    return saved


@pytest.fixture
def again(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Starts an engine in the same folder; all are shut down at the end."""
    started: list[Engine] = []

    def one(facts: Any = None) -> Engine:
        started.append(start(tmp_path, facts=facts))
        return started[-1]

    yield one
    for engine in started:
        engine.scheduler.shutdown()


def test_a_restarted_engine_goes_on_from_what_it_had_learnt(tmp_path: Path, again: Callable[..., Engine]) -> None:
    """Text and step times, to the last digit, and its first answer already tells them."""
    saved = stopped(tmp_path)
    assert saved["bias"] is not None
    engine = again()
    assert engine.attached.runtime.save() == saved
    state = engine.state()
    assert state.applied is not None
    assert state.applied.id == "local"
    assert state.acceptance[0].acceptance is not None
    assert state.latency_bias is not None
    engine.scheduler.add("a")
    for _ in range(200):
        assert engine.step() in range(6)
    assert engine.state().unsupported is None


def test_an_engine_that_is_killed_has_lost_no_more_than_the_interval(
    tmp_path: Path, again: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written while serving, by the housekeeping thread and never by the engine's."""
    monkeypatch.setattr(learnt_module, "SAVE_SECONDS", 0.0)
    writers: list[int] = []
    write = StateFile.write

    def noted(self: StateFile, data: bytes) -> bool:
        written = write(self, data)
        writers.append(threading.get_ident())
        return written

    engine = again()
    engine.put(local_document())
    monkeypatch.setattr(StateFile, "write", noted)
    learn(engine)
    wait_for(lambda: writers and any(tmp_path.glob("turbospec-*-learnt.json")))
    assert threading.get_ident() not in writers
    after_a_kill = again()
    assert after_a_kill.state().acceptance[0].acceptance is not None


def test_step_times_of_another_profile_are_not_taken_over(tmp_path: Path, again: Callable[..., Engine]) -> None:
    """The document was replaced after the last save: acceptance stays, corrections of the old profile do not."""
    saved = stopped(tmp_path)
    document = next(path for path in tmp_path.glob("turbospec-*.json") if "learnt" not in path.name)
    document.write_text(json.dumps(local_document("newer", per_draft=500)))
    restored = again().attached.runtime.save()
    assert restored is not None
    assert restored["acceptance"] == saved["acceptance"]
    assert restored["bias"] != saved["bias"]
    assert restored["bias"]["mean"][:1] == [1.0]


def sealed(body: bytes) -> bytes:
    return learnt_module._seal(body)


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """The file with a change in its content and a checksum that fits."""

    def edit(data: bytes) -> bytes:
        content = json.loads(data.partition(b"\n")[2])
        change(content)
        return sealed(json.dumps(content).encode())

    return edit


SPOILT: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "spoilt"),
    "cut short": (lambda data: data[: len(data) // 2], "spoilt"),
    "one bit": (lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:], "spoilt"),
    "not JSON": (lambda _: sealed(b"{"), "spoilt"),
    "a list": (lambda _: sealed(b"[]"), "spoilt"),
    "deeply nested": (lambda _: sealed(b"[" * 100_000), "spoilt"),
    "nothing learnt": (edited(lambda content: content.pop("learnt")), "spoilt"),
    "other counts": (edited(lambda content: content["learnt"]["acceptance"]["memory"]["hits"].pop()), "spoilt"),
    "impossible counts": (
        edited(lambda content: content["learnt"]["acceptance"]["memory"]["hits"].__setitem__(0, 1e9)),
        "spoilt",
    ),
    "too large": (lambda data: data + b" " * MAX_BYTES, "bytes"),
    "another engine's": (edited(lambda content: content.update(profileKey="other")), "profileKey"),
    "another K set": (edited(lambda content: content.update(allowedDraftTokens=[0, 5])), "allowedDraftTokens"),
    "another release's": (edited(lambda content: content.update(runtimeVersion="0.0.1")), "runtimeVersion"),
    "old": (edited(lambda content: content.update(saved=content["saved"] - MAX_AGE_SECONDS - 60)), "ago"),
    "from the future": (edited(lambda content: content.update(saved=content["saved"] + 4000)), "ago"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_file_that_does_not_fit_is_ignored_with_one_line(
    tmp_path: Path, again: Callable[..., Engine], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """The engine starts as if it were new, and is steered."""
    stopped(tmp_path)
    spoil, word = SPOILT[name]
    kept(tmp_path).write_bytes(spoil(kept(tmp_path).read_bytes()))
    caplog.clear()
    engine = again()
    lines = [message for message in caplog.messages if "what was learnt" in message]
    assert len(lines) == 1
    assert word in lines[0]
    state = engine.state()
    assert state.acceptance[0].acceptance is None
    assert state.unsupported is None
    engine.scheduler.add("a")
    assert engine.step() in range(6)


def test_the_unspoilt_file_of_the_table_above_is_taken_up(tmp_path: Path, again: Callable[..., Engine]) -> None:
    """So that the table fails for the reason it names."""
    stopped(tmp_path)
    kept(tmp_path).write_bytes(edited(lambda _: None)(kept(tmp_path).read_bytes()))
    assert again().state().acceptance[0].acceptance is not None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_opened_into_the_engine(
    tmp_path: Path, again: Callable[..., Engine], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """A link may lead anywhere, and a pipe would never end; the start is not held up."""
    stopped(tmp_path)
    path = kept(tmp_path)
    content = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    caplog.clear()
    assert again().state().acceptance[0].acceptance is None
    assert sum("what was learnt" in message for message in caplog.messages) == 1


def test_a_missing_file_is_no_event(again: Callable[..., Engine], caplog: pytest.LogCaptureFixture) -> None:
    """Every first start has none."""
    again()
    assert not [message for message in caplog.messages if "learnt" in message or "control document" in message]


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def store_of(engine: Engine, path: Path, clock: Clock) -> LearntStore:
    return LearntStore(path, engine.attached.runtime, document_id=lambda: "local", clock=clock)


def test_it_is_written_every_30_seconds_at_most_and_not_while_nothing_happens(
    tmp_path: Path, again: Callable[..., Engine]
) -> None:
    """An idle engine writes nothing at all."""
    engine, clock, path = again(), Clock(), tmp_path / "x.json"
    store = store_of(engine, path, clock)
    clock.now += 31
    store.save_if_due()
    assert not path.exists()
    learn(engine, 5)
    clock.now += 29
    store.save_if_due()
    assert not path.exists()
    clock.now += 1
    store.save_if_due()
    assert path.exists()
    path.unlink()
    clock.now += 1000
    store.save_if_due()
    assert not path.exists()
    engine.step()
    clock.now += 10
    store.save_if_due()
    clock.now += 19.9
    store.save_if_due()
    assert not path.exists()
    clock.now += 0.2
    store.save_if_due()
    assert path.exists()


def test_a_disk_that_stays_full_is_one_line_and_is_tried_again(
    tmp_path: Path,
    again: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The file before stays whole, nothing half-written is left, and the end of the trouble is said as well."""
    caplog.set_level("INFO")
    engine, clock, path = again(), Clock(), tmp_path / "state" / "x.json"
    path.parent.mkdir()
    store = store_of(engine, path, clock)
    learn(engine, 5)
    store.save()
    before = path.read_bytes()

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for _ in range(5):
            engine.step()
            store.save()
    assert [path.name for path in path.parent.iterdir()] == ["x.json"]
    assert path.read_bytes() == before
    assert sum("No space left" in message for message in caplog.messages) == 1
    engine.step()
    store.save()
    assert path.read_bytes() != before
    assert sum("again" in message for message in caplog.messages) == 1


def test_an_engine_whose_loop_failed_does_not_take_the_cause_along(
    tmp_path: Path, again: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learnt may be what it failed on: the restarted engine begins anew."""
    stopped(tmp_path)
    engine = again()
    assert kept(tmp_path).exists()

    def broken(*_: Any) -> int:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(engine.attached.runtime.loop, "draft_tokens", broken)
    engine.scheduler.add("a")
    engine.step()
    engine.scheduler.shutdown()
    assert not list(tmp_path.glob("*-learnt.json"))


def test_two_ranks_keep_what_they_learnt_apart(tmp_path: Path, again: Callable[..., Engine]) -> None:
    """They share a folder, not their text."""
    for rank in (0, 1):
        facts = engine_facts()
        engine = again(replace(facts, info=facts.info.model_copy(update={"data_parallel_rank": rank})))
        learn(engine, 5)
        engine.scheduler.shutdown()
    assert len(list(tmp_path.glob("*-learnt.json"))) == 2


def test_saving_never_makes_a_step_wait_and_no_record_is_lost(again: Callable[..., Engine]) -> None:
    """While another thread has the loop, records wait; then the loop gets every one of them."""
    engine = again()
    runtime: EngineRuntime = engine.attached.runtime
    engine.scheduler.add("a")
    engine.step()
    seen: list[int] = []
    loop: Any = runtime.loop
    loop.observe = lambda record: seen.append(record.seq)
    with runtime._loop_lock:
        for _ in range(50):
            engine.step()
        assert seen == []
    engine.step()
    assert seen == list(range(51))
