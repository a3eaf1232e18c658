"""The pages of all profiles, and of one as heat maps. Pure."""

import math
from urllib.parse import quote

from turbospec.cli.profile.compare import gains
from turbospec.cli.profile.files import Profile
from turbospec.cli.web.cell_map import Cell, Row, cell_map, tint
from turbospec.cli.web.layout import page
from turbospec.cli.web.looking import KnownProfile, Look
from turbospec.cli.web.markup import Child, Element, facts, link, node, slug, table
from turbospec.control.latency import LatencyModel
from turbospec.wire.crd import CLUSTER_PROFILE

HEADER = ("Profile", "Namespace", "Hardware", "Method", "vLLM", "Cells", "Error", "Usable")
ACCEPTANCES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
DEFAULT_ACCEPTANCE = 0.7
LEAST_REACH = 0.1
"""Of the scale of gains, in doublings: where nothing gains or loses, small differences are not coloured as large."""


def profiles(look: Look) -> str:
    """Every profile that the user may see."""
    faults = [node("p", node("strong", "Not looked at: "), each) for each in look.profiles.faults]
    known = look.profiles.known
    if not known:
        remedy = "No profile is known: the operator measures new hardware, or see kubectl turbospec profile import."
        return page(look, "Profiles", "/profiles", *faults, None if faults else node("p", remedy))
    rows = [_row(each) for each in known]
    return page(look, "Profiles", "/profiles", *faults, table("profiles", "Latency profiles", HEADER, rows))


def profile(look: Look, namespace: str | None, name: str, acceptance: float) -> str | None:
    """One profile as heat maps; None where there is none of that name that can be used."""
    known = (each for each in look.profiles.known if (each.namespace, each.name) == (namespace, name))
    found = next(known, None)
    if found is None or found.profile is None:
        return None
    axes = Axes(found.profile.model)
    return page(
        look,
        f"Profile {name}",
        "/profiles",
        _gain_map(axes, acceptance),
        _best_map(axes),
        _time_map(axes),
        still=[facts(_facts(found.profile, namespace, axes)), _form(acceptance)],
    )


def profile_link(look: Look, namespace: str, named: str | None, place: str) -> Child:
    """What a status says is in use, leading to its page where there is one. ``place`` tells such links apart."""
    usable = (each for each in look.profiles.known if each.profile is not None)
    found = next((each for each in usable if _status_name(each, namespace) == named), None)
    return named if found is None or named is None else link(named, _path(found), f"profile-of-{place}")


def _status_name(each: KnownProfile, namespace: str) -> str | None:
    """How statuses of policies in this namespace name it; None: not at all."""
    if each.namespace is None:
        return f"{CLUSTER_PROFILE.kind.lower()}/{each.name}"
    return each.name if each.namespace == namespace else None


def _path(each: KnownProfile) -> str:
    place = "cluster" if each.namespace is None else f"namespaces/{quote(each.namespace, safe='')}"
    return f"/profiles/{place}/{quote(each.name, safe='')}"


