"""One answer while it is being generated, between the engine and the HTTP request that waits for it."""

import asyncio
from dataclasses import dataclass

from turbospec.simulation.workload import Request


@dataclass(slots=True, eq=False)
class Generation:
    """``tokens`` of the answer have arrived; ``changed`` is set whenever there are more, or only at the end where the
    answer is not streamed. ``reason`` is why it will end, ``max_tokens`` what the client allowed, where it did."""

    request: Request
    changed: asyncio.Event
    streamed: bool
    reason: str
    max_tokens: int | None
    tokens: int = 0
    finished: bool = False

    def advance(self, tokens: int) -> None:
        """The answer has so many tokens now."""
        if tokens > self.tokens:
            self.tokens = tokens
            self.changed.set()

    def finish(self) -> None:
        """The answer is complete."""
        self.tokens, self.finished = self.request.output_tokens, True
        self.changed.set()
