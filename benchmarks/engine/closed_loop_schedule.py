"""What the closed-loop benchmark measures, and in which order. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

DRAFT_TOKENS = (0, 1, 3, 5)
"""The K that compete; the last one is what vLLM's own guides set for n-gram speculation."""
STEERED, PLAIN = "turbospec", "plain"
"""The two servers: vLLM with TurboSpec in it and with a start-up table, and vLLM with neither."""
ROUNDS_PER_VISIT = 2
"""One forwards, one backwards: a drift during a visit falls on all arms alike."""
PAIRED_CLIENTS = 4
"""Up to so many clients, what their few texts happen to be matters more than the arm: they begin anew with every
window, all arms of a round with the same ones. Of more clients the texts average out, and their prompts take long to
read: they go on while the arms of a server take turns."""
START_SECONDS = 40.0
PROMPT_TOKENS_PER_SECOND = 500.0
"""Start of a server and prefill on one thread, for the estimate of the time a run takes."""


@dataclass(frozen=True, slots=True)
class Point:
    """So many closed-loop clients, all sending text of one style (``e2e.load.requests``)."""

    style: str
    clients: int

    @property
    def name(self) -> str:
        return f"{self.style}-{self.clients}"


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to choose K. ``pinned`` is None where the engine loop decides."""

    name: str
    server: str
    pinned: int | None

    @property
    def fixed(self) -> bool:
        return self.pinned is not None


LOOP = Arm("turbospec", STEERED, None)
STEERED_ARMS = (LOOP, *(Arm(f"K={k}", STEERED, k) for k in DRAFT_TOKENS))
PLAIN_ARM = Arm(f"plain K={DRAFT_TOKENS[-1]}", PLAIN, DRAFT_TOKENS[-1])
"""The draft length that a server without TurboSpec and without a table was started with."""
ARMS = (*STEERED_ARMS, PLAIN_ARM)


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the benchmark. ``prompt_tokens`` are rough; ``prompt_lookup_min`` is n-gram's shortest match."""

    name: str
    prompt_lookup_min: int
    prompt_tokens: int
    points: tuple[Point, ...]
    quick_points: tuple[Point, ...]


TABLES = {
    "dial": Table(
        "dial",
        1,
        96,
        tuple(Point(f"dial:{acceptance}", clients) for acceptance in (0.9, 0.6, 0.3) for clients in (1, 4, 16, 32)),
        (Point("dial:0.9", 1), Point("dial:0.3", 16)),
    ),
    "smollm2": Table(
        "smollm2",
        2,
        250,
        tuple(Point(style, clients) for style in ("code", "chat") for clients in (1, 16)),
        (Point("code", 1), Point("chat", 16)),
    ),
}


@dataclass(frozen=True, slots=True)
class Pace:
    """``passes`` over all points, of two rounds each; ``settle_seconds`` of every window come before it is counted."""

    passes: int
    window_seconds: float
    settle_seconds: float
    profile_seconds: float


FULL = {"dial": Pace(2, 3.5, 1.0, 120.0), "smollm2": Pace(2, 3.5, 1.0, 120.0)}
QUICK = Pace(1, 2.0, 0.5, 45.0)


@dataclass(frozen=True, slots=True)
class Window:
    """One measurement. ``anew``: clients begin with it, of ``seed``; otherwise those of the window before go on."""

    point: Point
    arm: Arm
    round: int
    anew: bool
    seed: str


def schedule(points: Sequence[Point], passes: int, seed: int, first_pass: int = 0) -> list[Window]:
    """All windows in order; passes are numbered from ``first_pass``, after those of earlier runs.

    Each pass goes over the points in an order drawn anew. A visit of a point holds two rounds: the arms of the steered
    server in an order drawn anew, then backwards; the plain server has both its windows before or after them, by turns.
    """
    dice = random.Random(f"{seed}-{first_pass}")  # noqa: S311 (reproducible order, nothing secret)
    windows: list[Window] = []
    for number in range(first_pass, first_pass + passes):
        for index, point in enumerate(dice.sample(points, len(points))):
            order = dice.sample(STEERED_ARMS, len(STEERED_ARMS))
            first, second = number * ROUNDS_PER_VISIT, number * ROUNDS_PER_VISIT + 1
            steered = [*((arm, first) for arm in order), *((arm, second) for arm in reversed(order))]
            plain = [(PLAIN_ARM, first), (PLAIN_ARM, second)]
            for block in (steered, plain) if (number + index) % 2 == 0 else (plain, steered):
                windows += _block(point, block, number)
    return windows


def _block(point: Point, block: Sequence[tuple[Arm, int]], number: int) -> list[Window]:
    """Windows of one server at one point."""
    if point.clients <= PAIRED_CLIENTS:
        return [Window(point, arm, turn, True, f"{point.name}-{turn}") for arm, turn in block]
    return [
        Window(point, arm, turn, position == 0, f"{point.name}-pass-{number}")
        for position, (arm, turn) in enumerate(block)
    ]


def expected_seconds(windows: Sequence[Window], pace: Pace, table: Table) -> float:
    """About how long these windows take: what is counted, what settles, and the prompts of clients that begin."""
    prefill = sum(window.point.clients for window in windows if window.anew) * table.prompt_tokens
    return len(windows) * (pace.window_seconds + pace.settle_seconds) + prefill / PROMPT_TOKENS_PER_SECOND
