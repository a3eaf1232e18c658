"""Attainable work against an engine that is simulated step by step and knows nothing of the formula."""

import pytest

from tests.simulation.builders import engine_file, measured_model, observed, phase
from turbospec.control.acceptance import PositionEstimate
from turbospec.fleet.capacity import Capability, attainable
from turbospec.fleet.demand import Lengths

ACCEPTANCE = 0.7
SPEC = engine_file()


@pytest.mark.parametrize("k", [0, 3, 7])
@pytest.mark.parametrize(("prompt", "output"), [(100, 60), (400, 200), (1500, 20)])
def test_an_overloaded_engine_delivers_what_is_called_attainable(k: int, prompt: int, output: int) -> None:
    """Requests come three times as fast as they can be served; the first and last batches make most of the error."""
    engine = Capability(
        latency=measured_model(),
        estimates=(PositionEstimate(ACCEPTANCE, None, 500.0),) * 7,
        draft_tokens=(k,),
        max_num_seqs=SPEC.max_num_seqs,
        max_num_batched_tokens=SPEC.max_num_batched_tokens,
        kv_cache_tokens=SPEC.kv_cache_tokens,
    )
    found = attainable(engine, Lengths(prompt, prompt, output))
    assert found is not None
    offered = phase(
        seconds=30,
        poissonPerSecond=3 * found.requests_per_second,
        promptTokens=prompt,
        outputTokens=output,
        acceptance=[ACCEPTANCE],
    )
    run, _ = observed(SPEC, [offered], k=k)
    assert run.output_tokens / run.seconds / output == pytest.approx(found.requests_per_second, rel=0.1)
