"""The chart's own suites, run by helm-unittest."""

import re
import shutil
import subprocess
from pathlib import Path

import yaml

from e2e.cluster.paths import binary
from tests.chart.conftest import CHART

SUITES = sorted((CHART / "tests").glob("*_test.yaml"))


def helm_unittest(chart: Path) -> subprocess.CompletedProcess[str]:
    """Runs every suite of a chart."""
    executable = shutil.which("helm-unittest") or str(binary("helm-unittest"))
    command = [executable, "--strict", "--color=false", "--file", "tests/*_test.yaml", str(chart)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_every_suite_passes() -> None:
    """Strictly: a key that helm-unittest does not know is an error."""
    done = helm_unittest(CHART)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(SUITES)} passed, {len(SUITES)} total" in done.stdout


def test_every_template_has_a_suite() -> None:
    """A new one is not forgotten; helpers are judged by what they are part of."""
    named = {name for path in SUITES for name in yaml.safe_load(path.read_text())["templates"]}
    covered = {name.removeprefix("templates/") for name in named}
    assert covered == {path.name for path in (CHART / "templates").iterdir() if not path.name.startswith("_")}


BROKEN = (
    ("webhook-configuration.yaml", "failurePolicy: Ignore", "failurePolicy: Fail", "the webhook's configuration"),
    ("operator.yaml", 'include "turbospec.containerSecurityContext" . | nindent 10', '"{}"', "the operator"),
    ("crds.yaml", "{{- if $.Values.crds.keep }}", "{{- if false }}", "definitions"),
)


def test_a_broken_chart_fails(tmp_path: Path) -> None:
    """By the suites that hold what was broken, and no others."""
    chart = Path(shutil.copytree(CHART, tmp_path / "turbospec"))
    for template, sound, broken, _ in BROKEN:
        path = chart / "templates" / template
        assert sound in path.read_text()
        path.write_text(path.read_text().replace(sound, broken))
    done = helm_unittest(chart)
    assert done.returncode != 0
    assert set(re.findall(r"^ FAIL  (.*?)\t", done.stdout, re.MULTILINE)) == {suite for *_, suite in BROKEN}
