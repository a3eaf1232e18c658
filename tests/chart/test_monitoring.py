"""Alert rules that Prometheus accepts and that fire when they should; monitors that find what they are for."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.errors import ClusterError
from e2e.demo.prometheus import find_program
from tests.chart.conftest import CHART, Raw, Render, one
from turbospec.control.bias import BOUND

ROOT = CHART.parents[1]
RULES = CHART / "files" / "alerts.yaml"
ALERTS: list[Raw] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
CASES = Path(__file__).with_name("alerts_test.yaml")
KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule", "NetworkPolicy"}


@pytest.fixture
def promtool() -> str:
    """Prometheus's own judge of rules: that of the PATH, or Debian's in the cache."""
    if found := shutil.which("promtool"):
        return found
    try:
        return str(Path(find_program(print)).with_name("promtool"))
    except ClusterError as error:
        pytest.skip(f"no promtool (Debian: apt-get install prometheus): {error}")


@pytest.mark.parametrize(
    "rules", [RULES, ROOT / "examples" / "autoscaling" / "prometheus-rules.yaml"], ids=lambda path: path.name
)
def test_prometheus_accepts_the_rules(promtool: str, rules: Path) -> None:
    """promtool check rules, on those that the chart brings and those that users are to load."""
    subprocess.run([promtool, "check", "rules", str(rules)], check=True, capture_output=True)


def test_each_alert_fires_and_stays_silent_as_its_cases_say(promtool: str, tmp_path: Path) -> None:
    """promtool test rules, on series as operator and engines export them; every alert has a case."""
    cases: Raw = yaml.safe_load(CASES.read_text())
    fired = {test["alertname"] for each in cases["tests"] for test in each["alert_rule_test"] if test.get("exp_alerts")}
    assert fired == {alert["alert"] for alert in ALERTS}
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump(cases | {"rule_files": [str(RULES)]}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_has_a_page_that_says_what_to_do(alert: Raw) -> None:
    """Its annotation names a file of this repository."""
    page = ROOT / alert["annotations"]["runbook"]
    text = page.read_text()
    assert page.stem == alert["alert"]
    assert text.startswith(f"# {alert['alert']}\n")
    assert "**Look.**" in text
    assert "**Do.**" in text


def test_alerts_use_series_that_exist() -> None:
    """As the operator's and the engine's code name them."""
    sources = [
        ROOT / "operator" / "turbospec_operator" / "metrics.py",
        ROOT / "controller" / "turbospec" / "engine" / "metrics.py",
    ]
    code = "".join(path.read_text() for path in sources).replace("{PREFIX}", "turbospec_engine_")
    for alert in ALERTS:
        for series in re.findall(r"turbospec_\w+", alert["expr"]):
            assert re.sub(r"_(total|info)$", "", series) in code, series


def test_the_bounds_of_a_series_can_be_reached() -> None:
    """An engine's correction is held within them: an alert beyond would never fire."""
    (alert,) = [each for each in ALERTS if each["alert"] == "TurboSpecEngineOffProfile"]
    assert re.findall(r"([<>]=?) ([\d.]+)", alert["expr"]) == [(">=", f"{BOUND:g}"), ("<=", f"{1 / BOUND:g}")]


def test_nothing_of_it_is_there_by_default(render: Render) -> None:
    """Monitors need kinds that most clusters lack."""
    assert not KINDS & {each["kind"] for each in render()}


ALL: dict[str, Any] = {
    "monitoring": {
        "labels": {"release": "prometheus"},
        "serviceMonitor": {"enabled": True},
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
    },
    "networkPolicy": {"enabled": True},
}


def test_monitors_and_rules_carry_the_labels_that_select_them(render: Render) -> None:
    """And the rules are those of the file, untouched by Helm's templates."""
    objects = render(**ALL)
    for kind, name in (
        ("ServiceMonitor", "turbospec-operator"),
        ("PodMonitor", "turbospec-engines"),
        ("PrometheusRule", "turbospec"),
    ):
        assert one(objects, kind, name)["metadata"]["labels"]["release"] == "prometheus"
    assert one(objects, "PrometheusRule", "turbospec")["spec"] == yaml.safe_load(RULES.read_text())


