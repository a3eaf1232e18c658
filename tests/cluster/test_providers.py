"""Which cluster is chosen, and what a choice that cannot work says."""

from types import SimpleNamespace

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


@pytest.mark.parametrize("failing", [1, 2])
def test_package_lists_that_are_older_than_the_mirror_are_renewed(
    monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Once; what fails with new ones too is reported."""
    ran: list[str] = []
    there: list[Requirement] = []
    wanted = Requirement("some-program", "some-package")

    def run(command: list[str]) -> str:
        ran.append("update" if "update" in command else "install")
        if ran[-1] == "install" and ran.count("install") <= failing:
            raise ClusterError("404 Not Found")
        if ran[-1] == "install":
            there.append(wanted)
        return ""

    monkeypatch.setattr(packages, "run", run)
    monkeypatch.setattr(packages, "find", lambda _program: "/usr/bin/apt-get")
    monkeypatch.setattr(packages, "missing", lambda _requirements: [] if there else [wanted])
    monkeypatch.setattr(packages, "Path", lambda _folder: SimpleNamespace(glob=lambda _pattern: ["lists"]))
    if failing == 2:
        with pytest.raises(ClusterError, match="404"):
            packages.install((wanted,), print)
    else:
        packages.install((wanted,), print)
    assert ran == ["install", "update", "install"]
