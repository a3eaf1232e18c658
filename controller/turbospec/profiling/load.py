"""Waves of equal requests: all start together, so that while they decode a step holds nothing but their decoding."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from turbospec.profiling.client import HOST


@dataclass(slots=True)
class Wave:
    """Requests started together. ``ended`` counts those that are over; ``failure`` says how the first bad one ended."""

    requests: int
    ended: int = 0
    failure: str | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class LoadGenerator:
    """Sends waves of completions to a vLLM server from a thread of its own, one wave at a time. A context manager."""

    def __init__(self, port: int, api_key: str | None = None) -> None:
        self._port = port
        self._api_key = api_key
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="turbospec-load", daemon=True)
        self._wave: Wave | None = None

    def __enter__(self) -> "LoadGenerator":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start(self, bodies: Sequence[bytes]) -> Wave:
        """Drops the wave before, if any, and sends one completion for each body."""
        self.stop()
        self._wave = asyncio.run_coroutine_threadsafe(self._begin(bodies), self._loop).result()
        return self._wave

    def stop(self) -> None:
        """Drops what is in flight: vLLM ends a request whose client is gone."""
        if self._wave is not None:
            asyncio.run_coroutine_threadsafe(self._drop(self._wave), self._loop).result()
            self._wave = None

    async def _begin(self, bodies: Sequence[bytes]) -> Wave:
        wave = Wave(requests=len(bodies))
        wave.tasks = [asyncio.create_task(self._send(wave, body)) for body in bodies]
        return wave

    async def _drop(self, wave: Wave) -> None:
        for task in wave.tasks:
            task.cancel()
        await asyncio.gather(*wave.tasks, return_exceptions=True)

    async def _send(self, wave: Wave, body: bytes) -> None:
        """One request to its end. What comes back is not looked at, except for why a request was refused."""
        try:
            reader, writer = await asyncio.open_connection(HOST, self._port)
            try:
                writer.write(self._head(len(body)) + body)
                await writer.drain()
                status = (await reader.readline()).decode("latin-1").split(" ", 2)
                answer = await reader.read() if status[1:2] != ["200"] else b""
                while await reader.read(65536):
                    pass
            finally:
                writer.transport.abort()
            if status[1:2] != ["200"]:
                said = " ".join(answer.rpartition(b"\r\n\r\n")[2][:300].decode("utf-8", "replace").split())
                wave.failure = wave.failure or f"vLLM answered {' '.join(status).strip() or 'nothing'}: {said}"
        except OSError as error:
            wave.failure = wave.failure or f"vLLM broke off a completion: {type(error).__name__} {error}"
        wave.ended += 1

    def _head(self, length: int) -> bytes:
        lines = [
            "POST /v1/completions HTTP/1.1",
            f"Host: {HOST}:{self._port}",
            "Content-Type: application/json",
            f"Content-Length: {length}",
            "Connection: close",
        ]
        if self._api_key:
            lines.append(f"Authorization: Bearer {self._api_key}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
