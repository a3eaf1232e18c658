"""The pages of all engines, and of one. Pure."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from turbospec.cli.web.cell_map import Cell, cell_map, tint
from turbospec.cli.web.history import Figures, Key, Moment, key_of, of_engine
from turbospec.cli.web.layout import page
from turbospec.cli.web.line_chart import Line, line_chart
from turbospec.cli.web.looking import Look
from turbospec.cli.web.markup import Child, Element, facts, link, node, percent, slug, table
from turbospec.cli.web.profiles import profile_link

HEADER = ("Engine", "Policy", "Hardware", "Batch", "K", "Acceptance", "Tokens/s", "Predicted", "Gain", "State")
MOST_MAPPED = 64
"""Engines in the map of K; the table has all."""
BINS = 20
"""Columns of that map."""
MOST_CHARACTERS = 24
"""Of a pod's name beside the map: its end tells pods of one Deployment apart."""
PREDICTED = (
    "Predicted is what engines expect of the K in use at their last batch while they decode; measured is what they "
    "delivered over the last ten seconds or so, prefills and pauses included."
)

Past = Sequence[tuple[float, Figures]]


def engines(look: Look) -> str:
    """Every engine's figures, and its K over time."""
    if not look.engines:
        return page(look, "Engines", "/engines", node("p", "No policy governs an engine. See the page Policies."))
    rows = [_row(each, everywhere=look.where is None) for each in look.engines]
    return page(
        look,
        "Engines",
        "/engines",
        table("engines", "Engines, what they run and deliver", HEADER, rows),
        node("p", "Gain is predicted, against K = 0 on the same engine. ", PREDICTED, class_="note"),
        k_map(look),
    )


def engine(look: Look, key: Key) -> str | None:
    """One engine: what it did, and why it runs its K. None where there is none."""
    found = next((each for each in look.engines if key_of(each) == key), None)
    if found is None:
        return None
    past = of_engine(look.moments, key)
    return page(
        look,
        f"Engine {found['pod']}",
        "/engines",
        facts([*_facts(found), ("Profile", profile_link(look, key[0], found["profile"], slug(*key)))]),
        line_chart("k", "K over time", "", [Line("K", [(at, each.draft_tokens) for at, each in past], steps=True)]),
        goodput_chart("goodput", past),
        node("p", PREDICTED, class_="note"),
        _predictions(found),
        _schedule(found),
    )


def goodput_chart(name: str, past: Past) -> Element:
    """Predicted against measured tokens per second."""
    measured = Line("Measured", [(at, each.measured) for at, each in past])
    predicted = Line("Predicted", [(at, each.predicted) for at, each in past], dashed=True)
    return line_chart(name, "Goodput, predicted against measured, in tokens/s", "tokens/s", [measured, predicted])


def k_map(look: Look) -> Element:
    """K of every engine over time: one row each, the newest at the right."""
    shown = look.engines[:MOST_MAPPED]
    bins = binned(look.moments)
    largest = max((each.draft_tokens or 0 for moment in bins for each in moment.engines.values()), default=0)
    rows = []
    for each in shown:
        ks = [figures.draft_tokens for _, figures in of_engine(bins, key_of(each))]
        cells = [Cell("-", None) if k is None else Cell(str(k), tint(k / largest) if largest else 0) for k in ks]
        rows.append((_short(each["pod"]), cells))
    now = look.moments[-1].at
    columns = [_ago(now - moment.at) for moment in bins]
    running = sorted({each["draftTokens"] for each in shown if each["draftTokens"] is not None})
    words = f"K now: {', '.join(map(str, running)) or 'not known'}. Every engine's is in the table."
    left_out = len(look.engines) - len(shown)
    note = node("p", f"The first {MOST_MAPPED} engines; {left_out} more are in the table only.") if left_out else None
    return cell_map("k", "K over time", words, ("time", "engine"), columns=columns, rows=rows, note=note)


def binned(moments: Sequence[Moment]) -> list[Moment]:
    """At most BINS moments, evenly apart, the newest among them."""
    stride = -(-len(moments) // BINS)
    return list(moments[::-1][:: max(stride, 1)])[::-1]


def _ago(seconds: float) -> str:
    if seconds < 1.0:
        return "now"
    return f"-{seconds:.0f} s" if seconds < 60.0 else f"-{seconds / 60:.3g} min"


def _short(pod: str) -> str:
    return pod if len(pod) <= MOST_CHARACTERS else "…" + pod[1 - MOST_CHARACTERS :]


def _row(each: dict[str, Any], *, everywhere: bool) -> list[Child]:
    namespace, policy, pod = key_of(each)
    target = "/engines/" + "/".join(quote(part, safe="") for part in key_of(each))
    return [
        link(pod, target, slug(namespace, policy, pod)),
        f"{namespace}/{policy}" if everywhere else policy,
        each["hardware"],
        each["batch"],
        each["draftTokens"],
        percent(each["acceptancePercent"]),
        each["tokensPerSecond"],
        each["predictedTokensPerSecond"],
        percent(each["gainPercent"], "+"),
        each["reason"],
    ]


def _facts(each: dict[str, Any]) -> list[tuple[str, Child]]:
    decision = each["decision"]
    why = ", bounded by ".join(part for part in (decision["reason"], decision["bounding"]) if part) or None
    return [
        ("Policy", f"{each['namespace']}/{each['policy']}"),
        ("State", ": ".join(part for part in (each["reason"], each["message"]) if part) or None),
        ("K", each["draftTokens"]),
        ("Why this K", why),
        ("Batch", each["batch"]),
        ("Acceptance", percent(each["acceptancePercent"])),
        ("Delivered", None if each["tokensPerSecond"] is None else f"{each['tokensPerSecond']:,} tokens/s"),
        ("Gain against K = 0", percent(each["gainPercent"], "+")),
        ("Hardware", each["hardware"]),
        ("Node", each["node"]),
    ]


def _predictions(each: dict[str, Any]) -> Element | None:
    if not each["predictions"]:
        return None
    off = next((one["tokensPerSecond"] for one in each["predictions"] if one["draftTokens"] == 0), None)
    rows: list[list[Child]] = [
        [
            one["draftTokens"],
            one["tokensPerSecond"],
            f"{one['tokensPerSecond'] / off:.2f}x" if off else None,
            "yes" if one["draftTokens"] == each["draftTokens"] else "no",
        ]
        for one in each["predictions"]
    ]
    header = ("K", "Tokens/s", "Of K = 0", "In use")
    return table("predictions", "Predicted goodput of every K that was weighed", header, rows)


def _schedule(each: dict[str, Any]) -> Element | None:
    if not each["schedule"]:
        return None
    rows: list[list[Child]] = [
        [f"{one['fromBatch']} to {one['toBatch']}", one["draftTokens"]] for one in each["schedule"]
    ]
    return table("schedule", "K by batch, as it would be decided now", ("Batch", "K"), rows)
