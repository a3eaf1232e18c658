"""``turbospec advise``: the question, and how it ends."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from turbospec.advise import queries
from turbospec.advise.advice import Profiled, advise_group
from turbospec.advise.queries import Span
from turbospec.advise.series import Group
from turbospec.cli.advise.prometheus import Prometheus
from turbospec.cli.advise.text import document, text
from turbospec.cli.errors import CommandError
from turbospec.cli.fleet.output import show
from turbospec.cli.options import output_option
from turbospec.cli.profile.files import read_profile

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
MOST_STEPS = 20_000


def _duration(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    """Whole seconds from ``30s``, ``5m``, ``12h``, ``7d`` or ``2w``."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhdw])", value)
    if match is None:
        raise click.BadParameter(f"{value!r}: write a whole number with its unit: 30s, 5m, 12h, 7d, 2w")
    return int(match[1]) * UNITS[match[2]]


@click.command()
@click.option("--prometheus", "url", metavar="URL", required=True, help="For instance http://localhost:9090.")
@click.option(
    "--since", metavar="TIME", callback=_duration, default="7d", show_default=True, help="How far back to look."
)
@click.option(
    "--step",
    metavar="TIME",
    callback=_duration,
    default="5m",
    show_default=True,
    help="Window; at least four scrapes have to fit.",
)
@click.option(
    "--selector", metavar="LABELS", default="", help='Only these series, as in PromQL: \'namespace="chat",pod=~"a.*"\'.'
)
@click.option(
    "--profile",
    "profiles",
    metavar="[MODEL=]FILE",
    multiple=True,
    help="Step times of these engines, as `turbospec profile export` writes them. MODEL where several are found.",
)
@click.option("--draft-tokens", metavar="K,K,...", help="K that TurboSpec may use. Default: those of the profile.")
@click.option(
    "--bearer-token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The token that Prometheus, or what is before it, asks for.",
)
@click.option("--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="Sent along; repeat for several.")
@output_option("table", "json", "yaml")
def advise(
    *,
    url: str,
    since: int,
    step: int,
    selector: str,
    profiles: tuple[str, ...],
    draft_tokens: str | None,
    bearer_token_file: Path | None,
    headers: tuple[str, ...],
    output: str,
) -> None:
    """What TurboSpec would have done with stock vLLM pods, and gained, by what Prometheus has of them.

    Nothing is installed and nothing changed. Where acceptance or step times are not known, no gain is claimed: it says
    what it would take to know (docs/advise.md).
    """
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--prometheus {url!r}: write it with http:// or https://")
    if since // step > MOST_STEPS:
        raise click.UsageError(
            f"--since and --step ask for {since // step} windows, at most {MOST_STEPS}: a larger --step"
        )
    allowed = _draft_tokens(draft_tokens)
    given = _profiles(profiles)
    client = Prometheus(url, _headers(headers, bearer_token_file))
    span = Span.until(time.time(), since, step)
    labels = selector.strip().removeprefix("{").removesuffix("}").strip().strip(",")
    with _progress(len(queries.queries(labels, step)) * len(list(span.chunks()))) as done:
        groups = queries.groups(client, labels, span, done)
    if not groups:
        where = f" with {labels}" if labels else ""
        raise CommandError(
            f"{url}: has no series {queries.GENERATION}{where} in that time: is vLLM's /metrics scraped (PodMonitor, "
            "ServiceMonitor), do four scrapes fit into --step, does --selector match?"
        )
    found = [advise_group(group, _bounded(given(group, len(groups)), allowed, group), allowed) for group in groups]
    show(output, document(found, span), text(found))


def _draft_tokens(value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    parts = value.split(",")
    if not all(part.strip().isdecimal() and int(part) <= 64 for part in parts):
        raise click.UsageError(f"--draft-tokens {value!r}: write whole numbers from 0 to 64: 0,1,3,7")
    return tuple(sorted({int(part) for part in parts}))


def _bounded(profiled: Profiled | None, allowed: Sequence[int] | None, group: Group) -> Profiled | None:
    """The profile, if it measured the K that may be used: beyond them a model extrapolates."""
    most = None if profiled is None else profiled.model.max_draft_tokens
    if most is not None and allowed is not None and max(allowed) > most:
        raise CommandError(
            f"--draft-tokens {max(allowed)}: the profile of {group.model} measured K up to {most}: leave it out"
        )
    return profiled


def _profiles(values: Sequence[str]) -> Callable[[Group, int], Profiled | None]:
    """The profile of a group. One without MODEL is for the only group there is."""
    by_model: dict[str, Profiled] = {}
    for value in values:
        model, separator, file = value.rpartition("=")
        path = Path(value if Path(value).exists() or not separator else file)
        found = read_profile(path)
        stated = found.spec.hold_out_error_permille
        graphs = found.spec.identity.engine_arguments.get("cudagraph_mode", "none")
        profiled = Profiled(
            found.model, None if stated is None else stated / 1000.0, padded=graphs.lower() not in ("none", "")
        )
        if by_model.setdefault(model if path != Path(value) else "", profiled) is not profiled:
            raise click.UsageError(f"--profile {value}: there is another one for it: one for each model")

    def given(group: Group, groups: int) -> Profiled | None:
        if "" in by_model and groups > 1:
            raise CommandError(
                f"{groups} models or namespaces were found, {group.model} among them: say which one the profile is for "
                "(--profile MODEL=FILE), or name one with --selector"
            )
        return by_model.get(group.model, by_model.get(""))

    return given


def _headers(headers: Sequence[str], token_file: Path | None) -> Mapping[str, str]:
    found = {}
    for header in headers:
        name, separator, value = header.partition(":")
        if not separator or not re.fullmatch(r"[A-Za-z0-9-]+", name.strip()):
            raise click.UsageError(f"--header {header!r}: write 'Name: value'")
        found[name.strip()] = value.strip()
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{token_file}: cannot be read as a token: {error}") from error
        found["Authorization"] = f"Bearer {token}"
    return found


@contextmanager
def _progress(pieces: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, on stderr: stdout belongs to the result."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("asking Prometheus", total=pieces)
        yield lambda: bar.advance(task)
