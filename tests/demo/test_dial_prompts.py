"""The dial: prompts fix what an n-gram drafter can get accepted."""

import pytest

from e2e.models.prompts import MAX_OUTPUT_TOKENS, PROMPT_TOKENS, dial_continuation, dial_prompt

DRAFT_TOKENS = 5
LONGEST_MATCH = 4


def drafts(text: list[int]) -> list[int]:
    """vLLM's n-gram drafter: what followed the latest-longest match of the last 1 to 4 tokens."""
    for length in range(min(LONGEST_MATCH, len(text) - 1), 0, -1):
        tail = text[-length:]
        for start in range(len(text) - length):
            if text[start : start + length] == tail:
                return text[start + length : start + length + DRAFT_TOKENS]
    return []


def conditional_acceptance(acceptance: float, prompts: int = 20) -> list[float]:
    """Share of drafts accepted at each position, among those accepted at all earlier ones."""
    tried, accepted = [0] * DRAFT_TOKENS, [0] * DRAFT_TOKENS
    for seed in range(prompts):
        prompt = dial_prompt(acceptance, seed)
        answer = dial_continuation(prompt, MAX_OUTPUT_TOKENS)
        for done in range(0, MAX_OUTPUT_TOKENS - DRAFT_TOKENS, 7):
            proposed = drafts(prompt + answer[:done])
            for position, token in enumerate(proposed):
                tried[position] += 1
                if token != answer[done + position]:
                    break
                accepted[position] += 1
    return [right / of for right, of in zip(accepted, tried, strict=True) if of]


@pytest.mark.parametrize("acceptance", [0.2, 0.5, 0.9])
def test_the_drafter_is_right_as_often_as_the_dial_says(acceptance: float) -> None:
    """At every draft position the conditional acceptance is within 0.1 of the dial."""
    measured = conditional_acceptance(acceptance)
    assert measured[0] == pytest.approx(acceptance, abs=0.1)
    deep = [value for value in measured[1:3] if acceptance >= 0.5]
    assert deep == pytest.approx([acceptance] * len(deep), abs=0.1)


def test_every_byte_of_the_answer_stands_in_the_prompt_exactly_once() -> None:
    """Otherwise matches could be ambiguous and the dial off."""
    *prompt, last = dial_prompt(0.5, 3)
    assert len(set(prompt)) == len(prompt) == PROMPT_TOKENS - 1
    assert set(prompt) == {last, *dial_continuation([last], PROMPT_TOKENS - 2)}
    assert MAX_OUTPUT_TOKENS <= PROMPT_TOKENS - 2


def test_equal_seeds_give_equal_prompts() -> None:
    """Arms of one round are compared on the same prompts."""
    assert dial_prompt(0.5, 3) == dial_prompt(0.5, 3) != dial_prompt(0.5, 4)


@pytest.mark.parametrize("acceptance", [-0.1, 1.1, float("nan")])
def test_an_impossible_dial_is_refused(acceptance: float) -> None:
    """A probability outside 0 to 1 is a mistake of the caller."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        dial_prompt(acceptance, 0)
