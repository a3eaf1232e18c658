"""``spec.plain`` of a SpeculationProfile as the fleet sees it: what the engine is without its drafter."""

from functools import lru_cache

from turbospec.control.latency import (
    FitCoefficients,
    ImpossibleFitError,
    InvalidProfileError,
    LatencyModel,
    MeasuredCell,
    build_plain_model,
    hold_out_error,
)
from turbospec.fleet.snapshot import PlainView
from turbospec.wire.plain_engine import PlainEngine, measured_cells


def plain_view(plain: PlainEngine, beside: FitCoefficients) -> PlainView | str:
    """The view, or one line that says what is wrong. ``beside`` is the fit of the engine with the drafter."""
    if not plain.kv_cache_tokens:
        return "spec.plain.kvCacheTokens is 0: no such engine serves; measure it again"
    try:
        latency, error = _model(measured_cells(plain), beside)
    except InvalidProfileError as reason:
        return f"spec.plain: {reason}"
    return PlainView(latency, plain.kv_cache_tokens, plain.start_seconds, error)


@lru_cache(maxsize=256)
def _model(cells: tuple[MeasuredCell, ...], beside: FitCoefficients) -> tuple[LatencyModel, float | None]:
    """One object however often profiles are listed: models keep what they have worked out, and an error takes fits."""
    latency = build_plain_model(cells, beside)
    try:
        return latency, hold_out_error([cell.sample() for cell in latency.cells])
    except ImpossibleFitError:
        return latency, None
