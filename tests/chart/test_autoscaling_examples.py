"""The examples for autoscalers: accepted by a real API server, and about series that the operator exports."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.autoscaling.hpa import example_hpa
from tests.fleet.builders import NOW, pod
from tests.support.apiserver import ApiServer
from turbospec.fleet.autoscalers import AutoscalerView, ScaleMetric
from turbospec.fleet.scale_metrics import scaling_compatible
from turbospec.fleet.scaling import scale_targets
from turbospec_operator.autoscaler_views import number
from turbospec_operator.metrics import Metrics

ROOT = Path(__file__).parents[2]
EXAMPLES = {path.stem: path for path in sorted((ROOT / "examples" / "autoscaling").glob("*.yaml"))}
SERIES = re.compile(r"(?<![:\w])turbospec_[a-z_]+\b(?!:)")


def example(name: str) -> Any:
    return yaml.safe_load(EXAMPLES[name].read_text(encoding="utf-8"))


def exported() -> set[str]:
    text = Metrics().text().decode()
    return set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))


def written() -> Iterator[tuple[str, str]]:
    for path in (*EXAMPLES.values(), ROOT / "docs" / "autoscaling.md"):
        for name in SERIES.findall(path.read_text(encoding="utf-8")):
            yield path.name, name


def test_every_series_that_is_named_is_exported() -> None:
    known = exported()
    unknown = {(where, name) for where, name in written() if name not in known}
    assert unknown == set()


def test_the_page_shows_the_trigger_of_the_example_first() -> None:
    page = (ROOT / "docs" / "autoscaling.md").read_text(encoding="utf-8")
    shown = page.partition("    triggers:\n")[2].partition("\n\n")[0]
    assert yaml.safe_load(f"triggers:\n{shown}")["triggers"] == example("keda-demand")["spec"]["triggers"]


@pytest.mark.parametrize("name", ["keda-ratio", "keda-demand", "keda-whole-pods"])
def test_a_missing_series_is_not_taken_for_an_idle_fleet(name: str) -> None:
    """KEDA's default is to read nought, on which it removes pods."""
    (trigger,) = example(name)["spec"]["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert trigger["metricType"] == ("Value" if name == "keda-ratio" else "AverageValue")


def metrics_of(name: str) -> tuple[ScaleMetric, ...]:
    spec = example(name)["spec"]
    if "triggers" in spec:
        triggers = spec["triggers"]
        return tuple(
            ScaleMetric("External", "s0", each["metricType"], 0.8, 0.8, each["metadata"]["query"]) for each in triggers
        )
    return tuple(ScaleMetric("External", each["external"]["metric"]["name"], "Value", 0.8) for each in spec["metrics"])


@pytest.mark.parametrize("name", ["keda-ratio", "keda-demand", "keda-whole-pods", "hpa-external"])
def test_our_own_examples_are_what_the_condition_asks_for(name: str) -> None:
    hpa = AutoscalerView("team", "chat", "deployment/chat", "app=chat", 1, 30, 1, 1, metrics_of(name))
    found = scaling_compatible(scale_targets([pod()], [hpa], NOW).values())
    assert found is not None
    assert found.status == "True"


def test_keda_makes_the_same_autoscaler_of_the_demand() -> None:
    """What holds for the one (tests/operator/test_real_hpa.py) holds for the other."""
    plain, keda = (example_hpa(file, "team")["spec"] for file in ("hpa-external.yaml", "keda-demand.yaml"))
    by_keda = keda["metrics"][0]["external"]["target"]
    assert number(by_keda.pop("averageValue")) == number(plain["metrics"][0]["external"]["target"].pop("averageValue"))
    assert keda == plain | {"behavior": {}}


def test_rules_are_as_prometheus_takes_them() -> None:
    (group,) = example("prometheus-rules")["groups"]
    for rule in group["rules"]:
        assert len({"record", "alert"} & set(rule)) == 1
        assert rule["expr"].count("(") == rule["expr"].count(")")


@pytest.mark.apiserver
def test_the_hpa_is_accepted(api_server: ApiServer) -> None:
    manifest = EXAMPLES["hpa-external"].read_text(encoding="utf-8").replace("namespace: team", "namespace: default")
    said = api_server.kubectl("create", "--dry-run=server", "-f", "-", manifest=manifest)
    assert "created (server dry run)" in said
