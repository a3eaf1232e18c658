"""Windows that an engine of known step times and text would have left behind, without noise."""

from collections.abc import Sequence

from turbospec.advise.series import EngineSeries, Group, Window
from turbospec.control.acceptance import PositionEstimate
from turbospec.control.goodput import expected_tokens
from turbospec.control.latency import LatencyModel, MeasuredCell, build_latency_model

SECONDS = 300.0
PROMPT, OUTPUT = 100.0, 5000.0
ACCEPTANCE = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


def seconds(batch: float, k: float) -> float:
    """A step: 8 ms, 1 ms a draft token, 50 us a computed token; context costs nothing."""
    return 8e-3 + 1e-3 * k + 5e-5 * batch * (1 + k)


def model(measured: Sequence[int] = (0, 1, 3, 7)) -> LatencyModel:
    """Measured at these K."""
    cells = [
        MeasuredCell(batch, context, k, 0, seconds(batch, k), 20)
        for batch in (1, 4, 16, 64)
        for context in (100, 1000)
        for k in measured
    ]
    return build_latency_model(cells)


def estimates(acceptance: Sequence[float], positions: int) -> tuple[PositionEstimate, ...]:
    """Text of this acceptance, every draft full."""
    return tuple(PositionEstimate(a, None, 1e6) for a in acceptance[:positions])


def window(
    batch: float = 8.0,
    k: int | None = 3,
    *,
    acceptance: Sequence[float] = ACCEPTANCE,
    at: float = SECONDS,
    factor: float = 1.0,
    positions: int | None = None,
    busy: float = 1.0,
) -> Window:
    """A window of this batch at this K (None: without speculation), with no prefill to speak of.

    ``factor`` is what its steps take over ``seconds``; ``positions`` those that the engine exports.
    """
    drafted = k or 0
    step = factor * seconds(batch, drafted)
    steps = busy * SECONDS / step
    request_steps = steps * batch
    reach, reached = [], 1.0
    for j in range(positions or drafted):
        reached *= acceptance[j] if j < drafted else 0.0
        reach.append(reached)
    tokens = expected_tokens(estimates(acceptance, drafted), drafted) or 1.0
    generation = request_steps * tokens
    return Window(
        ended_seconds=at,
        seconds=SECONDS,
        running=batch * busy,
        running_deviation=0.0,
        generation_tokens=generation,
        prompt_tokens=0.0,
        steps=steps,
        request_steps=request_steps,
        latency_seconds=request_steps * step,
        finished=generation / OUTPUT,
        finished_prompt_tokens=PROMPT * generation / OUTPUT,
        finished_generation_tokens=generation,
        drafts=None if k is None else request_steps if k else 0.0,
        draft_tokens=request_steps * drafted,
        accepted=tuple(request_steps * share for share in reach),
    )


def group(*windows: Window, missing: tuple[str, ...] = ()) -> Group:
    """One pod of them."""
    return Group("chat", "llama", (EngineSeries("chat-0", windows, missing),))
