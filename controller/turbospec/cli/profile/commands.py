"""``turbospec profile``: everything that is done with profiles by hand."""

import click

from turbospec.cli.profile.analysis import diff, fit, plot
from turbospec.cli.profile.store import export, import_profile, list_profiles, promote
from turbospec.cli.profile.watching import watch


@click.group()
def profile() -> None:
    """Latency profiles: shared, compared, fitted, drawn, promoted, watched.

    PROFILE is a NAME in the namespace, cspecprof/NAME of the cluster, or a FILE.yaml or .json. Exit status: 0 done, 1
    it could not be done (one line on stderr says why and what to do), 2 a wrong command line.
    """


for command in (list_profiles, export, import_profile, promote, diff, fit, plot, watch):
    profile.add_command(command)
