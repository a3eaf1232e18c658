"""The text that stand-in engines generate, by how predictable it is."""

from turbospec.simulation.files import PhaseSpec
from turbospec.simulation.text import Text, TextBank, extended


class Texts:
    """Text for any acceptance, shared by all engines: 0.5 MB for each of the acceptances asked for.

    A single number is taken to two decimals, so that clients cannot fill the memory with kinds of text.
    """

    def __init__(self, max_draft_tokens: int, longest: int, seed: int) -> None:
        """``longest``: tokens of the longest answer."""
        self.bank = TextBank(seed, max_draft_tokens, longest)
        self._positions = max_draft_tokens
        self._kinds: dict[tuple[float, ...], int] = {}

    def text(self, acceptance: tuple[float, ...], request: int) -> tuple[Text, int]:
        """The text of a request of this number, and where in it the request begins."""
        values = tuple(extended([round(value, 2) for value in acceptance], self._positions))
        kind = self._kinds.setdefault(values, len(self._kinds))
        # Where requests come from is not the stand-in's to say: of a phase only its text is used.
        spec = PhaseSpec(seconds=1.0, clients=0, prompt_tokens=1, output_tokens=1, acceptance=list(values))
        text = self.bank.text(kind, spec, request)
        return text, self.bank.place(text, request)
