"""Measures one cell of the sweep: a wave of equal requests decodes while K goes round its values in short blocks."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from turbospec.control.step import StepRecord
from turbospec.profiling.client import ControlClient, EngineError, completion_body
from turbospec.profiling.grid import CellPlan
from turbospec.profiling.load import LoadGenerator, Wave
from turbospec.profiling.prompts import Corpus

BLOCK_STEPS = 5
"""Usable steps of one K before the next. Short, so that the machine's drift falls on all K alike."""
LATE_STEPS = 3
"""Usable steps of a block that begins when the visit has taken its share of the time: as many as a cell must have."""
REFERENCE_BLOCKS = 3
"""Blocks' worth of steps of the smallest K in its turn: all others are compared with it, and its steps are shortest. Of
n ratios to one reference each has its error: sqrt(n * T(K) / T(0)) times the steps are best for it, 2 to 6."""
SETTLING_STEPS = 1
"""Steps left out after a change of K, beside those that still verify the drafts of the K before."""
MOST_TRIES = 4
"""Pure-decode steps, for each that a block wants, after which it ends though the drafter has yielded too few full
drafts."""
FULL_WIDTH = 0.75
"""Share of ``batch * K`` drafts from which a step counts for its cell; the fit corrects it to full width."""
MOST_FUTILE_WAVES = 4
"""Waves in a row of which no step could be used: then it is not bad luck."""
STALLED_SECONDS = 120.0
"""Without a single finished step for this long, the engine hangs: the longest prefill chunk takes a few seconds."""
LONGEST_NAP_SECONDS = 0.5


class CellError(Exception):
    """This cell cannot be measured, others may be; the message says why. ``records`` is what was seen before."""

    def __init__(self, message: str, records: Sequence[StepRecord] = ()) -> None:
        self.records = tuple(records)
        super().__init__(message)


def is_clean(record: StepRecord, batch: int, draft_tokens: int, width: float = FULL_WIDTH) -> bool:
    """Whether the step tells what ``batch`` decodes at this K cost: nothing else in it, K settled, drafts there.

    ``width`` is the share of ``batch * K`` drafts that must be.
    """
    return (
        is_pure_decode(record, batch)
        and record.decided_draft_tokens == record.interval_draft_tokens == draft_tokens
        and record.verified_draft_tokens >= width * batch * draft_tokens
    )


def is_pure_decode(record: StepRecord, batch: int) -> bool:
    """Whether the step held ``batch`` decodes and no prefill, and its interval holds this step only."""
    return record.interval_seconds is not None and record.prefill_tokens == 0 and record.decodes == batch


def block_steps(draft_tokens: Sequence[int], *, late: bool = False) -> list[int]:
    """Usable steps of each K in its turn."""
    least, steps = min(draft_tokens), LATE_STEPS if late else BLOCK_STEPS
    return [steps * (REFERENCE_BLOCKS if k == least else 1) for k in draft_tokens]


@dataclass(slots=True)
class Block:
    """The turn of one K in a cell: ``wanted`` usable steps, over as many waves as it takes."""

    batch: int
    draft_tokens: int
    wanted: int
    clean: int = 0
    decodes: int = 0

    def add(self, record: StepRecord) -> None:
        """Count a step of this turn in."""
        self.decodes += is_pure_decode(record, self.batch)
        self.clean += is_clean(record, self.batch, self.draft_tokens)

    def wants_more(self) -> bool:
        """Not once there are enough clean steps, nor where the drafter yields too little to ever get them."""
        return self.clean < self.wanted and self.decodes < MOST_TRIES * self.wanted


def blocks(batch: int, draft_tokens: Sequence[int], turn: int, *, late: Callable[[], bool]) -> Iterator[Block]:
    """Those of one round: K rises in rounds 0, 2... and falls in the others. ``late`` is asked as each one begins."""
    order = range(len(draft_tokens))
    for i in order if turn % 2 == 0 else reversed(order):
        yield Block(batch, draft_tokens[i], block_steps(draft_tokens, late=late())[i])


