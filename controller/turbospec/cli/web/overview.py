"""The page of the policies. Pure."""

from typing import Any

from turbospec.cli.web.engines import PREDICTED, goodput_chart
from turbospec.cli.web.history import of_all
from turbospec.cli.web.layout import page
from turbospec.cli.web.looking import Look
from turbospec.cli.web.markup import Child, Element, facts, node, slug, table
from turbospec.cli.web.profiles import profile_link

HEADER = ("Policy", "Mode", "Pods", "Controlled", "K", "Profile", "Ready", "Why")
READY = {"True": "yes", "False": "no", "Unknown": "unknown"}


def overview(look: Look) -> str:
    """Every policy, and what the fleet delivers."""
    if not look.policies:
        where = "in any namespace" if look.where is None else f"in namespace {look.where}"
        remedy = (
            f"No SpeculationPolicy {where}. Write one for a running workload: kubectl turbospec init deployment/NAME"
        )
        return page(look, "Policies", "/", node("p", remedy))
    rows = [_row(look, each) for each in look.policies]
    return page(
        look,
        "Policies",
        "/",
        facts(_totals(look)),
        table("policies", "Policies, and whether they are ready", HEADER, rows),
        _advice(look),
        goodput_chart("fleet", of_all(look.moments)),
        node("p", PREDICTED, " Engines of which one of the two is not known are left out of both sums.", class_="note"),
    )


def _totals(look: Look) -> list[tuple[str, Child]]:
    known = [each["tokensPerSecond"] for each in look.engines if each["tokensPerSecond"] is not None]
    ready = sum(each["ready"] == "True" for each in look.policies)
    controlled = sum(each["controlled"] for each in look.engines)
    delivered = f"{sum(known):,} tokens/s from {len(known)} of them" if known else None
    return [
        ("Policies", f"{len(look.policies)}, {ready} ready"),
        ("Engines", f"{len(look.engines)}, {controlled} controlled"),
        ("Delivered", delivered),
    ]


def _advice(look: Look) -> Element | None:
    """Of policies in mode Advise."""
    rows = [[_name(look, each), each["adviceMessage"]] for each in look.policies if each["adviceMessage"]]
    return table("advice", "What TurboSpec would have gained", ("Policy", "Advice"), rows) if rows else None


def _name(look: Look, policy: dict[str, Any]) -> str:
    return f"{policy['namespace']}/{policy['name']}" if look.where is None else str(policy["name"])


def _row(look: Look, policy: dict[str, Any]) -> list[Child]:
    ready = READY.get(policy["ready"] or "")
    why = ": ".join(each for each in (policy["reason"], policy["message"]) if each) or None
    mark = node("span", ready, class_=f"ready-{ready}") if ready else None
    return [
        _name(look, policy),
        policy["mode"],
        policy["pods"],
        policy["controlled"],
        policy["draftTokens"],
        profile_link(look, policy["namespace"], policy["profile"], slug(policy["namespace"], policy["name"])),
        mark,
        why,
    ]
