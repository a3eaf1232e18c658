"""A stand-in that may only run K = 0 answers as vLLM does where it was started without a drafter."""

import asyncio

from tests.simulation.builders import engine_file
from tests.standin.support import stand_ins


async def test_without_a_drafter_it_has_a_key_of_its_own_counts_requests_and_takes_no_documents() -> None:
    async with stand_ins() as drafting:
        other = await drafting.state()
    async with stand_ins(engine_file(allowedDraftTokens=[0])) as served:
        await asyncio.gather(*(served.complete() for _ in range(3)))
        state = await served.state()
    assert state.unsupported is not None
    assert state.unsupported.code == "NoSpeculation"
    assert (state.identity.method, state.identity.drafter) == ("none", "none")
    assert state.profile_key != other.profile_key
    assert state.identity.target == other.identity.target
    assert {row.draft_tokens for row in state.table} == {0}
    assert state.requests is not None
    assert (state.requests.arrived, state.requests.output_tokens) == (3, 120)
