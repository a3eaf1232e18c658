"""Which cluster is chosen, and what a choice that cannot work says."""

import pytest

from e2e.cluster import packages, providers
from e2e.cluster.errors import ClusterError
from e2e.cluster.packages import Requirement


@pytest.mark.parametrize(
    ("wanted", "docker", "chosen"),
    [
        ("", False, "local"),
        ("", True, "kind"),
        ("auto", True, "kind"),
        ("local", True, "local"),
        ("kind", False, "kind"),
        ("existing", True, "existing"),
    ],
)
def test_the_choice(monkeypatch: pytest.MonkeyPatch, wanted: str, docker: bool, chosen: str) -> None:
    """What the user names wins; else a Docker engine that answers decides."""
    monkeypatch.setenv("CLUSTER", wanted)
    monkeypatch.setattr(providers, "docker_answers", lambda: docker)
    assert providers.choose("test", print).name == chosen


def test_an_unknown_choice_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error names the remedy."""
    monkeypatch.setenv("CLUSTER", "kindd")
    with pytest.raises(ClusterError, match="CLUSTER=kindd is unknown; use one of: local, kind, existing"):
        providers.choose("test", print)


@pytest.mark.parametrize("missing", ["IMAGE", "VLLM_IMAGE"])
def test_an_existing_cluster_needs_pushed_images(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Which variable is missing, and from which Dockerfile its image comes, is said before anything is done."""
    monkeypatch.setenv("CLUSTER", "existing")
    monkeypatch.setenv("IMAGE", "registry.invalid/turbospec:1")
    monkeypatch.setenv("VLLM_IMAGE", "registry.invalid/vllm:1")
    monkeypatch.delenv(missing)
    with pytest.raises(ClusterError, match=f"^{missing} is not set.*Dockerfile"):
        providers.choose("test", print).prepare()


def test_a_missing_program_is_reported_with_the_command_that_brings_it() -> None:
    """The command can be copied as it is."""
    with pytest.raises(ClusterError, match=r"no-such-program\. Install with: .*apt-get install .* some-package"):
        packages.require((Requirement("no-such-program", "some-package"), Requirement("sh", "dash")))
