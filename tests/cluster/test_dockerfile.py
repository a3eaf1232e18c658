"""The Dockerfile: small, without privileges, and rebuilt when what it is made of changes."""

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from e2e.cluster.images import DOCKERFILE_SOURCES, KEPT_STAGES

ROOT = Path(__file__).parents[2]
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())


@dataclass(frozen=True)
class Stage:
    """A FROM with what follows it."""

    base: str
    name: str
    steps: tuple[tuple[str, str], ...]

    def of(self, instruction: str) -> list[str]:
        """The arguments of its instructions of that name."""
        return [rest for each, rest in self.steps if each == instruction]


def stages() -> list[Stage]:
    """As the Dockerfile has them; the last one is what is shipped."""
    lines = [line.partition(" ") for line in TEXT.splitlines() if line and not line.startswith("#")]
    starts = [number for number, (instruction, _, _) in enumerate(lines) if instruction == "FROM"]
    found = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        base, _, name = lines[start][2].partition(" AS ")
        found.append(Stage(base, name, tuple((each, rest) for each, _, rest in lines[start + 1 : end])))
    return found


STAGES = stages()
SHIPPED = STAGES[-1]


def test_the_base_is_whatever_the_builder_says() -> None:
    """One argument for the build and for what is shipped: another registry, another Debian, another processor."""
    assert TEXT.splitlines()[[line.startswith("ARG") for line in TEXT.splitlines()].index(True)].startswith(
        "ARG BASE_IMAGE="
    )
    assert {each.base for each in STAGES} == {"${BASE_IMAGE}", "dependencies"}
    assert SHIPPED.base == "${BASE_IMAGE}"


def test_what_is_shipped_runs_as_nobody_and_writes_nothing() -> None:
    """A numeric user, which Kubernetes can tell from root; no .pyc files; no step that could leave tools behind."""
    assert SHIPPED.of("USER") == ["65532:65532"]
    assert "PYTHONDONTWRITEBYTECODE=1" in SHIPPED.of("ENV")[0]
    assert SHIPPED.of("RUN") == []
    assert SHIPPED.steps[-1][0] == "ENTRYPOINT"


def test_the_bill_of_materials_lies_where_scanners_look() -> None:
    """It is made from the very environment that is shipped."""
    assert "--from=sbom /sbom /usr/share/sbom" in SHIPPED.of("COPY")
    (made,) = [step for each in STAGES if each.name == "sbom" for step in each.of("RUN") if "cyclonedx-py" in step]
    assert "/sbom/turbospec.cdx.json" in made
    assert made.endswith("/opt/venv/bin/python")
    assert "--from=dependencies /opt/venv /opt/venv" in SHIPPED.of("COPY")


def copied() -> set[str]:
    """What the build takes from the repository."""
    sources = [step.split()[:-1] for each in STAGES for step in each.of("COPY") if not step.startswith("--from")]
    return {source for each in sources for source in each}


@pytest.mark.parametrize("source", sorted(copied()))
def test_each_source_reaches_the_build_and_rebuilds_the_image(source: str) -> None:
    """.dockerignore lets it through, and the cached image of the local cluster depends on it."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert any(fnmatch(source, pattern) for pattern in allowed)
    assert source in DOCKERFILE_SOURCES


def test_stages_that_download_are_kept_between_builds() -> None:
    """A change of our code then downloads nothing."""
    downloading = {each.name for each in STAGES if any("pip-with-secrets" in step for step in each.of("RUN"))}
    assert downloading == set(KEPT_STAGES)
