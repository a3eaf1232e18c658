"""Building: only what is asked for and outdated is built, and unknown names are refused before any work."""

from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster import build
from e2e.cluster.errors import ClusterError
from e2e.cluster.paths import binary_folder


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one built binary, and a module folder that may be changed."""
    monkeypatch.setenv("TURBOSPEC_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "kubernetes"
    folder.mkdir()
    for name in ("go.mod", "go.sum"):
        (folder / name).write_text(name)
    monkeypatch.setattr(build, "MODULE", folder)
    binaries = tmp_path / "cache" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "etcd").touch()
    build.Stamp("etcd").write()
    return folder


def fail(*_: object) -> None:
    raise AssertionError("nothing was to be built")


def test_a_current_binary_is_not_built_again(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm, a build touches nothing: no compiler, no network."""
    assert module.exists()
    monkeypatch.setattr(build, "_build_missing", fail)
    build.build(["etcd"], print)


@pytest.mark.parametrize("change", ["dependency", "removed binary", "no stamp"])
def test_whatever_made_the_binary_outdated_builds_it(
    module: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A changed dependency, a missing file and an interrupted build all mean building."""
    if change == "dependency":
        (module / "go.sum").write_text("another")
    elif change == "removed binary":
        (binary_folder() / "etcd").unlink()
    else:
        build.Stamp("etcd").file.unlink()
    built: list[str] = []
    monkeypatch.setattr(build, "_build_missing", lambda missing, _: built.extend(missing))
    build.build(["etcd"], print)
    assert built == ["etcd"]


def test_a_tool_with_a_module_of_ours_follows_what_that_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own version alone would leave a library that changed unbuilt."""
    for name in ("go.mod", "go.sum"):
        (tmp_path / name).write_text(name)
    wrapped = replace(build.TOOLS["helm-unittest"], wrapper=tmp_path)
    monkeypatch.setitem(build.TOOLS, "helm-unittest", wrapped)
    before = build.Stamp("helm-unittest").recipe()
    (tmp_path / "go.sum").write_text("another")
    assert build.Stamp("helm-unittest").recipe() != before


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    """A typing error costs no eight minutes."""
    with pytest.raises(ClusterError, match=r"cannot build kubelett; known are: .*kubelet"):
        build.build(["kubelett"], print)
