"""What a stand-in says of its requests is what was asked of it."""

import asyncio

from tests.standin.support import stand_ins, table_document


async def test_requests_and_their_lengths_are_counted_whatever_k_is() -> None:
    async with stand_ins() as served:
        for number, k in enumerate((0, 7), start=1):
            await served.put(table_document(k))
            await asyncio.gather(*(served.complete() for _ in range(3)))
            counted = (await served.state()).requests
            assert counted is not None
            assert (counted.arrived, counted.admitted, counted.finished) == (3 * number,) * 3
            assert counted.prompt_tokens == counted.prefill_tokens == 150 * number
            assert counted.output_tokens == 120 * number
