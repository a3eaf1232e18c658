"""The webhook process: serves pod admission over HTTPS, apart from the operator, without state of its own."""

import asyncio
import contextlib
import datetime as dt
import logging
import os
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from kubernetes.aio.config import ConfigException

import turbospec
from turbospec_operator import certificates
from turbospec_operator.admission import Admission, answer
from turbospec_operator.cluster import POLICIES, ApiError, Cluster
from turbospec_operator.identity import IdentityError, load_master_key
from turbospec_operator.injection import Outcome, Runtime
from turbospec_operator.runtime_bundle import build_runtime_zip, runtime_hash
from turbospec_operator.settings import Settings, SettingsError

BUDGET_SECONDS = 2.0
"""Below the 3 s after which the API server goes on without us: our log then says why."""

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Etcd takes objects of 1.5 MiB; a review may hold one twice, as JSON."""

REFRESH_SECONDS = 10.0
RETRY_SECONDS = 1.0
STALE_SECONDS = 60.0
"""Readiness outlives a short loss of the API server, without which no pods are created anyway."""

DRAIN_SECONDS = 3.0
"""Between SIGTERM and the end: API servers still send to an endpoint that is just being removed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """What an installation may choose, beside the settings shared with the operator."""

    shared: Settings

    host: str
    """TURBOSPEC_WEBHOOK_HOST: address to listen on. Default: every address of the pod."""

    port: int
    """TURBOSPEC_WEBHOOK_PORT. Default 8443; 0 takes a free one."""

    certificates: Path | None
    """TURBOSPEC_WEBHOOK_CERTIFICATES: folder with tls.crt and tls.key, read again when they change. Default: the
    webhook makes its own, keeps them in the Secret turbospec-webhook-tls and publishes their authority."""

    configuration: str
    """TURBOSPEC_WEBHOOK_CONFIGURATION: the MutatingWebhookConfiguration to publish in. Default turbospec-webhook."""

    hosts: tuple[str, ...]
    """DNS names of our own certificates: TURBOSPEC_WEBHOOK_SERVICE (default turbospec-webhook) in our namespace."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "WebhookSettings":
        """Read the settings; raises SettingsError for a value that cannot be used."""
        shared = Settings.from_environment(environment)
        service = environment.get("TURBOSPEC_WEBHOOK_SERVICE") or "turbospec-webhook"
        folder = environment.get("TURBOSPEC_WEBHOOK_CERTIFICATES")
        text = environment.get("TURBOSPEC_WEBHOOK_PORT") or "8443"
        if not text.isascii() or not text.isdigit() or int(text) > 65535:
            raise SettingsError(f"TURBOSPEC_WEBHOOK_PORT is {text!r}, must be a port from 0 to 65535")
        return cls(
            shared=shared,
            host=environment.get("TURBOSPEC_WEBHOOK_HOST") or "0.0.0.0",  # noqa: S104 API servers reach the pod's address
            port=int(text),
            certificates=Path(folder) if folder else None,
            configuration=environment.get("TURBOSPEC_WEBHOOK_CONFIGURATION") or "turbospec-webhook",
            hosts=(f"{service}.{shared.namespace}.svc", f"{service}.{shared.namespace}.svc.cluster.local"),
        )


class Webhook:
    """Admission, its certificate and its readiness. ``refresh`` is called again and again by ``run``."""

    def __init__(self, cluster: Cluster, settings: WebhookSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        runtime_zip = build_runtime_zip()
        self._hash = runtime_hash(runtime_zip)
        self._admission = Admission(cluster, runtime_zip)
        self._runtime: Runtime | None = None
        self._loaded: certificates.Pair | None = None
        self._published = False
        self._proven_at: float | None = None
        self.problem: str | None = "starting"
        """What went wrong in the last refresh; readiness outlives it for a while."""
        # Until the real certificate is there the kubelet's probes, which do not verify, must get an answer.
        placeholder, _ = certificates.new_generation(settings.hosts, dt.datetime.now(dt.UTC))
        self._serving = _context(placeholder)
        # A context that has served one certificate may go on serving it beside a second one of another key type: so
        # each has a context of its own, chosen at the handshake.
        self.tls = _context(placeholder)
        self.tls.sni_callback = self._choose

    async def run(self) -> None:
        """Refresh for ever; a failure is logged once, shown by /readyz, and tried again soon."""
        while True:
            try:
                await self.refresh()
            except (ApiError, IdentityError, certificates.CertificateError, OSError, ValueError) as error:
                if self.problem != str(error):
                    log.warning("not up to date: %s", error)
                self.problem = str(error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if self.problem is not None:
                log.info("ready: runtime %s", self._hash)
            self.problem = None
            self._proven_at = time.monotonic()
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Master key, certificate and proof that policies can be read; raises what went wrong."""
        settings = self._settings
        key = await load_master_key(self._cluster, settings.shared.namespace)
        self._runtime = Runtime(self._hash, key, settings.shared.engine_port)
        await self._refresh_certificate()
        await self._cluster.list(POLICIES, settings.shared.namespace)

    async def _refresh_certificate(self) -> None:
        settings = self._settings
        if settings.certificates is not None:
            folder = settings.certificates
            pair = certificates.Pair((folder / "tls.crt").read_bytes(), (folder / "tls.key").read_bytes())
            self._use(pair)
            return
        store = await certificates.ensure_store(
            self._cluster,
            settings.shared.namespace,
            settings.hosts,
            dt.datetime.now(dt.UTC),
            published=self._published,
        )
        self._use(store.current)
        self._published = False
        if await certificates.publish_bundle(self._cluster, settings.configuration, store.bundle):
            log.info("published the certificate authority in %s", settings.configuration)
        self._published = True

    def _use(self, pair: certificates.Pair) -> None:
        """New connections get this certificate. Raises ValueError for an unusable one; the old one then stays."""
        if pair != self._loaded:
            try:
                self._serving = _context(pair)
            except ssl.SSLError as error:
                raise ValueError(f"tls.crt and tls.key cannot be used: {error.reason or error}") from error
            self._loaded = pair

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._serving

    @property
    def not_ready(self) -> str | None:
        """Why no pods should be sent here, or None."""
        if self._proven_at is None or time.monotonic() - self._proven_at > STALE_SECONDS:
            return self.problem or "the API server has not answered for a while"
        return None

    def application(self) -> web.Application:
        """The HTTP side."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.post("/mutate", self._mutate),
                web.get("/healthz", self._answer_live),
                web.get("/readyz", self._answer_ready),
            ]
        )
        return app

    async def _mutate(self, request: web.Request) -> web.Response:
        try:
            admission = (await request.json())["request"]
            uid = str(admission["uid"])
        except (ValueError, KeyError, TypeError) as error:
            return web.Response(status=400, text=f"not an AdmissionReview: {error}\n")
        outcome = Outcome()
        try:
            async with asyncio.timeout(BUDGET_SECONDS):
                if self._runtime is None:
                    log.warning("pod in %s allowed unchanged: %s", admission.get("namespace"), self.problem)
                else:
                    outcome = await self._admission.decide(admission, self._runtime)
        except TimeoutError:
            log.warning("pod in %s allowed unchanged: no answer in %g s", admission.get("namespace"), BUDGET_SECONDS)
        except Exception:  # the boundary: no error of ours may keep a pod from being created
            log.exception("pod in %s allowed unchanged", admission.get("namespace"))
        return web.json_response(answer(uid, outcome))

    async def _answer_live(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _answer_ready(self, _request: web.Request) -> web.Response:
        problem = self.not_ready
        return web.Response(text="ok\n") if problem is None else web.Response(status=503, text=f"{problem}\n")


def _context(pair: certificates.Pair) -> ssl.SSLContext:
    """A server's context. Raises ssl.SSLError for what is no certificate with its key."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # OpenSSL reads from files only
        file.write(pair.certificate + b"\n" + pair.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


@asynccontextmanager
async def serving(cluster: Cluster, settings: WebhookSettings) -> AsyncIterator[tuple[Webhook, int]]:
    """Serve while the context is open; yields the webhook and its port. Raises OSError where the port is taken."""
    webhook = Webhook(cluster, settings)
    runner = web.AppRunner(webhook.application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port, ssl_context=webhook.tls).start()
        refreshing = asyncio.create_task(webhook.run())
        try:
            yield webhook, int(runner.addresses[0][1])
        finally:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing
    finally:
        await runner.cleanup()


async def _serve(settings: WebhookSettings) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with await Cluster.connect() as cluster, serving(cluster, settings) as (_, port):
        log.info("TurboSpec webhook %s listens on port %d", turbospec.__version__, port)
        await stopped.wait()
        await asyncio.sleep(DRAIN_SECONDS)


def main() -> int:
    """Serve until SIGTERM; 2 for a setting that cannot be used, 1 where there is no API server to talk to."""
    try:
        settings = WebhookSettings.from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logging.basicConfig(level=settings.shared.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_serve(settings))
    except (ConfigException, OSError) as error:
        log.error("cannot start: %s", error)
        return 1
    return 0
