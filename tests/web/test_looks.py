"""What is kept of the looks at a cluster: the last good one, and a past that does not grow without end."""

import threading
from typing import Any

import pytest

from tests.cli.samples import NAME
from tests.web.fleet import BEGIN, Fleet
from turbospec.cli.errors import CommandError
from turbospec.cli.web.engines import BINS, binned
from turbospec.cli.web.history import Figures, History, of_all, of_engine
from turbospec.cli.web.looking import INTERVAL_SECONDS, PROFILE_LOOKS, Looker

KEY = ("team", "chat", "chat-6b9f-0")


def row(pod: str, **figures: int | None) -> dict[str, Any]:
    """What is remembered of a look at one engine."""
    unknown = dict.fromkeys(("draftTokens", "tokensPerSecond", "predictedTokensPerSecond"))
    return {"namespace": "n", "policy": "p", "pod": pod, **unknown, **figures}


@pytest.mark.parametrize(("engines", "looks", "kept"), [(1, 5, 5), (1, 50, 10), (4, 50, 5), (7, 50, 2), (100, 50, 1)])
def test_the_past_is_bounded_in_moments_and_in_points(engines: int, looks: int, kept: int) -> None:
    """Of many engines less is kept, and of the newest moment always all."""
    history = History(most_moments=10, most_points=20)
    for at in range(looks):
        history.add(float(at), [row(f"e-{number}", draftTokens=at) for number in range(engines)])
    assert [moment.at for moment in history.moments] == [float(at) for at in range(looks - kept, looks)]


def test_what_is_not_known_stays_unknown() -> None:
    """An engine that was not there has no figures; sums leave out engines of which one of the two is missing."""
    history = History()
    history.add(1.0, [row("a", tokensPerSecond=5, predictedTokensPerSecond=6)])
    both = row("b", draftTokens=0, tokensPerSecond=10, predictedTokensPerSecond=11)
    history.add(2.0, [row("a", tokensPerSecond=5, predictedTokensPerSecond=6), both, row("c", tokensPerSecond=900)])
    history.add(3.0, [row("c", predictedTokensPerSecond=900)])
    assert of_engine(history.moments, ("n", "p", "b")) == [
        (1.0, Figures()),
        (2.0, Figures(0, 10, 11)),
        (3.0, Figures()),
    ]
    assert of_all(history.moments) == [(1.0, Figures(None, 5, 6)), (2.0, Figures(None, 15, 17)), (3.0, Figures())]


def test_the_map_has_few_columns_and_the_newest_moment() -> None:
    """However long the past is."""
    for looks in (1, 2, BINS, BINS + 1, 361):
        moments = Fleet().looker(1).latest.moments * looks
        found = binned(moments)
        assert 1 <= len(found) <= BINS
        assert found[-1] is moments[-1]


def test_a_lost_answer_leaves_the_last_figures_and_is_told() -> None:
    """Until the next look succeeds; the first one must."""
    fleet = Fleet()
    looker = fleet.looker()
    good = looker.latest
    fleet.error = CommandError("gone")
    fleet.now += INTERVAL_SECONDS
    looker.again()
    assert (looker.latest.error, looker.latest.at, looker.latest.engines) == ("gone", BEGIN, good.engines)
    fleet.error = None
    looker.again()
    assert (looker.latest.error, looker.latest.at) == (None, fleet.now)
    assert [moment.at for moment in looker.latest.moments] == [BEGIN, fleet.now]
    fleet.error = CommandError("gone")
    with pytest.raises(CommandError):
        fleet.looker()


def test_profiles_are_asked_for_seldom_and_need_not_be_seen() -> None:
    """Who may see policies only still has a dashboard; what cannot be used has its reason."""
    fleet = Fleet()
    looker = fleet.looker()
    assert [(each.namespace, each.name) for each in looker.latest.profiles.known] == [
        (None, "shared"), ("team", NAME), ("team", "typed-by-hand"),
    ]  # fmt: skip
    assert "spec.key: is 0000000000000000" in (looker.latest.profiles.known[-1].fault or "")
    fleet.unseen = {"speculationprofiles", "clusterspeculationprofiles"}
    for _ in range(PROFILE_LOOKS - 1):
        looker.again()
    assert len(looker.latest.profiles.known) == 3
    looker.again()
    assert len(looker.latest.profiles.known) == 0
    assert len(looker.latest.profiles.faults) == 2
    assert len(looker.latest.engines) == 4


def test_looking_goes_on_until_it_is_stopped() -> None:
    """In a thread of its own."""
    looks, stopped = threading.Semaphore(0), threading.Event()

    class Counting(Looker):
        def again(self) -> None:
            looks.release()

    fleet = Fleet()
    looker = Counting(fleet, fleet, "team")  # type: ignore[arg-type]
    thread = threading.Thread(target=looker.until, args=(stopped, 0.001))
    thread.start()
    for _ in range(3):
        assert looks.acquire(timeout=30)
    stopped.set()
    thread.join(30)
    assert not thread.is_alive()
    assert looker.latest.engines[0]["pod"] == KEY[2]
