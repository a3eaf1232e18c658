"""Advice for people and for programs."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from turbospec.advise.advice import Advice, Verdict
from turbospec.advise.interval import COVERAGE
from turbospec.advise.queries import Span
from turbospec.cli.fleet.output import table

HEADER = ("NAMESPACE", "MODEL", "ENGINES", "BUSY", "BATCH", "K", "ACCEPTANCE", "TURBOSPEC K", "GAIN", "VERDICT")
SHOWN_SHARE = 0.01
WORDS = {
    Verdict.GAIN: "TurboSpec would have been faster.",
    Verdict.NO_GAIN: "What ran was about as fast as TurboSpec would have been.",
    Verdict.LOSS: "TurboSpec would have been slower than what ran.",
    Verdict.UNCLEAR: "TurboSpec may have been faster or not.",
    Verdict.UNKNOWN: "The gain is not known.",
}


def text(found: Sequence[Advice]) -> str:
    """A table, and under it what each row means."""
    parts = [table(HEADER, [_row(each) for each in found])]
    parts += ["\n".join(_sentences(each)) for each in found]
    return "\n\n".join(parts)


def document(found: Sequence[Advice], span: Span) -> dict[str, Any]:
    """The same for programs; what is not known is null."""
    return {
        "start": _time(span.start - span.step),
        "end": _time(span.end),
        "stepSeconds": span.step,
        "groups": [_group(each) for each in found],
    }


def _row(each: Advice) -> list[object]:
    observed, gain = each.observed, each.gain
    k = None if observed is None or observed.draft_tokens is None else f"{observed.draft_tokens:.1f}"
    return [
        each.group.namespace or None,
        each.group.model or None,
        len(each.group.engines),
        None if observed is None else f"{observed.busy_share:.0%}",
        None if observed is None else f"{observed.batch:.1f}",
        k,
        f"{observed.acceptance[0]:.0%}" if observed and observed.acceptance else None,
        None if each.shares is None else _shares(each.shares),
        "unknown" if gain is None else f"{gain.low:+.0%} to {gain.high:+.0%}",
        each.verdict,
    ]


def _sentences(each: Advice) -> list[str]:
    name = "/".join(filter(None, (each.group.namespace, each.group.model))) or "these engines"
    lines = [f"{name}: {WORDS[each.verdict]}"]
    if each.gain is not None:
        lines.append(
            f"  tokens per second of running requests: {each.gain.low:+.1%} to {each.gain.high:+.1%} "
            f"(right for {COVERAGE:.0%} of fleets)"
        )
    lines += [f"  unknown: needs {need.message}" for need in each.needs]
    observed = each.observed
    if observed is not None and observed.acceptance:
        rates = ", ".join(f"{acceptance:.0%}" for acceptance in observed.acceptance)
        lines.append(
            f"  ran: {observed.tokens_per_step:.2f} tokens a step; acceptance by position {rates}; "
            f"{1e3 * observed.latency_seconds:.1f} ms from one step's tokens to the next"
        )
    for k, acceptance in (each.break_even or {}).items():
        if acceptance is None:
            lines.append(f"  K={k} would not have paid at any acceptance")
        else:
            lines.append(f"  K={k} would have paid from an acceptance of {acceptance:.0%} on")
    if each.shares is not None and set(each.shares) == {0}:
        lines.append("  TurboSpec would never have drafted: these engines are better off without a drafter")
    return lines


def _shares(shares: dict[int, float]) -> str:
    shown = [(k, share) for k, share in sorted(shares.items()) if share >= SHOWN_SHARE]
    return " ".join(f"{k}:{share:.0%}" for k, share in shown)


def _group(each: Advice) -> dict[str, Any]:
    observed, gain = each.observed, each.gain
    return {
        "namespace": each.group.namespace,
        "model": each.group.model,
        "engines": [engine.name for engine in each.group.engines],
        "verdict": str(each.verdict),
        "gain": None
        if gain is None
        else {"low": round(gain.low, 4), "high": round(gain.high, 4), "coverage": COVERAGE},
        "needs": [{"need": str(need.need), "message": need.message} for need in each.needs],
        "draftTokensShare": None if each.shares is None else {str(k): round(s, 4) for k, s in each.shares.items()},
        "breakEvenAcceptance": None if each.break_even is None else {str(k): a for k, a in each.break_even.items()},
        "measuredOverPredictedLatency": None if each.fit_ratio is None else round(each.fit_ratio, 3),
        "observed": None
        if observed is None
        else {
            "batch": round(observed.batch, 2),
            "busyShare": round(observed.busy_share, 4),
            "draftTokens": None if observed.draft_tokens is None else round(observed.draft_tokens, 2),
            "acceptance": [round(rate, 4) for rate in observed.acceptance],
            "tokensPerStep": round(observed.tokens_per_step, 3),
            "stepMilliseconds": round(1e3 * observed.latency_seconds, 3),
        },
    }


def _time(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
