"""The operator process: everything put together, from start to signal."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import turbospec
from turbospec_operator import names, probes
from turbospec_operator.advisor import Advisor, PrometheusRanges
from turbospec_operator.apply import Applier
from turbospec_operator.cluster import Cluster
from turbospec_operator.elector import Elector
from turbospec_operator.engines import EngineClient
from turbospec_operator.fleet_loop import FleetLoop, Health
from turbospec_operator.handlers import Watcher
from turbospec_operator.metrics import Metrics
from turbospec_operator.observe import Observer
from turbospec_operator.profiling_jobs import Installation
from turbospec_operator.prometheus_demand import PrometheusDemand
from turbospec_operator.prometheus_history import PrometheusHistory
from turbospec_operator.prometheus_load import PrometheusLoad
from turbospec_operator.settings import Settings

T = TypeVar("T")

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Govern fleets until SIGTERM or SIGINT."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if settings.log_level != "DEBUG":
        # kopf tells of every retry, with tracebacks; what matters of it is said, in one line, by its supervisor.
        logging.getLogger("kopf").setLevel(logging.CRITICAL + 1)
    asyncio.run(operate(settings))


class LeaseLostError(Exception):
    """Another operator may lead from now on."""


class _Role:
    """Standby until ``loop`` is there, then leader."""

    def __init__(self, elector: Elector) -> None:
        self.elector = elector
        self.loop: FleetLoop | None = None

    def health(self) -> Health:
        """A standby is ready while it could take over."""
        return Health(None, self.elector.not_ready()) if self.loop is None else self.loop.health()


async def operate(settings: Settings) -> None:
    """Wait to lead, then run all parts; ends when a signal asks for it.

    Raises LeaseLostError where the term ended before, or what made it impossible to start.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        cluster = await stack.enter_async_context(await Cluster.connect())
        elector = Elector(cluster, settings.namespace, settings.identity, settings.lease_seconds)
        role = _Role(elector)
        server = probes.serve(settings.metrics_host, settings.metrics_port, metrics, role.health)
        port = await stack.enter_async_context(server)
        where = settings.watch_namespace or "all namespaces"
        log.info("TurboSpec operator %s governs %s, metrics on port %d", turbospec.__version__, where, port)
        epoch = await _unless(stopped, elector.lead())
        if epoch is not None:
            await _govern(settings, stack, cluster, epoch=epoch, metrics=metrics, role=role)
            await _unless(stopped, elector.hold())
            if not stopped.is_set():
                raise LeaseLostError
        log.info("stopping; engines go on with what they have")


async def _govern(
    settings: Settings, stack: AsyncExitStack, cluster: Cluster, *, epoch: int, metrics: Metrics, role: _Role
) -> None:
    """Start what only the leader does; ``stack`` ends it."""
    running = asyncio.get_running_loop()
    cluster = cluster.fenced(role.elector.seconds_left)
    engines = await stack.enter_async_context(EngineClient())
    observer = Observer(cluster, engines, settings.watch_namespace, settings.engine_port)
    advisor = Advisor(None if settings.prometheus_url is None else PrometheusRanges(settings.prometheus_url))
    stack.callback(advisor.stop)
    loop = FleetLoop(
        cluster,
        observer,
        Applier(cluster, engines, observer, metrics, _installation(settings)),
        metrics,
        namespace=settings.namespace,
        epoch=epoch,
        interval_seconds=settings.interval_seconds,
        prometheus=_prometheus(settings, metrics),
        advisor=advisor,
        demand=PrometheusDemand.at(settings.prometheus_url),
        history=PrometheusHistory.at(settings.prometheus_url),
    )
    watcher = Watcher(lambda: running.call_soon_threadsafe(loop.wake), settings.watch_namespace)
    watcher.start()
    stack.push_async_callback(asyncio.to_thread, watcher.stop)
    stack.push_async_callback(role.elector.release)  # when rounds have ended; kopf, which writes nothing, takes seconds
    rounds = asyncio.create_task(loop.run())
    stack.push_async_callback(_cancelled, rounds)
    role.loop = loop
    metrics.leads()


async def _unless(stopped: asyncio.Event, awaited: Coroutine[Any, Any, T]) -> T | None:
    """What ``awaited`` returns; None where ``stopped`` is set before."""
    task, stopping = asyncio.create_task(awaited), asyncio.create_task(stopped.wait())
    await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
    done = task.done()
    for each in (task, stopping):
        each.cancel()
    await asyncio.gather(task, stopping, return_exceptions=True)
    return task.result() if done else None


def _installation(settings: Settings) -> Installation:
    account = f"{settings.namespace}:{names.OPERATOR}"
    return Installation(account, settings.watch_namespace is not None, settings.profiling_priority_class)


def _prometheus(settings: Settings, metrics: Metrics) -> PrometheusLoad | None:
    if settings.prometheus_url is None:
        return None
    return PrometheusLoad.at(settings.prometheus_url, settings.prometheus_interval_seconds, metrics)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
