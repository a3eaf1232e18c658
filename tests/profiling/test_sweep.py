"""The sweep and its time: the whole range first, then where doubt is; slow machines still yield a profile."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from tests.profiling.test_evaluate import record
from turbospec.control.step import StepRecord
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.measure import CellError, Meter
from turbospec.profiling.sweep import FEWEST_CELLS, MOST_REFUSALS, MOST_VISITS, Sweep
from turbospec.wire.profile_result import MAX_COVERAGE

PLANS = [CellPlan(batch, 128, 64) for batch in (1, 2, 4, 8, 16, 32)]
KS = (0, 3)


@dataclass
class StubMeter:
    """Measures in virtual time; ``noise`` is the relative spread of what it sees, by batch."""

    seconds_per_round: float
    noise: dict[int, float] = field(default_factory=dict)
    refused: frozenset[int] = frozenset()
    now: float = 0.0
    prefill_seconds_per_token: float = 0.0
    visited: list[int] = field(default_factory=list)
    orders: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)

    def measure(
        self, plan: CellPlan, draft_tokens: Sequence[int], rounds: int, *, slow: float, last: float
    ) -> list[StepRecord]:
        """The contract of Meter.measure, on the virtual clock."""
        self.visited.append(plan.batch)
        self.orders.append((plan.batch, tuple(draft_tokens)))
        if plan.batch in self.refused:
            raise CellError("vLLM answered 400")
        seen: list[StepRecord] = []
        if self.prefill_seconds_per_token:
            tokens = plan.batch * plan.prompt_tokens
            seconds = tokens * self.prefill_seconds_per_token
            seen.append(replace(record(plan, 0), prefill_tokens=tokens, interval_seconds=seconds))
        for turn in range(rounds):
            if (turn and self.now >= slow) or self.now >= last:
                break
            self.now += self.seconds_per_round
            self.rounds.append(plan.batch)
            spread = self.noise.get(plan.batch, 0.0)
            seen += [record(plan, k, factor=1.0 + spread * (-1) ** i) for k in draft_tokens for i in range(4)]
        return seen


def run(meter: StubMeter, seconds: float) -> Sweep:
    """A finished sweep."""
    sweep = Sweep(cast(Meter, meter), PLANS, KS, seconds, clock=lambda: meter.now)
    sweep.run()
    return sweep


def test_certain_cells_are_visited_once() -> None:
    """Held-out cells are predicted within the error target: the run ends long before its time, and says so."""
    meter = StubMeter(seconds_per_round=1.0)
    sweep = run(meter, 240.0)
    assert sorted(meter.visited) == sorted(plan.batch for plan in PLANS)
    assert meter.now == 2 * len(PLANS)
    assert sweep.ended_by().startswith("ended by error target (T(K)/T(0) within ")


def test_a_run_that_has_no_time_for_another_visit_was_ended_by_time() -> None:
    """Not by having nothing left to measure: a longer run would know more."""
    meter = StubMeter(seconds_per_round=3.0, noise=dict.fromkeys((1, 2, 4, 8, 16, 32), 0.2))
    sweep = run(meter, 40.0)
    assert meter.now < 40.0
    assert sweep.ended_by().startswith("ended by time")


def test_doubt_is_followed_but_not_for_ever() -> None:
    """Steps that scatter keep the target out of reach: cells are visited again, each up to the limit."""
    meter = StubMeter(seconds_per_round=0.1, noise=dict.fromkeys((1, 2, 4, 8, 16, 32), 0.2))
    sweep = run(meter, 240.0)
    assert max(meter.visited.count(plan.batch) for plan in PLANS) <= MOST_VISITS
    assert len(meter.visited) > 2 * len(PLANS)
    assert "error target" not in sweep.ended_by() or sweep.accuracy is not None


def test_rounds_that_stand_alone_go_up_and_down_by_turns() -> None:
    """Where a visit is one round, the next one of its cell goes the other way: a drift falls on all K alike."""
    meter = StubMeter(seconds_per_round=5.0, noise=dict.fromkeys((1, 2, 4, 8, 16, 32), 0.15))
    run(meter, 200.0)
    for plan in PLANS:
        orders = [order for batch, order in meter.orders if batch == plan.batch]
        assert orders == [KS if turn % 2 == 0 else KS[::-1] for turn in range(len(orders))]


def test_prefill_that_would_take_the_run_is_left_out() -> None:
    """Prefill steps of earlier cells say what a long context would cost: a tenth of the time is the limit."""
    long = CellPlan(32, 8200, 64)
    meter = StubMeter(seconds_per_round=1.0, prefill_seconds_per_token=0.0002)
    sweep = Sweep(cast(Meter, meter), [*PLANS, long], KS, 100.0, clock=lambda: meter.now)
    sweep.run()
    assert long not in sweep.records
    assert sweep.coverage() == "6 of 7 cells"


def test_time_is_kept() -> None:
    """With enough cells the run ends at its time; the visit that is under way is finished with its first round."""
    meter = StubMeter(seconds_per_round=5.0, noise=dict.fromkeys((1, 2, 4, 8, 16, 32), 0.15))
    run(meter, 100.0)
    assert 100.0 <= meter.now <= 110.0


def test_a_slow_machine_gets_more_time_for_the_first_cells() -> None:
    """Each round takes a third of the time: the run goes on until four cells are complete."""
    meter = StubMeter(seconds_per_round=30.0)
    sweep = run(meter, 100.0)
    assert len(sweep.records) == FEWEST_CELLS
    assert meter.now <= 200.0


def test_a_hopelessly_slow_machine_ends_at_twice_the_time() -> None:
    """However little there is."""
    meter = StubMeter(seconds_per_round=90.0)
    run(meter, 100.0)
    assert 200.0 <= meter.now <= 290.0


def test_what_there_was_no_time_for_is_said() -> None:
    """How many of the planned cells, and the batches without any; nothing more where all were measured."""
    assert run(StubMeter(seconds_per_round=1.0), 240.0).coverage() == "6 of 6 cells"
    sweep = run(StubMeter(seconds_per_round=30.0), 100.0)
    assert sweep.coverage() == "4 of 6 cells, none at batch 16, 32"
    refusing = run(StubMeter(seconds_per_round=1.0, refused=frozenset({4})), 240.0)
    assert refusing.coverage() == "5 of 6 cells, none at batch 4"


def test_a_batch_with_one_context_measured_is_not_missing() -> None:
    """The count tells of the other."""
    meter = StubMeter(seconds_per_round=1.0)
    plans = [*PLANS, CellPlan(32, 1024, 64)]
    sweep = Sweep(cast(Meter, meter), plans, KS, 12.0, clock=lambda: meter.now)
    sweep.run()
    assert sweep.coverage() == "6 of 7 cells"


def test_coverage_is_one_short_line_whatever_is_missing() -> None:
    """It travels in a termination message and in a column of kubectl."""
    plans = [CellPlan(batch, 128, 64) for batch in range(1000, 1200)]
    meter = StubMeter(seconds_per_round=1.0, refused=frozenset(range(1000, 1200)))
    sweep = Sweep(cast(Meter, meter), plans, KS, 240.0, clock=lambda: meter.now)
    sweep.run()
    said = sweep.coverage()
    assert said.startswith("0 of 200 cells, none at batch 1000, 1001, ")
    assert said.endswith(" and 192 more")
    assert said.isascii()
    assert len(said) <= MAX_COVERAGE - len(
        "; ended by error target (T(K)/T(0) within 99.9%, regret 99.9%); room for 9999"
    )


def test_a_refused_cell_is_passed_over_and_remembered() -> None:
    """Others are measured; the reason is kept for the message; it is not tried for ever."""
    noise = dict.fromkeys((1, 2, 4, 8, 32), 0.2)
    meter = StubMeter(seconds_per_round=0.1, refused=frozenset({16}), noise=noise)
    sweep = run(meter, 10.0)
    assert meter.visited.count(16) == MOST_REFUSALS
    assert len(sweep.records) == len(PLANS) - 1
    assert sweep.last_refusal == "vLLM answered 400"
