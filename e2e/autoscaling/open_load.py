"""Requests that come whether or not others have been answered: a rate over time, as users have it.

Closed-loop clients (``e2e.load``) ask less where answers take longer: then no queue grows, and no autoscaler is needed.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import aiohttp

PROMPT_TOKENS, OUTPUT_TOKENS = 16, 100
REQUEST_SECONDS = 120.0
SHORTEST_SECONDS = 0.05
"""Between two looks at the rate where nobody comes."""

Points = Sequence[tuple[float, float]]
"""(second, requests per second), rising; straight lines between them."""


def rate_at(points: Points, second: float) -> float:
    """The rate at this second; 0 outside."""
    for (begin, low), (end, high) in pairwise(points):
        if begin <= second < end:
            return low + (high - low) * (second - begin) / (end - begin)
    return 0.0


def expected_requests(points: Points) -> float:
    """How many come in all."""
    return sum((end - begin) * (low + high) / 2.0 for (begin, low), (end, high) in pairwise(points))


@dataclass
class Answered:
    """What became of the requests."""

    sent: int = 0
    completed: int = 0
    failed: int = 0
    error: str = ""
    longest_seconds: float = 0.0


async def send(url: str, points: Points, answered: Answered, seed: int = 1) -> None:
    """Poisson arrivals at this rate; returns when the last one is answered.

    Each comes over a connection of its own: a Service chooses a pod for every connection, not for every request.
    """
    dice = random.Random(seed)  # noqa: S311 (reproducible load, nothing secret)
    loop = asyncio.get_running_loop()
    began, end = loop.time(), points[-1][0]
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
        asyncio.TaskGroup() as requests,
    ):
        due = 0.0
        while due < end:
            rate = rate_at(points, due)
            due += dice.expovariate(rate) if rate > 0.0 else SHORTEST_SECONDS
            await asyncio.sleep(max(0.0, began + due - loop.time()))
            if rate > 0.0:
                requests.create_task(_ask(session, url, answered))


async def _ask(session: aiohttp.ClientSession, url: str, answered: Answered) -> None:
    answered.sent += 1
    body = {"prompt": list(range(PROMPT_TOKENS)), "max_tokens": OUTPUT_TOKENS}
    began = asyncio.get_running_loop().time()
    try:
        async with session.post(f"{url}/v1/completions", json=body) as response:
            text = await response.text()
            if response.status != 200:
                raise ValueError(f"status {response.status}: {text[:200]}")
    except (aiohttp.ClientError, TimeoutError, ValueError) as failure:
        answered.failed += 1
        answered.error = f"{type(failure).__name__}: {failure}"[:300]
    else:
        answered.completed += 1
        answered.longest_seconds = max(answered.longest_seconds, asyncio.get_running_loop().time() - began)
