"""Every reason that a condition may have is in docs/troubleshooting.md, with a remedy."""

import inspect
import re
from pathlib import Path

from turbospec.fleet import conditions, drift, engines, forecast, queried, scale_metrics, standing
from turbospec.fleet.profile_standing import ProfileReason

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
NO_REASONS = {
    "True",
    "False",
    "Unknown",
    "Profiled",
    "Ready",
    "Exclusive",
    "Permitted",
    "ObjectiveAttainable",
    "ProfileAccurate",
    "DemandKnown",
    "HistoryKnown",
    "ScalingCompatible",
    "Warning",
    # What HPAs and their metrics are spelled with.
    "AverageValue",
    "Pods",
    "Object",
    "External",
    "Knative",
}
"""Statuses and types of conditions, which the sources spell alike."""


def test_every_reason_has_a_remedy() -> None:
    """Words in CamelCase between quotes are reasons, wherever conditions and standings are made."""
    modules = (conditions, drift, engines, forecast, queried, scale_metrics, standing)
    sources = "".join(inspect.getsource(module) for module in modules)
    reasons = set(re.findall(r'"((?:[A-Z][a-z]+)+)"', sources)) - NO_REASONS | {
        reason.value for reason in ProfileReason
    }
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert reasons - {name for name, _, remedy in rows if remedy} == set()
