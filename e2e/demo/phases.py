"""What the demo runs: phases of load, arms that compete, and the order in which they do. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """Load from so many closed-loop clients per engine, all sending text of one style (``e2e.load.requests``).

    ``settle_seconds`` do not count: in them all clients' first prompts are read (some 500 tokens a second on one CPU
    thread) and K comes to rest. They are the same for every arm.
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
    """One measurement: this phase under this arm in this round."""

    round: int
    arm: Arm
    phase: Phase


TURBOSPEC = Arm("turbospec", (0, 1, 3, 5))
OFF = Arm("off", (0,))
FIXED = Arm("fixed", (5,))
"""num_speculative_tokens 5 is what vLLM's own guides set for n-gram speculation."""
ARMS = (TURBOSPEC, OFF, FIXED)

SMOLLM2_PHASES = (
    Phase("code-1", 1, "code", 3.0),
    Phase("code-16", 16, "code", 6.0),
    Phase("chat-16", 16, "chat", 4.0),
    Phase("chat-1", 1, "chat", 3.0),
)
DIAL_PHASES = (
    Phase("code-1", 1, "dial:0.9", 3.0),
    Phase("code-8", 8, "dial:0.9", 6.0),
    Phase("chat-8", 8, "dial:0.1", 6.0),
    Phase("chat-1", 1, "dial:0.1", 3.0),
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


def seconds(windows: list[Window], window_seconds: float, haste: float = 1.0) -> float:
    """How long these windows take, switches of arms aside; ``haste`` divides the time to settle."""
    return sum(window.phase.settle_seconds / haste + window_seconds for window in windows)


def schedule(phases: tuple[Phase, ...], rounds: int, arms: tuple[Arm, ...] = ARMS) -> list[Window]:
    """All windows in order: each round passes through all phases once per arm, and the arms take turns in going first.

    Rotation puts every arm equally often early and late in a round, so that slow drift of the machine favours none.
    """
    windows: list[Window] = []
    for number in range(rounds):
        shift = number % len(arms)
        for arm in arms[shift:] + arms[:shift]:
            windows.extend(Window(number, arm, phase) for phase in phases)
    return windows
