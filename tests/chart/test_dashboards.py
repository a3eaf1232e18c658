"""Dashboards as the chart brings them to Grafana's sidecar."""

import json
from typing import Any

import pytest

from tests.chart.conftest import CHART, Raw, Render

FILES = sorted((CHART / "files" / "dashboards").glob("*.json"))
CONFIG_MAP_BYTES = 1_048_576


def config_maps(render: Render, **values: Any) -> list[Raw]:
    """Those that are rendered; nothing else of the chart is one."""
    return [each for each in render(**values) if each["kind"] == "ConfigMap"]


def test_they_are_only_there_where_they_are_wanted(render: Render) -> None:
    """Without Grafana they would only lie about."""
    assert config_maps(render) == []


def test_each_file_becomes_a_labelled_config_map_that_holds_it_unchanged(render: Render) -> None:
    """What looks like a template in a legend is Grafana's, not Helm's."""
    found = config_maps(render, dashboards={"enabled": True})
    assert [each["metadata"]["name"] for each in found] == [f"turbospec-dashboard-{path.stem}" for path in FILES]
    for path, each in zip(FILES, found, strict=True):
        assert each["metadata"]["namespace"] == "turbospec-system"
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert "annotations" not in each["metadata"]
        ((name, text),) = each["data"].items()
        assert name == f"turbospec-{path.name}"
        assert json.loads(text) == json.loads(path.read_text())
        assert len(text.encode()) < CONFIG_MAP_BYTES / 4


def test_labels_annotations_and_namespace_are_the_users(render: Render) -> None:
    """Sidecars differ in what they look for, and where."""
    wanted = {
        "enabled": True,
        "namespace": "monitoring",
        "labels": {"team": "sre", "grafana_dashboard": None},
        "annotations": {"grafana_folder": "TurboSpec"},
    }
    for each in config_maps(render, dashboards=wanted):
        assert each["metadata"]["namespace"] == "monitoring"
        assert each["metadata"]["labels"]["team"] == "sre"
        assert "grafana_dashboard" not in each["metadata"]["labels"]
        assert each["metadata"]["annotations"] == {"grafana_folder": "TurboSpec"}


@pytest.mark.parametrize(("clusters", "count"), [("Only", 0), ("Skip", len(FILES))])
def test_they_come_with_what_is_namespaced(render: Render, clusters: str, count: int) -> None:
    """Not with what an administrator applies for a cluster."""
    assert len(config_maps(render, dashboards={"enabled": True}, clusterObjects=clusters)) == count
