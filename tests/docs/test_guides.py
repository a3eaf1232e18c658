"""Policies that the documentation shows: valid, and the guides' ones do what is said to pods of that kind."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.webhook.test_injection import NONCE, RUNTIME, patched
from tests.webhook.test_real_workloads import FOLDER
from turbospec.wire.speculation_policy import SpeculationPolicySpec
from turbospec_operator.injection import inject
from turbospec_operator.names import ANNOTATION_SPECULATION

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

Raw = dict[str, Any]


def policies(page: Path) -> list[Raw]:
    """Those in its blocks of YAML."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    shown = [each for block in blocks if "kind: SpeculationPolicy" in block for each in yaml.safe_load_all(block)]
    return [each for each in shown if each["kind"] == "SpeculationPolicy"]


def test_every_policy_that_is_shown_is_valid() -> None:
    """Field by field, and as a whole."""
    shown = [each for page in PAGES for each in policies(page)]
    assert len(shown) >= 5
    for each in shown:
        SpeculationPolicySpec.model_validate(each["spec"])


@pytest.mark.parametrize(
    ("guide", "workload", "speculation"),
    [
        ("kserve", "kserve-inferenceservice", "added: ngram"),
        ("production-stack", "production-stack", "added: ngram"),
        ("llm-d", "llm-d-decode", None),
    ],
)
def test_a_guides_policy_selects_and_injects_the_pods_of_its_kind(
    guide: str, workload: str, speculation: str | None
) -> None:
    """Into the container that it names; the user's own speculation stands."""
    (policy,) = policies(ROOT / "docs" / "guides" / f"{guide}.md")
    spec = SpeculationPolicySpec.model_validate(policy["spec"])
    pod: Raw = yaml.safe_load((FOLDER / f"{workload}.yaml").read_text())
    assert spec.selector.match_labels.items() <= pod["metadata"]["labels"].items()
    outcome = inject(pod, policy["metadata"]["namespace"], spec, RUNTIME, NONCE)
    assert outcome.injected, outcome.refusal
    annotations = patched(pod, outcome)["metadata"]["annotations"]
    assert annotations["turbospec.io/container"] == spec.engine.container
    assert annotations.get(ANNOTATION_SPECULATION) == speculation
