"""`python -m e2e.cluster`: a Kubernetes cluster for the demo and the end-to-end tests."""

import os
import subprocess
import sys
from pathlib import Path

import click

from e2e.cluster import build, images, leftovers, providers, smoke
from e2e.cluster.errors import ClusterError
from e2e.cluster.local import LocalCluster
from e2e.cluster.paths import REPOSITORY, ClusterPaths, binary, cache_root
from e2e.cluster.progress import Progress

NAME = click.option("--name", default="turbospec", show_default=True, help="Name of the cluster.")
PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def become_root() -> None:
    """Run this very command again as root; namespaces and mounts cannot be made otherwise."""
    if os.geteuid() == 0:
        return
    click.echo("this needs root (namespaces, mounts): asking sudo")
    kept = [f"TURBOSPEC_CACHE={cache_root()}", f"PATH={os.environ['PATH']}"]
    command = ["sudo", "--", "env", *kept, sys.executable, "-m", "e2e.cluster", *sys.argv[1:]]
    sys.exit(subprocess.run(command, check=False, cwd=REPOSITORY).returncode)


@click.group(help=__doc__)
def cli() -> None:
    """Group of all commands."""


@cli.command("build")
@click.option("--only", default=",".join(build.FOR_TESTS), show_default=True, help="Comma-separated names.")
def build_binaries(only: str) -> None:
    """Build Kubernetes, etcd, helm and what judges the chart from Go modules, where they are not cached."""
    build.build(only.split(","), Progress())


@cli.command()
@NAME
def up(name: str) -> None:
    """Bring the local cluster up; builds and installs what is missing first."""
    cluster = LocalCluster(name, Progress())
    cluster.prepare()
    become_root()
    cluster.up()
    click.echo(f"export KUBECONFIG={cluster.paths.kubeconfig}")


@cli.command()
@NAME
def down(name: str) -> None:
    """Take the local cluster down, leaving nothing behind."""
    become_root()
    LocalCluster(name, Progress()).down()


@cli.command()
@NAME
def status(name: str) -> None:
    """Nodes and pods."""
    click.echo(LocalCluster(name, Progress()).status())


@cli.command(context_settings=PASS_ON)
@NAME
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(name: str, arguments: tuple[str, ...]) -> None:
    """Run kubectl as administrator of the local cluster."""
    config = ClusterPaths(name).kubeconfig
    sys.exit(subprocess.run([binary("kubectl"), f"--kubeconfig={config}", *arguments], check=False).returncode)


@cli.command(context_settings=PASS_ON)
@NAME
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def execute(name: str, command: tuple[str, ...]) -> None:
    """Run a command in the cluster's network, where pod and service addresses answer."""
    wrapped = LocalCluster(name, Progress()).network_command(list(command))
    sys.exit(subprocess.run(wrapped, check=False).returncode)


cli.add_command(execute, "exec")


@cli.command()
@NAME
@click.option("--cpus", type=click.FloatRange(min=0.1), help="CPUs that its pods may use together; all by default.")
def add_node(name: str, cpus: float | None) -> None:
    """Start one more node."""
    become_root()
    click.echo(LocalCluster(name, Progress()).add_node(cpus))


@cli.command("images")
def build_images() -> None:
    """Make the images of the demo, where they are not cached, and print their archives."""
    become_root()
    say = Progress()
    for archive in (images.base_image(say), images.operator_image(say)):
        click.echo(archive)


@cli.command()
@NAME
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def load_image(name: str, archive: Path) -> None:
    """Load a docker-archive into every node."""
    become_root()
    LocalCluster(name, Progress()).load_image(archive)


@cli.command("smoke")
@NAME
def run_smoke(name: str) -> None:
    """Check that the cluster runs pods, Services and webhooks."""
    become_root()
    say = Progress()
    cluster = LocalCluster(name, say)
    cluster.load_image(images.base_image(say))
    smoke.check(cluster, say)


@cli.command("provider")
@NAME
def print_provider(name: str) -> None:
    """Print which kind of cluster the demo would use here."""
    click.echo(providers.choose(name, Progress()).name)


@cli.command()
@NAME
def check_clean(name: str) -> None:
    """Compare the machine with what it was before `up`; fails and lists what is left."""
    found = leftovers.find_leftovers(ClusterPaths(name))
    for line in found:
        click.echo(line)
    if found:
        raise ClusterError(f"{len(found)} things are left behind")
    click.echo("the machine is as it was before")


def main() -> None:
    """Errors that a person can act on are one line, not a traceback."""
    try:
        cli(prog_name="python -m e2e.cluster")
    except ClusterError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
