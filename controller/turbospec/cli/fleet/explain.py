"""``turbospec explain``: why an engine runs its K, in its own words, as the operator publishes them."""

from typing import Any

import click

from turbospec.cli.fleet import policies
from turbospec.cli.fleet.api import Raw
from turbospec.cli.fleet.output import show, table
from turbospec.cli.options import Place, output_option, place_options
from turbospec.control.draft_length import Bounding, Reason

REASONS: dict[str, str] = {
    Reason.HIGHEST_GOODPUT: "of the allowed K it is predicted to deliver the most tokens per second",
    Reason.HYSTERESIS: "another K promises a little more, too little to be worth a change",
    Reason.PROBE: "the engine looks again, for a few steps, at what this K delivers",
    Reason.ONLY_ALLOWED: "policy and engine have only this K in common",
    Reason.TABLE: "the operator's table says so (spec.engine.loop: Table)",
    Reason.STARTUP_TABLE: "the table that the engine was started with: no document has reached it yet",
    Reason.NO_LATENCY_MODEL: "nothing tells yet what a step costs: the engine waits for a profile",
    Reason.NO_ACCEPTANCE: "nothing tells yet how many drafts are accepted",
    Reason.NO_PROFILE: "it is predicted to deliver most, by step times learnt while serving: there is no profile",
    Reason.UNATTAINABLE: "no allowed K meets spec.objective; this one delivers most",
}
BOUNDS: dict[str, str] = {
    Bounding.GOODPUT: "longer drafts would deliver less",
    Bounding.ALLOWED: "it is the largest K allowed: spec.speculation.draftTokens and the engine's start-up bound it",
    Bounding.OBJECTIVE: "a K of higher goodput would miss spec.objective",
    Bounding.TOKEN_BUDGET: "longer drafts would take the room of waiting prefills",
    Bounding.HYSTERESIS: "the gain of another K is within the noise",
}


@click.command()
@click.argument("name", metavar="POD|POLICY")
@place_options
@output_option("table", "json", "yaml")
def explain(name: str, *, place: Place, output: str) -> None:
    """Why this K: the predicted goodput of each, and what bound it.

    POD|POLICY is the name of either; pod/NAME and policy/NAME say which. Figures are those of the policy's status,
    which the operator brings up to date every ten seconds.
    """
    found = policies.named_engines(place.api, place.namespace, name)
    show(output, {"engines": [_facts(*each) for each in found]}, "\n\n".join(_text(*each) for each in found))


def _facts(policy: Raw, engine: Raw) -> dict[str, Any]:
    decision = engine.get("decision") or {}
    return {
        "policy": policy["metadata"]["name"],
        "pod": engine["pod"],
        "controlled": engine["controlled"],
        "batch": engine.get("batch"),
        "acceptancePercent": engine.get("acceptancePercent"),
        "profile": engine.get("profile"),
        "state": engine.get("reason"),
        "message": engine.get("message"),
        "draftTokens": decision.get("draftTokens", engine.get("draftTokens")),
        "reason": decision.get("reason"),
        "bounding": decision.get("bounding"),
        "predictions": decision.get("predictions") or [],
    }


def _text(policy: Raw, engine: Raw) -> str:
    facts = _facts(policy, engine)
    known = "its K is not known"
    if facts["draftTokens"] is not None:
        known = f"K = {facts['draftTokens']}" + ("" if facts["batch"] is None else f" at batch {facts['batch']}")
    lines = [f"{facts['pod']} (policy {facts['policy']}): {known}"]
    if facts["acceptancePercent"] is not None:
        lines.append(f"  acceptance of the first draft token: {facts['acceptancePercent']}%")
    lines.append(f"  profile: {facts['profile'] or 'none'}")
    if facts["reason"] is None:
        lines.append("  why: the operator has heard of no decision")
    else:
        lines.append(f"  why: {facts['reason']}: {REASONS.get(facts['reason'], 'a reason of a newer engine')}")
    if facts["bounding"] is not None:
        lines.append(f"  bound by: {facts['bounding']}: {BOUNDS.get(facts['bounding'], 'a bound of a newer engine')}")
    if not facts["controlled"]:
        lines.append(f"  not controlled: {facts['state']}: {facts['message']}")
    if facts["predictions"]:
        lines += ["", *(f"  {line}" for line in _predictions(facts).splitlines())]
    return "\n".join(lines)


def _predictions(facts: dict[str, Any]) -> str:
    rates = {each["draftTokens"]: each["tokensPerSecond"] for each in facts["predictions"]}
    off = rates.get(0)
    rows = [
        [
            k,
            rate,
            None if not off else f"{rate / off:.2f}x",
            "<- in use" if k == facts["draftTokens"] else "",
        ]
        for k, rate in sorted(rates.items())
    ]
    return table(("K", "TOKENS/S", "AGAINST K=0", ""), rows)
