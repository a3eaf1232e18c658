"""Prompts on which drafters that look text up find full drafts, whatever the model and its tokenizer.

Verification costs time only for tokens that were drafted. Drafters that are models (eagle, mtp, draft_model) draft on
any text; ngram finds a draft only where the text repeats itself. No fixed text repeats itself under every model, so the
text is the model's own: it continues a few seed texts greedily, and each prompt is such a continuation followed by the
seed again, upon which the model says again what the drafter has just read. Text that a model wrote also routes a
mixture-of-experts model as real text does, which random tokens would not.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from turbospec.profiling.client import Completion

SEEDS = (
    "def area(shape):\n    if shape.kind == 'square':\n        return shape.side ** 2\n    if shape.kind == 'disc':\n",
    '{"items": [\n  {"id": 1, "name": "alpha", "state": "ready"},\n  {"id": 2, "name": "beta", "state": "ready"},\n',
    "The committee met on Monday to discuss the budget. The committee met on Tuesday to discuss the staff. The",
    "| step | batch | time |\n|------|-------|------|\n| 1 | 2 | 30 |\n| 2 | 4 | 60 |\n| 3 |",
)
TAIL_TOKENS = 8
"""Longest piece of a seed repeated at the end of a prompt: longer than the n-grams vLLM looks up by default (5)."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Seed texts and the model's greedy continuations of them."""

    texts: tuple[Completion, ...]

    def prompt(self, serial: int, prompt_tokens: int) -> list[int]:
        """A prompt of ``prompt_tokens`` token ids (at least 2), different for every ``serial`` from its first block on.

        Ends with the end of a seed; before it stands what the model says after that seed, repeated as often as fits.
        """
        text = self.texts[serial % len(self.texts)]
        tail = text.prompt[-min(TAIL_TOKENS, max(1, prompt_tokens // 4)) :]
        unit = tail + text.output
        body: tuple[int, ...] = ()
        room = prompt_tokens - len(tail)
        mark = self._mark(serial)[: max(0, room - 1)]
        while len(body) < room - len(mark):
            body += unit[: room - len(mark) - len(body)]
        return [*mark, *body, *tail]

    def _mark(self, serial: int) -> tuple[int, ...]:
        """A few tokens that spell the serial number in digits drawn from the corpus, so that no prefix cache hits."""
        letters = sorted({token for text in self.texts for token in text.prompt + text.output})
        base = max(2, len(letters))
        spelt = []
        number = serial
        for _ in range(4):
            spelt.append(letters[number % base % len(letters)])
            number //= base
        return tuple(spelt)


def grow_corpus(complete: Callable[[str, int], Completion], output_tokens: int) -> Corpus:
    """Lets the model continue every seed by ``output_tokens`` tokens, all at once."""
    with ThreadPoolExecutor(len(SEEDS)) as pool:
        return Corpus(tuple(pool.map(complete, SEEDS, [output_tokens] * len(SEEDS))))
