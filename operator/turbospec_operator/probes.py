"""The operator's HTTP side: /metrics for Prometheus, /healthz and /readyz for the kubelet."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from turbospec_operator.fleet_loop import Health
from turbospec_operator.metrics import Metrics


@asynccontextmanager
async def serve(host: str, port: int, metrics: Metrics, health: Callable[[], Health]) -> AsyncIterator[int]:
    """Serve while the context is open; yields the port. Raises OSError where it is taken."""

    async def answer_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), content_type="text/plain", charset="utf-8")

    async def answer_live(_request: web.Request) -> web.Response:
        return _verdict(health().not_live)

    async def answer_ready(_request: web.Request) -> web.Response:
        return _verdict(health().not_ready)

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", answer_metrics), web.get("/healthz", answer_live), web.get("/readyz", answer_ready)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _verdict(problem: str | None) -> web.Response:
    return web.Response(text="ok\n") if problem is None else web.Response(status=503, text=f"{problem}\n")
