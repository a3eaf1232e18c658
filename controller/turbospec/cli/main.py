"""The command ``turbospec``, which kubectl finds as a plugin: ``kubectl turbospec``."""

import click

import turbospec
from turbospec.cli.advise.command import advise
from turbospec.cli.completion import completion
from turbospec.cli.demo.command import demo
from turbospec.cli.fleet.diagnose import diagnose
from turbospec.cli.fleet.explain import explain
from turbospec.cli.fleet.init import init
from turbospec.cli.fleet.mode import pause, resume
from turbospec.cli.fleet.must_gather import must_gather
from turbospec.cli.fleet.schedule import schedule
from turbospec.cli.fleet.status import status
from turbospec.cli.fleet.top import top
from turbospec.cli.profile.commands import profile
from turbospec.cli.sim import sim
from turbospec.cli.simulate import simulate
from turbospec.cli.simulate_fleet import simulate_fleet
from turbospec.cli.web.command import dashboard


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(turbospec.__version__, prog_name="turbospec")
def main() -> None:
    """Goodput-optimal speculative decoding for vLLM fleets.

    Exit status: 0 done, 1 an error (one line on stderr), 2 a wrong command line, 3 ``diagnose`` found problems.
    """


FLEET = (status, top, dashboard, explain, schedule, diagnose, must_gather, init, pause, resume)
for command in (*FLEET, advise, profile, simulate, simulate_fleet, sim, demo, completion):
    main.add_command(command)

if __name__ == "__main__":
    main()
