"""`python -m e2e.demo`: the main job, from an empty machine to a summary. `python -m e2e.demo clean` takes it down."""

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import click
import yaml
from rich.console import Console

from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import REPOSITORY, cache_root
from e2e.cluster.progress import Progress
from e2e.demo import plot, stack
from e2e.demo.announce import announcement, machine_name
from e2e.demo.engines import Engines, find_engines
from e2e.demo.kube import Kube
from e2e.demo.live import LiveView, summary_table
from e2e.demo.page import WebPage
from e2e.demo.phases import MODELS, TURBOSPEC, Model, schedule
from e2e.demo.place import Place, choose_place
from e2e.demo.prometheus import Prometheus
from e2e.demo.report import DemoResult, broken_promises, build_report
from e2e.demo.rounds import Measurement
from e2e.load.driver import LoadDriver
from e2e.manifests.serving import NAMESPACE, Serving, namespace, policy
from e2e.models.store import ensure_model
from e2e.vllm.install import install

PLACES = ["auto", "local", "kind", "existing"]
OUTPUT = REPOSITORY / "build" / "demo"
STARTED_VARIABLE = "TURBOSPEC_DEMO_STARTED"
WINDOW_SECONDS = 6.5
SHORT_WINDOW_SECONDS = 3.0
HASTE = 1.5
"""With the profile reused the whole demo takes less than six minutes: windows are shorter and settle faster."""


@dataclass(frozen=True)
class Options:
    """What a person may choose."""

    model: Model
    rounds: int
    haste: float
    window_seconds: float
    reuse_profile: bool
    keep: bool


def choose_cluster(context: click.Context, option: click.Parameter, value: str) -> None:  # noqa: ARG001 (click's own form)
    """Pass the choice on as ``$CLUSTER``, which the providers read, and which survives becoming root."""
    os.environ["CLUSTER"] = value


CLUSTER_OPTION = click.option(
    "--cluster",
    envvar="CLUSTER",
    type=click.Choice(PLACES),
    default="auto",
    callback=choose_cluster,
    expose_value=False,
)


