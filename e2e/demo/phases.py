"""What the demo runs: phases of load, arms that compete, and the order in which they do. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Phase:
    """Load from so many closed-loop clients per engine, all sending text of one style (``e2e.load.requests``).

    ``settle_seconds`` after its begin do not count: in them all clients' first prompts are read (some 500 tokens a
    second on one CPU thread).
    """

    name: str
    clients: int
    style: str
    settle_seconds: float


@dataclass(frozen=True)
class Arm:
    """One way to choose K: the draft lengths that the policy allows. A single one pins it."""

    name: str
    draft_tokens: tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """One measurement: this phase under this arm. ``round`` is None on the tour, which is not compared."""

    round: int | None
    arm: Arm
    phase: Phase


TURBOSPEC = Arm("turbospec", (0, 1, 3, 5))
OFF = Arm("off", (0,))
FIXED = Arm("fixed", (5,))
"""num_speculative_tokens 5 is what vLLM's own guides set for n-gram speculation."""
ARMS = (TURBOSPEC, OFF, FIXED)

SMOLLM2_PHASES = (
    Phase("code-1", 1, "code", 2.5),
    Phase("code-16", 16, "code", 8.0),
    Phase("chat-16", 16, "chat", 8.0),
    Phase("chat-1", 1, "chat", 2.5),
)
DIAL_PHASES = (
    Phase("code-1", 1, "dial:0.9", 2.5),
    Phase("code-8", 8, "dial:0.9", 6.0),
    Phase("chat-8", 8, "dial:0.1", 6.0),
    Phase("chat-1", 1, "dial:0.1", 2.5),
)


@dataclass(frozen=True)
class Model:
    """How a model is served and loaded. ``prompt_lookup_min`` is the shortest match that n-gram drafts from."""

    name: str
    phases: tuple[Phase, ...]
    prompt_lookup_min: int


MODELS = {
    "smollm2": Model("smollm2", SMOLLM2_PHASES, prompt_lookup_min=2),
    "dial": Model("dial", DIAL_PHASES, prompt_lookup_min=1),
    "tiny": Model("tiny", DIAL_PHASES, prompt_lookup_min=1),
}


SWITCH_SECONDS = 2.0
"""Time to settle after another arm has taken over under the same load: most of it for steps and texts under way."""
PAIRED_CLIENTS = 2
"""Up to so many clients per engine, what their few texts happen to be matters more than the arm: all arms of a round
get the same ones, from the beginning. Of many clients the texts average out, and their prompts take long to read."""


def settle_seconds(previous: Window | None, window: Window, haste: float = 1.0) -> float:
    """What does not count at the beginning of a window; ``haste`` divides it."""
    return (window.phase.settle_seconds if begins_anew(previous, window) else SWITCH_SECONDS) / haste


def begins_anew(previous: Window | None, window: Window) -> bool:
    """Whether other clients begin with this window; otherwise they go on, undisturbed by the change of arm."""
    same = previous is not None and previous.phase == window.phase and previous.round is not None
    return not same or window.phase.clients <= PAIRED_CLIENTS


def seconds(windows: Sequence[Window], window_seconds: float, haste: float = 1.0) -> float:
    """How long these windows take from the first one's begin on, its time to settle excepted."""
    return len(windows) * window_seconds + sum(settle_seconds(*pair, haste) for pair in pairwise(windows))


def schedule(phases: tuple[Phase, ...], rounds: int, arms: tuple[Arm, ...] = ARMS) -> list[Window]:
    """All windows in order: TurboSpec's tour through all phases, then phase by phase the rounds that compare the arms.

    Within a phase many clients go on while arms take turns, so that no arm has to read all prompts anew; prefill takes
    seconds here and would be most of what is compared. Each round begins with another arm: slow drift favours none.
    """
    windows = [Window(None, TURBOSPEC, phase) for phase in phases]
    for phase in phases:
        for number in range(rounds):
            shift = number % len(arms)
            windows.extend(Window(number, arm, phase) for arm in arms[shift:] + arms[:shift])
    return windows
