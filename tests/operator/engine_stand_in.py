"""An engine's control server, without the engine: keeps what it is sent and reports it as applied."""

from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.operator.samples import IDENTITY, engine_state
from turbospec.wire.control_document import ControlDocument
from turbospec.wire.identity import ProfileIdentity


class EngineStandIn:
    """Serves /v1/state and /v1/control on loopback; ``documents`` holds every accepted document in order."""

    def __init__(self, token: str | None = None, identity: ProfileIdentity = IDENTITY) -> None:
        self.identity = identity
        self.token = token
        self.port = 0
        self.load: dict[str, Any] = {}
        self.decision: dict[str, Any] | None = None
        self.documents: list[ControlDocument] = []
        self.refusal: tuple[int, dict[str, str]] | None = None
        self.state_body: bytes | None = None
        self.more: dict[str, Any] = {}
        """What its state says besides."""
        self.cells: dict[str, Any] | None = None
        self.cells_asked = 0
        self._runner: web.AppRunner | None = None

    @property
    def distinct_ids(self) -> list[str]:
        """Ids of the accepted documents, without the heartbeats."""
        return list(dict.fromkeys(document.id for document in self.documents))

    async def __aenter__(self) -> Self:
        app = web.Application()
        routes = [web.get("/v1/state", self._state), web.get("/v1/cells", self._cells)]
        app.add_routes([*routes, web.put("/v1/control", self._control)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def _admit(self, request: web.Request) -> web.Response | None:
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"code": "Unauthorized", "message": "wrong token"}, status=401)
        return None

    async def _state(self, request: web.Request) -> web.Response:
        refused = self._admit(request)
        if refused is not None:
            return refused
        if self.state_body is not None:
            return web.Response(body=self.state_body, content_type="application/json")
        state = engine_state(**self.load)
        state |= {"identity": self.identity.model_dump(by_alias=True), "profileKey": self.identity.key()}
        state["decision"] = self.decision
        state |= self.more
        if self.documents:
            last = self.documents[-1]
            state["applied"] = {"id": last.id, "epoch": last.epoch, "mode": last.mode.value, "step": 1}
        return web.json_response(state)

    async def _cells(self, request: web.Request) -> web.Response:
        """A runtime from before this path was there answers 404."""
        self.cells_asked += 1
        refused = self._admit(request)
        if refused is not None:
            return refused
        if self.cells is None:
            return web.json_response({"code": "NotFound", "message": "there is no '/v1/cells'"}, status=404)
        return web.json_response(self.cells)

    async def _control(self, request: web.Request) -> web.Response:
        refused = self._admit(request)
        if refused is not None:
            return refused
        if self.refusal is not None:
            status, body = self.refusal
            return web.json_response(body, status=status)
        document = ControlDocument.model_validate_json(await request.read())
        if self.documents and document.epoch < self.documents[-1].epoch:
            return web.json_response(
                {"code": "StaleEpoch", "message": "an operator of a later epoch governs"}, status=409
            )
        changed = not self.documents or self.documents[-1].id != document.id
        self.documents.append(document)
        return web.json_response({"id": document.id, "step": 1, "changed": changed})
