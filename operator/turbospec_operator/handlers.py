"""Watches our two kinds of resources with kopf. Level-based: an event only says that it is time to look again.

kopf runs in a thread with an event loop of its own: it cancels every task of its loop when it stops, and it stops when
a watch is forbidden. Neither may reach the fleet loop, which lists for itself every few seconds anyway.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import kopf

from turbospec_operator import names

log = logging.getLogger(__name__)

WATCH_SERVER_SECONDS = 300
WATCH_INACTIVITY_SECONDS = 70
"""Bookmarks come every 60 s: a stream silent for longer is dead (kopf#1276)."""

REQUEST_SECONDS = 10
WORKER_LIMIT = 8
RESTART_SECONDS = 30.0
"""How long to wait before kopf is tried again after it gave up."""


def operator_settings(*, clusterwide: bool) -> kopf.OperatorSettings:
    """kopf's settings: nothing is written to any object, nothing is waited for without a limit."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = not clusterwide  # a namespaced installation may not watch CRDs and namespaces
    settings.watching.server_timeout = WATCH_SERVER_SECONDS
    settings.watching.client_timeout = WATCH_SERVER_SECONDS + 30
    settings.watching.connect_timeout = REQUEST_SECONDS
    settings.watching.inactivity_timeout = WATCH_INACTIVITY_SECONDS
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = REQUEST_SECONDS
    settings.networking.error_backoffs = (1, 2, 5)
    settings.queueing.worker_limit = WORKER_LIMIT
    settings.process.ultimate_exiting_timeout = None
    settings.persistence.finalizer = f"{names.GROUP}/unused"  # event handlers set none; never kopf's own, to be sure
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{names.GROUP}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"kopf.{names.GROUP}")
    return settings


def registry(changed: Callable[[], object]) -> kopf.OperatorRegistry:
    """The handlers; ``changed`` is called for every event that may be news."""
    found = kopf.OperatorRegistry()

    @kopf.on.login(registry=found)
    def login(**arguments: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_via_client(**arguments)

    @kopf.on.event(names.GROUP, "v1alpha1", "speculationprofiles", registry=found)
    async def on_profile(**_: Any) -> None:
        changed()

    generations: dict[str, int] = {}

    @kopf.on.event(names.GROUP, "v1alpha1", "speculationpolicies", registry=found)
    async def on_policy(type: str | None, meta: kopf.Meta, **_: Any) -> None:  # noqa: A002 kopf passes it by this name
        if type == "DELETED":
            generations.pop(meta["uid"], None)
        elif generations.get(meta["uid"]) == meta["generation"]:
            return  # only its status has changed, by our own hand: that must not cause another round
        else:
            generations[meta["uid"]] = meta["generation"]
        changed()

    return found


class Watcher:
    """Runs kopf in a thread from ``start`` to ``stop`` and starts it again where it gives up."""

    def __init__(self, changed: Callable[[], object], watch_namespace: str | None) -> None:
        self._changed = changed
        self._namespace = watch_namespace
        self._thread = threading.Thread(target=self._main, name="kopf", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start watching; ``changed`` is called in the thread of kopf."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Stop watching; the thread is a daemon, so one that hangs keeps nobody from ending."""
        self._stopping.set()
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout_seconds)

    def _main(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._watch())
            except Exception as error:  # noqa: BLE001 kopf raises what its tasks raised; the fleet loop goes on without
                # kopf's API errors hold the server's sentence first, then its whole answer
                reason = " ".join(str(error.args[0] if error.args else error).split())
                name = type(error).__name__
                log.warning("watching stopped, trying again in %.0f s: %s: %s", RESTART_SECONDS, name, reason)
            self._stopping.wait(RESTART_SECONDS)

    async def _watch(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._stopping.is_set():
            return
        everywhere = self._namespace is None
        await kopf.operator(
            registry=registry(self._changed),
            settings=operator_settings(clusterwide=everywhere),
            standalone=True,
            clusterwide=everywhere,
            namespaces=[] if self._namespace is None else [self._namespace],
            stop_flag=self._stop,
        )