@dataclass(slots=True)
class Meter:
    """Drives one engine through cells."""

    control: ControlClient
    load: LoadGenerator
    corpus: Corpus
    model: str
    max_num_seqs: int
    clock: Callable[[], float] = time.monotonic
    nap: Callable[[float], None] = time.sleep
    _since: int = field(default=0, init=False)
    _step_seconds: float = field(default=0.02, init=False)
    _unread: list[StepRecord] = field(default_factory=list, init=False)

    def measure(
        self, plan: CellPlan, draft_tokens: Sequence[int], rounds: int, *, slow: float, last: float
    ) -> list[StepRecord]:
        """Step records of ``rounds`` rounds over all K; of one round where the clock has passed ``slow`` by its end.

        Blocks that begin after ``slow`` are shorter. Nothing is begun after ``last``. K rises in one round and falls in
        the next, so that a growing context weighs on all K alike. The records of settling steps are left out, those of
        prefill steps (for the fit) and of partly filled drafts are not.
        CellError where vLLM refuses the requests or is done with them before we have looked, EngineError where it hangs
        or is gone.
        """
        kept: list[StepRecord] = []
        try:
            self._rounds(plan, draft_tokens, rounds, kept, slow=slow, last=last)
        except CellError as error:
            raise CellError(str(error), kept) from error
        return kept

    def _rounds(
        self,
        plan: CellPlan,
        draft_tokens: Sequence[int],
        rounds: int,
        kept: list[StepRecord],
        *,
        slow: float,
        last: float,
    ) -> None:
        ramp, futile = min(draft_tokens), 0
        wave = self._wave(plan, ramp, kept)
        for turn in range(rounds):
            if turn and self.clock() >= slow:
                break
            for block in blocks(plan.batch, draft_tokens, turn, late=lambda: self.clock() >= slow):
                while block.wants_more() and self.clock() < last:
                    if wave.ended and not self._unread:
                        # Where a wave was over before K could be changed, the next one begins with this K: a busy
                        # machine may take seconds to let us run.
                        wave = self._wave(plan, block.draft_tokens if futile else ramp, kept)
                    before = block.decodes
                    self._decode(block, wave, kept, last)
                    futile = 0 if block.decodes > before else futile + 1
                    if futile >= MOST_FUTILE_WAVES:
                        raise CellError(f"{futile} times all requests had ended before K was {block.draft_tokens}")

    def _decode(self, block: Block, wave: Wave, kept: list[StepRecord], last: float) -> None:
        """Lets the wave decode at the block's K until the block has what it wants or the wave ends."""
        self.control.force(block.draft_tokens, self.max_num_seqs)
        settled, ended = 0, False
        while block.wants_more() and not ended and self.clock() < last:
            ended = wave.ended > 0  # asked before the records are: those of its last steps are among them then
            missing = block.wanted - block.clean + (0 if settled else SETTLING_STEPS + 1)
            for record in self._next_records(missing, wave):
                if not record.decided_draft_tokens == record.interval_draft_tokens == block.draft_tokens:
                    continue
                settled += 1
                if settled > SETTLING_STEPS:
                    kept.append(record)
                    block.add(record)

    def _wave(self, plan: CellPlan, k: int, kept: list[StepRecord]) -> Wave:
        """Starts the cell's requests and waits until all of them decode. K stays the same meanwhile.

        Prompts differ within a wave, so that no two requests share KV cache. They are the same from wave to wave: where
        vLLM caches prefixes only the first one pays for their prefill, and decoding costs the same either way.
        """
        self.control.force(k, self.max_num_seqs)
        self._drain()
        wave = self.load.start(
            [
                completion_body(self.model, self.corpus.prompt(serial, plan.prompt_tokens), plan.output_tokens)
                for serial in range(plan.batch)
            ]
        )
        ended = False
        while not ended:
            ended = wave.ended > 0
            records = self._next_records(1, wave)
            for number, record in enumerate(records):
                if record.prefill_tokens and record.decided_draft_tokens == record.interval_draft_tokens:
                    kept.append(record)
                if is_pure_decode(record, plan.batch):
                    self._unread = records[number:]
                    return wave
        self._check(wave)
        raise CellError(
            f"a request ended before all {plan.batch} were decoding: {plan.output_tokens} output tokens are too few"
        )

    def _drain(self) -> None:
        """Drops the wave before and waits until vLLM is rid of it: its steps would pass for those of the next."""
        self.load.stop()
        give_up = self.clock() + STALLED_SECONDS
        while (load := self.control.state().load).running or load.waiting:
            if self.clock() > give_up:
                raise EngineError(f"vLLM still runs requests {STALLED_SECONDS:.0f} seconds after they were dropped")
            self.nap(min(LONGEST_NAP_SECONDS, self._step_seconds))
        self._unread = []
        self._next_records(0, None)

    def _next_records(self, steps: int, wave: Wave | None) -> list[StepRecord]:
        """Records since the last call, after about the time of ``steps`` steps; waits for one where ``wave`` runs."""
        unread, self._unread = self._unread, []
        give_up = self.clock() + STALLED_SECONDS
        while True:
            self.nap(min(LONGEST_NAP_SECONDS, steps * self._step_seconds))
            records, self._since = self.control.steps(self._since)
            intervals = [record.interval_seconds for record in records if record.interval_seconds is not None]
            if intervals:
                self._step_seconds = sorted(intervals)[len(intervals) // 2]
            if records or unread or wave is None or wave.ended:
                if wave is not None:
                    self._check(wave)
                return [*unread, *records]
            if self.clock() > give_up:
                raise EngineError(f"the engine has finished no step for {STALLED_SECONDS:.0f} seconds")

    def _check(self, wave: Wave) -> None:
        if wave.failure:
            raise CellError(wave.failure)