def test_the_service_monitor_selects_the_operators_service(render: Render) -> None:
    """By its labels, at a port that it has."""
    objects = render(**ALL)
    monitor, service = (one(objects, kind, "turbospec-operator") for kind in ("ServiceMonitor", "Service"))
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    webhook = one(objects, "Service", "turbospec-webhook")["metadata"]["labels"]
    assert not monitor["spec"]["selector"]["matchLabels"].items() <= webhook.items()


def relabelled(labels: dict[str, str], steps: list[Raw]) -> dict[str, str] | None:
    """What Prometheus makes of a target by the three actions that our PodMonitor uses; None where it is dropped."""
    for step in steps:
        value = ";".join(labels.get(name, "") for name in step["sourceLabels"])
        match = re.fullmatch(step.get("regex", "(.*)"), value)
        if step["action"] == "keep" and match is None:
            return None
        if step["action"] == "keepequal" and value != labels.get(step["targetLabel"], ""):
            return None
        if step["action"] == "replace" and match is not None:
            labels = labels | {step["targetLabel"]: match.expand(step["replacement"].replace("$1", r"\1"))}
    return labels


POD = {
    "__address__": "10.0.0.7:8000",
    "__meta_kubernetes_pod_ip": "10.0.0.7",
    "__meta_kubernetes_pod_annotationpresent_turbospec_io_injected": "true",
    "__meta_kubernetes_pod_annotation_turbospec_io_container": "vllm",
    "__meta_kubernetes_pod_container_name": "vllm",
}


@pytest.mark.parametrize(
    ("changed", "address"),
    [
        ({}, "10.0.0.7:9999"),
        ({"__address__": "10.0.0.7:8001"}, "10.0.0.7:9999"),
        ({"__address__": "10.0.0.7"}, "10.0.0.7:9999"),
        ({"__meta_kubernetes_pod_ip": "fd00::7"}, "[fd00::7]:9999"),
        ({"__meta_kubernetes_pod_container_name": "proxy"}, None),
        ({"__meta_kubernetes_pod_annotationpresent_turbospec_io_injected": ""}, None),
    ],
)
def test_the_pod_monitor_finds_the_control_port_of_injected_pods(
    render: Render, changed: dict[str, str], address: str | None
) -> None:
    """Whatever ports a pod declares, its engine is one target; pods without the runtime and sidecars are none."""
    monitor = one(render(**ALL, enginePort=9999), "PodMonitor", "turbospec-engines")["spec"]
    target = relabelled(POD | changed, monitor["podMetricsEndpoints"][0]["relabelings"])
    assert (target and target["__address__"]) == address
    assert monitor["namespaceSelector"] == {"any": True}


def test_the_pod_monitor_stays_in_the_watched_namespace(render: Render) -> None:
    """watchNamespace."""
    monitor = one(render(**ALL, watchNamespace="team-a"), "PodMonitor", "turbospec-engines")["spec"]
    assert monitor["namespaceSelector"] == {"matchNames": ["team-a"]}


@pytest.mark.parametrize("component", ["operator", "webhook"])
def test_network_policies_cover_our_own_pods_only(render: Render, component: str) -> None:
    """The first NetworkPolicy over a serving pod would isolate it."""
    objects = render(**ALL)
    policies = [each for each in objects if each["kind"] == "NetworkPolicy"]
    assert {each["metadata"]["namespace"] for each in policies} == {"turbospec-system"}
    policy = one(policies, "NetworkPolicy", f"turbospec-{component}")["spec"]
    template = one(objects, "Deployment", f"turbospec-{component}")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == ports
    assert policy["policyTypes"] == ["Ingress"]