@click.group(invoke_without_command=True, help=__doc__)
@click.option("--model", envvar="MODEL", type=click.Choice(sorted(MODELS)), default="smollm2", show_default=True)
@CLUSTER_OPTION
@click.option("--rounds", envvar="ROUNDS", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--window", type=float, help="Seconds of a window that count.")
@click.option(
    "--reuse-profile", envvar="REUSE_PROFILE", is_flag=True, help="Bring the last demo's profile instead of measuring."
)
@click.option("--keep", envvar="KEEP", is_flag=True, help="Leave everything running; `make clean-demo` takes it down.")
@click.pass_context
def cli(  # noqa: PLR0917 (click passes them by name)
    context: click.Context,
    model: str,
    rounds: int,
    window: float | None,
    reuse_profile: bool,
    keep: bool,
) -> None:
    """Run the demo when no subcommand is given."""
    if context.invoked_subcommand:
        return
    reuse = reuse_profile and profile_file(model).exists()
    if reuse_profile and not reuse:
        click.echo(f"there is no profile of {model} to reuse yet: it will be measured")
    options = Options(
        model=MODELS[model],
        rounds=rounds,
        haste=HASTE if reuse else 1.0,
        window_seconds=window or (SHORT_WINDOW_SECONDS if reuse else WINDOW_SECONDS),
        reuse_profile=reuse,
        keep=keep,
    )
    sys.exit(run(options))


@cli.command()
@click.option("--model", envvar="MODEL", type=click.Choice(sorted(MODELS)), default="smollm2", show_default=True)
@CLUSTER_OPTION
@click.option("--rounds", envvar="ROUNDS", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--window", type=float, default=WINDOW_SECONDS, show_default=True)
def again(model: str, rounds: int, window: float) -> None:
    """Measure once more on a demo that was left running with KEEP=1."""
    place = choose_place(Progress())
    become_root(place)
    options = Options(MODELS[model], rounds, 1.0, window, reuse_profile=False, keep=True)
    sys.exit(finish(asyncio.run(measure(place, place.enter(), options, time.time()))))


@cli.command()
@CLUSTER_OPTION
def clean() -> None:
    """Take the demo down; nothing stays but the cache and build/demo."""
    place = choose_place(Progress())
    become_root(place)
    place.down()


def run(options: Options) -> int:
    """The whole demo; 0 when the report is as promised, 1 when it is not."""
    started = float(os.environ.get(STARTED_VARIABLE) or time.time())
    say = Progress()
    place = choose_place(say)
    if STARTED_VARIABLE not in os.environ:
        print(announcement(options.model.name, place, options.reuse_profile, options.rounds))
        os.environ[STARTED_VARIABLE] = str(started)
    vllm = install(say)
    model = ensure_model(options.model.name, say, vllm)
    place.provider.prepare()
    become_root(place)
    place.up()
    try:
        serving = Serving(vllm, model, place.provider.serving_image(model), place.provider.host_paths_supported)
        image = place.provider.operator_image()
        with place.prometheus() as prometheus:
            kube = place.enter()
            stack.install_turbospec(kube, say, image, place.prometheus_url)
            with WebPage(place, NAMESPACE, say):
                prepare(kube, options, serving, say, prometheus)
                report = asyncio.run(measure(place, kube, options, started))
        return finish(report)
    finally:
        if options.keep:
            config = place.provider.kubeconfig()
            say(f"everything is left running: export KUBECONFIG={config}; `make clean-demo` takes it down")
        else:
            place.down()


def prepare(kube: Kube, options: Options, serving: Serving, say: Progress, prometheus: Prometheus | None) -> None:
    """Servers and profile in place; every engine under control."""
    if options.reuse_profile:
        kube.apply(namespace(), yaml.safe_load(profile_file(options.model.name).read_text()))
        say("the profile of an earlier demo is reused: nothing will be measured beforehand")
    rule = policy(list(TURBOSPEC.draft_tokens), prompt_lookup_min=options.model.prompt_lookup_min)
    stack.serve(kube, say, serving, rule)
    if prometheus:
        pods = kube.pods(NAMESPACE, stack.LABELS)
        prometheus.scrape({pod.metadata.name: pod.status.pod_ip for pod in pods}, NAMESPACE)
    stack.await_profile(kube, say)
    stack.await_controlled(kube, say)
    if not options.reuse_profile:
        profile_file(options.model.name).parent.mkdir(parents=True, exist_ok=True)
        profile_file(options.model.name).write_text(yaml.safe_dump(stack.saved_profile(kube)))


async def measure(place: Place, kube: Kube, options: Options, started: float) -> dict[str, object]:
    """All rounds; returns the report."""
    windows = schedule(options.model.phases, options.rounds)
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session, LoadDriver() as load:
        engines = Engines(find_engines(kube, NAMESPACE, stack.LABELS, place.address), session)
        await engines.new_steps()
        with LiveView(Console(), options.rounds) as view:
            measurement = Measurement(kube, engines, load, options.window_seconds, options.haste, view.show)
            await measurement.warm_up(windows[0].phase.style)
            await measurement.run(windows)
        failed = load.last.failed
        if failed:
            print(f"{failed} requests failed; the last one: {load.last.error}")
    result = DemoResult(
        model=options.model.name,
        machine=machine_name(),
        engines=len(engines.all),
        phases=options.model.phases,
        windows=measurement.results,
        timeline=measurement.timeline,
        failed_requests=failed,
        profiling_jobs=len(kube.profiling_jobs(NAMESPACE)),
        profile_reused=options.reuse_profile,
        window_seconds=options.window_seconds,
        seconds=time.time() - started,
    )
    return build_report(result)


def finish(report: dict[str, object]) -> int:
    """Write both files, show the summary, and say plainly where it is not as promised."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    plot.draw(report, OUTPUT / "report.png")
    give_back(OUTPUT)
    phases = report["phases"]
    assert isinstance(phases, list)
    Console().print(summary_table(report, phases))
    print(
        f"{report['profilingJobs']} profiling Job, {report['failedRequests']} failed requests, "
        f"{report['seconds']} s in all"
    )
    print(f"written: {OUTPUT / 'report.json'} and {OUTPUT / 'report.png'}")
    problems = broken_promises(report)
    for problem in problems:
        print(f"NOT AS PROMISED: {problem}")
    return 1 if problems else 0


def profile_file(model: str) -> Path:
    """Where the last measured profile of a model is kept for `--reuse-profile`."""
    return cache_root() / "profiles" / f"{model}.yaml"


def become_root(place: Place) -> None:
    """Go on as root where the place needs it: everything that can be done as this user has been done."""
    if not place.provider.needs_root or os.geteuid() == 0:
        return
    print("namespaces and mounts of the local cluster need root: asking sudo")
    kept = [
        f"{name}={os.environ[name]}" for name in ("PATH", STARTED_VARIABLE, "MODEL", "CLUSTER") if name in os.environ
    ]
    command = [
        "sudo",
        "--",
        "env",
        f"TURBOSPEC_CACHE={cache_root()}",
        *kept,
        sys.executable,
        "-m",
        "e2e.demo",
        *sys.argv[1:],
    ]
    sys.exit(subprocess.run(command, check=False, cwd=REPOSITORY).returncode)


def give_back(folder: Path) -> None:
    """What root wrote into the checkout belongs to the user who called sudo."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if user and group:
        for path in (folder.parent, folder, *folder.iterdir()):
            os.chown(path, int(user), int(group))


def main() -> None:
    """Errors that a person can act on are one line, not a traceback."""
    try:
        cli(prog_name="python -m e2e.demo")
    except (ClusterError, RuntimeError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
