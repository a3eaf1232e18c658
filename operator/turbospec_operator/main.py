"""The operator process: everything put together, from start to signal."""

import asyncio
import logging
import signal
from contextlib import AsyncExitStack

import turbospec
from turbospec_operator import probes
from turbospec_operator.apply import Applier
from turbospec_operator.cluster import Cluster
from turbospec_operator.engines import EngineClient
from turbospec_operator.fleet_loop import FleetLoop
from turbospec_operator.handlers import Watcher
from turbospec_operator.metrics import Metrics
from turbospec_operator.observe import Observer
from turbospec_operator.prometheus_load import PrometheusLoad
from turbospec_operator.settings import Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Govern fleets until SIGTERM or SIGINT."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if settings.log_level != "DEBUG":
        # kopf tells of every retry, with tracebacks; what matters of it is said, in one line, by its supervisor.
        logging.getLogger("kopf").setLevel(logging.CRITICAL + 1)
    asyncio.run(operate(settings))


async def operate(settings: Settings) -> None:
    """Run all parts; ends when a signal asks for it, or raises what made it impossible to start."""
    stopped = asyncio.Event()
    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        cluster = await stack.enter_async_context(await Cluster.connect())
        engines = await stack.enter_async_context(EngineClient())
        observer = Observer(cluster, engines, settings.watch_namespace, settings.engine_port)
        loop = FleetLoop(
            cluster,
            observer,
            Applier(cluster, engines, observer, metrics),
            metrics,
            namespace=settings.namespace,
            interval_seconds=settings.interval_seconds,
            prometheus=_prometheus(settings, metrics),
        )
        server = probes.serve(settings.metrics_host, settings.metrics_port, metrics, loop.health)
        port = await stack.enter_async_context(server)
        watcher = Watcher(lambda: running.call_soon_threadsafe(loop.wake), settings.watch_namespace)
        watcher.start()
        stack.push_async_callback(asyncio.to_thread, watcher.stop)
        rounds = asyncio.create_task(loop.run())
        stack.push_async_callback(_cancelled, rounds)
        where = settings.watch_namespace or "all namespaces"
        log.info("TurboSpec operator %s governs %s, metrics on port %d", turbospec.__version__, where, port)
        await stopped.wait()
        log.info("stopping; engines go on with what they have")


def _prometheus(settings: Settings, metrics: Metrics) -> PrometheusLoad | None:
    if settings.prometheus_url is None:
        return None
    return PrometheusLoad.at(settings.prometheus_url, settings.prometheus_interval_seconds, metrics)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
