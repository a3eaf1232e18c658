"""What every stand-in engine of one process shares."""

from dataclasses import dataclass

DEFAULT_ACCEPTANCE = 0.7
DEFAULT_OUTPUT_TOKENS = 128
NO_METHOD = "none"
"""Of engines without a drafter, in their profile key too."""


@dataclass(frozen=True, slots=True)
class StandInOptions:
    """How the engines behave; what they are comes from ENGINE.yaml.

    ``runner`` is vLLM's model runner, ``v1`` or ``v2``. ``method`` ``none``: started without the drafter. ``speed``:
    simulated seconds per second. ``start_up_seconds`` are simulated. ``acceptance``: conditional, by draft position,
    the last value goes on; for requests that set none of their own. ``output_tokens``: the length of answers to
    requests that set no limit.
    """

    model: str = "stand-in"
    runner: str = "v2"
    method: str = "eagle3"
    hardware: str = "simulated"
    speed: float = 1.0
    start_up_seconds: float = 0.0
    acceptance: tuple[float, ...] = (DEFAULT_ACCEPTANCE,)
    output_tokens: int = DEFAULT_OUTPUT_TOKENS
    seed: int = 0

    @property
    def plain(self) -> bool:
        """Whether the engines are what ENGINE.yaml says of them without the drafter (``plain``)."""
        return self.method == NO_METHOD

    @property
    def drafts_after_completion(self) -> bool:
        """Whether a step's tokens are known before drafts are proposed for the next one."""
        return self.runner == "v2"
