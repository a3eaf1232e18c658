"""GET /metrics says what the engine's last decision says in its state: predicted goodput, and the gain over K = 0."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.dashboards.stand_in_fleet import MODEL
from tests.standin.support import StandIns, stand_ins, table_document
from turbospec.wire.latency import from_model

PREFIX = "turbospec_engine_"
LOCAL = {
    "id": "local",
    "epoch": 1,
    "mode": "local",
    "allowedDraftTokens": [0, 1, 3, 7],
    "latency": from_model(MODEL).as_json(),
    "policy": {"namespace": "shop", "name": "chat"},
}


async def series(served: StandIns) -> dict[tuple[str, str], float]:
    """By name and the label asked for here, if any."""
    text = (await served.ask("GET", "/metrics", token=None)).body.decode()
    return {
        (sample.name.removeprefix(PREFIX), sample.labels.get("draft_tokens", sample.labels.get("policy", ""))): value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if (value := sample.value) is not None
    }


async def test_predictions_are_those_of_the_state() -> None:
    """Of every allowed K; the gain is that of the K in use over off."""
    async with stand_ins() as served:
        before = await series(served)
        await served.put(LOCAL)
        await served.complete(max_tokens=200)
        found, state = await series(served), await served.state()
    assert not [name for name, _ in before if name.startswith("predicted_")]
    assert ("info", "") in before
    assert found["info", "chat"] == 1.0
    assert state.decision is not None
    predicted = {one.draft_tokens: one.tokens_per_second for one in state.decision.predictions}
    assert predicted.keys() == {0, 1, 3, 7}
    name = "predicted_goodput_tokens_per_second"
    assert {int(k): value for (which, k), value in found.items() if which == name} == pytest.approx(predicted)
    gain = predicted[state.decision.draft_tokens] / predicted[0] - 1.0
    assert found["predicted_gain_ratio", ""] == pytest.approx(gain)


@pytest.mark.parametrize("allowed", [[1, 3], [3]])
async def test_without_a_prediction_for_off_there_is_no_gain(allowed: list[int]) -> None:
    """Unknown, not zero: nobody predicted what K = 0 would deliver."""
    document = LOCAL | {"allowedDraftTokens": allowed} if len(allowed) > 1 else table_document(3)
    async with stand_ins() as served:
        await served.put(document)
        await served.complete()
        assert ("predicted_gain_ratio", "") not in await series(served)