class Axes:
    """What was measured: batches and K, ascending, and the context in the middle."""

    def __init__(self, model: LatencyModel) -> None:
        cells = [cell for cell in model.cells if cell.prefill_tokens == 0]
        contexts = sorted(cell.context_tokens for cell in cells)
        self.model = model
        self.batches = sorted({cell.batch for cell in cells})
        self.ks = sorted({cell.draft_tokens for cell in cells})
        self.context = contexts[len(contexts) // 2]

    def gains(self, acceptance: float) -> list[list[float]]:
        """Goodput over that of K = 0, a list of every K's for each batch."""
        return gains(self.model, self.ks, self.batches, self.context, acceptance)

    @property
    def columns(self) -> list[str]:
        """Names of the batches."""
        return [str(batch) for batch in self.batches]


def _gain_map(axes: Axes, acceptance: float) -> Element:
    found = axes.gains(acceptance)
    reach = max(LEAST_REACH, *(abs(math.log2(gain)) for column in found for gain in column))
    best = [max(range(len(axes.ks)), key=column.__getitem__) for column in found]
    rows: list[Row] = []
    for number, k in reversed(list(enumerate(axes.ks))):
        cells = [
            Cell(f"{column[number]:.2f}", tint(math.log2(column[number]) / reach), framed=best[place] == number)
            for place, column in enumerate(found)
        ]
        rows.append((str(k), cells))
    top = max(max(column) for column in found)
    words = (
        f"Goodput of each K over that of K = 0, by batch, where each draft token is accepted with chance "
        f"{acceptance:g}. Best: {top:.2f} times. " + _choices(axes, [axes.ks[number] for number in best])
    )
    title = f"Goodput against K = 0 at acceptance {acceptance:g} (framed: best K)"
    return cell_map("gain", title, words, ("batch", "K"), columns=axes.columns, rows=rows)


def _best_map(axes: Axes) -> Element:
    largest = max(*axes.ks, 1)
    rows: list[Row] = []
    for acceptance in ACCEPTANCES:
        best = [axes.ks[max(range(len(axes.ks)), key=column.__getitem__)] for column in axes.gains(acceptance)]
        rows.append((f"{acceptance:g}", [Cell(str(k), tint(k / largest)) for k in best]))
    words = "K of the highest predicted goodput, by batch and by the chance that a draft token is accepted."
    return cell_map(
        "best", "Best K by batch and acceptance", words, ("batch", "acceptance"), columns=axes.columns, rows=rows
    )


def _time_map(axes: Axes) -> Element:
    def milliseconds(batch: int, k: int) -> float:
        return 1e3 * axes.model.step_seconds(decodes=batch, draft_tokens=k, kv_tokens=batch * axes.context)

    times = {k: [milliseconds(batch, k) for batch in axes.batches] for k in axes.ks}
    least, most = (pick(pick(column) for column in times.values()) for pick in (min, max))
    span = max(most - least, 1e-9)
    rows: list[Row] = [
        (str(k), [Cell(f"{time:.3g}", tint((time - least) / span)) for time in times[k]]) for k in reversed(axes.ks)
    ]
    words = f"Milliseconds that a step takes, by batch and K: {least:.3g} to {most:.3g}."
    return cell_map("time", "Step time in milliseconds", words, ("batch", "K"), columns=axes.columns, rows=rows)


def _choices(axes: Axes, best: list[int]) -> str:
    return "Best K by batch: " + ", ".join(f"{batch}: {k}" for batch, k in zip(axes.batches, best, strict=True)) + "."


def _form(acceptance: float) -> Element:
    options = [
        node("option", f"{each:g}", value=f"{each:g}", selected="selected" if each == acceptance else None)
        for each in ACCEPTANCES
    ]
    return node(
        "form",
        node("label", "Acceptance of every draft token ", for_="acceptance"),
        node("select", *options, name="acceptance", id="acceptance"),
        " ",
        node("button", "Show", type="submit", id="show"),
        method="get",
    )


def _row(each: KnownProfile) -> list[Child]:
    namespace = each.namespace or "(cluster)"
    if each.profile is None:
        return [each.name, namespace, None, None, None, None, None, f"no: {each.fault}"]
    identity = each.profile.spec.identity
    return [
        link(each.name, _path(each), slug(each.namespace or "", each.name)),
        namespace,
        identity.hardware,
        identity.method,
        identity.engine_version,
        len(each.profile.spec.cells),
        _error(each.profile),
        "yes",
    ]


def _facts(found: Profile, namespace: str | None, axes: Axes) -> list[tuple[str, Child]]:
    identity = found.spec.identity
    return [
        ("Namespace", namespace or "(cluster)"),
        ("Hardware", identity.hardware),
        ("Model", identity.target),
        ("Method", identity.method),
        ("vLLM", identity.engine_version),
        ("Error on cells not seen", _error(found)),
        ("Context", f"{axes.context} tokens, the median measured"),
        ("Coverage", found.spec.provenance.coverage),
        ("Measured", found.spec.provenance.measured_at),
    ]


def _error(found: Profile) -> str | None:
    permille = found.spec.hold_out_error_permille
    return None if permille is None else f"{permille / 10:.1f}%"
