"""The meter and its clock: a machine so busy that the meter always comes too late still yields clean steps."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.profiling.fake_engine import TOKEN, FakeEngine, serve
from turbospec.profiling.client import Completion, ControlClient
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.load import LoadGenerator
from turbospec.profiling.measure import BLOCK_STEPS, CellError, Meter, is_clean
from turbospec.profiling.prompts import Corpus

CORPUS = Corpus((Completion(tuple(range(40)), tuple(range(40, 200))),))


@contextmanager
def meter(engine: FakeEngine, late_seconds: float) -> Iterator[Meter]:
    """A meter that comes so many seconds too late each time it looks."""
    with serve(engine) as port, LoadGenerator(port) as load:
        client = ControlClient(port, TOKEN)
        yield Meter(client, load, CORPUS, "fake-model", 8, nap=lambda _: time.sleep(late_seconds))


def test_a_meter_that_is_later_than_a_wave_is_long_gets_its_steps_all_the_same() -> None:
    """All requests have ended before K could be changed: the next wave begins with that K."""
    engine = FakeEngine()
    with meter(engine, 0.15) as late:
        plan = CellPlan(1, 136, 100)
        seen = late.measure(plan, (0, 3), 2, slow=math.inf, last=time.monotonic() + 60)
    for k in (0, 3):
        assert sum(is_clean(record, 1, k) for record in seen) >= BLOCK_STEPS


def test_what_was_seen_before_a_cell_failed_is_kept() -> None:
    """Some refusals come with the second wave, when much was measured already."""
    engine = FakeEngine()
    with meter(engine, 0.05) as late:
        original = late.load.start
        waves = iter(range(100))

        def start(bodies: list[bytes]) -> object:
            if next(waves):
                engine.refuse = "no more"
            return original(bodies)

        late.load.start = start  # type: ignore[method-assign, assignment]
        with pytest.raises(CellError, match="no more") as caught:
            late.measure(CellPlan(1, 136, 100), (0, 3), 2, slow=math.inf, last=time.monotonic() + 60)
    assert sum(is_clean(record, 1, 0) for record in caught.value.records) >= BLOCK_STEPS
