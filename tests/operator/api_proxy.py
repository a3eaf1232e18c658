"""A reverse proxy in front of the API server: keeps a list of an operator's writes, and may kill it after one."""

import contextlib
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from tests.support.apiserver import ApiServer

WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Write:
    """One write that the API server has answered: ``operator`` is who sent it."""

    operator: str
    what: str
    name: str
    status: int

    @property
    def stored(self) -> bool:
        """Whether it changed something."""
        return self.status < 300


@dataclass
class Proxy:
    """Plain HTTP on loopback, as the API server's administrator. ``after`` is called when a write is stored and before
    its answer is passed on: an operator that is killed in it never hears of what it wrote."""

    api: ApiServer
    operator: str
    writes: list[Write]
    after: Callable[[Write], None] = lambda _write: None
    _client: aiohttp.ClientSession | None = field(default=None, init=False)
    _runner: web.AppRunner | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cafile=str(self.api.ca_file))
        context.load_cert_chain(*self.api.client_files("proxy", ("system:masters",)))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self._client = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        assert self._client is not None
        await self._client.close()
        await self._runner.cleanup()

    def kubeconfig(self, folder: Path) -> Path:
        """Leads here."""
        assert self._runner is not None
        url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        path = folder / f"{self.operator}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "proxy",
                    "clusters": [{"name": "proxy", "cluster": {"server": url}}],
                    "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
                    "users": [{"name": "proxy", "user": {}}],
                }
            )
        )
        return path

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        assert self._client is not None
        headers = {name: request.headers[name] for name in ("Accept", "Content-Type") if name in request.headers}
        body = await request.read()
        async with self._client.request(
            request.method, self.api.url + request.raw_path, data=body or None, headers=headers
        ) as answer:
            kept = {
                name: answer.headers[name] for name in ("Content-Type", "Content-Encoding") if name in answer.headers
            }
            if request.method not in WRITES:
                return await _stream(request, answer, kept)
            content = await answer.read()
        write = _write(self.operator, request.method, request.path, body, answer.status)
        self.writes.append(write)
        self.after(write)
        return web.Response(status=answer.status, body=content, headers=kept)


async def _stream(request: web.Request, answer: aiohttp.ClientResponse, headers: dict[str, str]) -> web.StreamResponse:
    """Watches go on for minutes: pass on what comes as it comes."""
    passed = web.StreamResponse(status=answer.status, headers=headers)
    with contextlib.suppress(ConnectionError):  # whoever asked may have been killed
        await passed.prepare(request)
        async for chunk in answer.content.iter_any():
            await passed.write(chunk)
        await passed.write_eof()
    return passed


def _write(operator: str, method: str, path: str, body: bytes, status: int) -> Write:
    """``create jobs``, ``patch speculationpolicies/status``: what a path is about."""
    parts = path.strip("/").split("/")
    resource = parts[parts.index("namespaces") + 2 :]
    name = resource[1] if len(resource) > 1 else str(json.loads(body).get("metadata", {}).get("name", ""))
    return Write(operator, f"{WRITES[method]} {'/'.join([resource[0], *resource[2:]])}", name, status)
