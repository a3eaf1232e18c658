"""GET /metrics of an engine that idles has no gauges of recent steps: what it once measured is not what it does now."""

import pytest

from tests.dashboards.stand_in_fleet import MODEL
from tests.engine.support import Rig, make_rig
from turbospec.engine.controller import DocumentController
from turbospec.engine.metrics import RECENT_SECONDS, metrics_registry, metrics_text
from turbospec.wire.control_document import ControlDocument
from turbospec.wire.latency import from_model

RECENT = {
    "turbospec_engine_goodput_tokens_per_second",
    'turbospec_engine_step_seconds{kind="measured"}',
    'turbospec_engine_step_seconds{kind="predicted"}',
    'turbospec_engine_predicted_goodput_tokens_per_second{draft_tokens="0"}',
    'turbospec_engine_predicted_goodput_tokens_per_second{draft_tokens="3"}',
    "turbospec_engine_predicted_gain_ratio",
}
LASTING = {
    "turbospec_engine_steps_total",
    "turbospec_engine_generated_tokens_total",
    "turbospec_engine_draft_tokens",
    'turbospec_engine_acceptance_rate{position="0"}',
}


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """An engine with one request."""
    found = make_rig(monkeypatch)
    found.scheduler.add("a")
    return found


@pytest.fixture
def controller(rig: Rig) -> DocumentController:
    """Which has a latency model in force."""
    controller = DocumentController(
        rig.runtime.loop_limits,
        apply=rig.runtime.configure,
        next_step=lambda: rig.runtime.next_seq,
        unsupported=rig.runtime.unsupported,
        clock=rig.clock.monotonic,
        store=None,
    )
    document = {"id": "d", "epoch": 1, "mode": "local", "allowedDraftTokens": [0, 3]}
    controller.put(ControlDocument.model_validate({**document, "latency": from_model(MODEL).as_json()}))
    return controller


def series(rig: Rig, controller: DocumentController) -> set[str]:
    """What a scrape has now, with labels."""
    text = metrics_text(metrics_registry(rig.runtime, controller, now=rig.clock.monotonic)).decode()
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_gauges_of_recent_steps_end_with_them_and_come_back(rig: Rig, controller: DocumentController) -> None:
    """Prometheus marks a series stale that a scrape no longer has; counters, and the last K, stay."""
    assert not RECENT & series(rig, controller)
    for _ in range(40):
        rig.step(accepted=1)
    assert series(rig, controller) >= RECENT | LASTING
    rig.clock.now += RECENT_SECONDS - 1.0
    assert series(rig, controller) >= RECENT | LASTING
    rig.clock.now += 2.0
    idle = series(rig, controller)
    assert not RECENT & idle
    assert idle >= LASTING
    for _ in range(2):
        rig.step(accepted=1)
    assert series(rig, controller) >= RECENT | LASTING
