"""The command ``turbospec``."""

import click

import turbospec
from turbospec.cli.profile.commands import profile
from turbospec.cli.sim import sim
from turbospec.cli.simulate import simulate
from turbospec.cli.simulate_fleet import simulate_fleet


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(turbospec.__version__, prog_name="turbospec")
def main() -> None:
    """Goodput-optimal speculative decoding for vLLM fleets."""


main.add_command(simulate)
main.add_command(simulate_fleet)
main.add_command(sim)
main.add_command(profile)

if __name__ == "__main__":
    main()
