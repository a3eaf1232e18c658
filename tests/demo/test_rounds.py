"""A run of the demo's windows against engines and clients that answer at once."""

import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from e2e.cluster.errors import ClusterError
from e2e.demo import rounds
from e2e.demo.phases import TURBOSPEC, Phase, schedule, seconds
from e2e.demo.rounds import Measurement, Moment

PHASES = (Phase("few", 1, "code", 0.1), Phase("many", 16, "chat", 0.2))
WINDOW_SECONDS = 0.1
HASTE = 10.0


@pytest.fixture(autouse=True)
def short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here takes the time that a sample gives engines and clients."""
    monkeypatch.setattr(rounds, "SAMPLE_SECONDS", 0.05)


@dataclass
class FakeWorld:
    """Kubernetes, engines and load generator in one: every engine always obeys the last patch, unless ``deaf``."""

    deaf: bool = False
    patches: list[list[int]] = field(default_factory=list)
    starts: list[tuple[str, int, str]] = field(default_factory=list)
    targets: dict[str, str] = field(default_factory=dict)
    all: list[Any] = field(default_factory=list)

    def patch_policy(self, _namespace: str, _name: str, spec: dict[str, Any]) -> int:
        self.patches.append(spec["speculation"]["draftTokens"])
        return len(self.patches)

    async def wait_for_generation(self, generation: int, _seconds: float) -> bool:
        return generation == len(self.patches) and not self.deaf

    async def new_steps(self) -> list[dict[str, Any]]:
        k = max(self.patches[-1])
        row = {"decodes": 2, "decided_draft_tokens": k, "generated_tokens": 2}
        return [row | {"drafted_per_position": [k, 0], "accepted_per_position": [k, 0]}]

    async def start(self, _targets: dict[str, str], style: str, clients: int, seed: str) -> None:
        self.starts.append((style, clients, seed))

    def tokens_per_second(self, begin: float, end: float) -> float:
        return 100.0 * (end - begin) / (end - begin)


def measurement(world: FakeWorld, moments: list[Moment]) -> Measurement:
    return Measurement(world, world, world, WINDOW_SECONDS, HASTE, moments.append)  # type: ignore[arg-type]


async def test_every_window_is_measured_once_and_k_is_left_to_turbospec() -> None:
    """One result per window, the arms' draft lengths in the order of the schedule, and the whole choice at the end."""
    world = FakeWorld()
    moments: list[Moment] = []
    run = measurement(world, moments)
    windows = schedule(PHASES, 1)
    await run.run(windows)
    compared = [window for window in windows if window.round is not None]
    assert [(each.arm, each.phase) for each in run.results] == [(w.arm.name, w.phase.name) for w in compared]
    assert world.patches == [[0, 1, 3, 5], [0], [5], [0, 1, 3, 5], [0], [5], [0, 1, 3, 5]]
    assert [each.mean_draft_tokens for each in run.results] == [5, 0, 5, 5, 0, 5]
    assert {point.phase for point in run.timeline} == {"few", "many"}


async def test_many_clients_begin_once_a_phase_and_few_with_every_arm() -> None:
    """The arms of a round get the same texts where these are few; and a run is as long as its windows say."""
    world = FakeWorld()
    windows = schedule(PHASES, 1)
    began = time.monotonic()
    await measurement(world, []).run(windows)
    assert time.monotonic() - began >= seconds(windows, WINDOW_SECONDS, HASTE)
    loads = [start for start in world.starts if start[1]]
    tour = [("code", 1, "tour-few"), ("chat", 16, "tour-many")]
    assert loads == [*tour, *[("code", 1, "0-few")] * 3, ("chat", 16, "0-many")]


async def test_warming_up_lasts_until_every_server_has_drafted() -> None:
    """At a draft length that drafts, whatever the policy says."""

    class Server(SimpleNamespace):
        looks = 0

        @property
        def latest(self) -> list[dict[str, Any]]:
            self.looks += 1
            drafted = [5 if self.looks > self.slow else 0]
            return [{"decodes": 1, "decided_draft_tokens": 5, "generated_tokens": 1,
                     "drafted_per_position": drafted, "accepted_per_position": [0]}]  # fmt: skip

    world = FakeWorld(all=[Server(pod="quick", slow=0), Server(pod="slow", slow=2)])
    await measurement(world, []).warm_up("code")
    assert world.patches == [[5]]
    assert [server.looks for server in world.all] == [3, 3]


async def test_remaining_time_only_shrinks() -> None:
    """A person who waits is told the truth."""
    moments: list[Moment] = []
    await measurement(FakeWorld(), moments).run(schedule(PHASES, 1))
    left = [moment.remaining_seconds for moment in moments]
    assert left == sorted(left, reverse=True)
    assert left[-1] == pytest.approx(0, abs=0.2)


async def test_engines_that_do_not_obey_end_the_run_with_a_remedy() -> None:
    """An arm that was never in force must not be reported."""
    run = measurement(FakeWorld(deaf=True), [])
    with pytest.raises(ClusterError, match="kubectl describe speculationpolicy"):
        await run.run(schedule(PHASES, 1, (TURBOSPEC,)))
    assert run.results == []
