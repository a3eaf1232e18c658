"""Prompts: unique from the first block on, of exactly the length asked for, and followed by text that they contain."""

from hypothesis import given
from hypothesis import strategies as st

from turbospec.profiling.client import Completion
from turbospec.profiling.grid import OUTPUT_TOKENS, UNMATCHED_TOKENS
from turbospec.profiling.prompts import Corpus, grow_corpus


def successor(prompt: str, output_tokens: int) -> Completion:
    """A byte-level model that says b + 1 after b: greedy text repeats itself only after 256 tokens."""
    tokens = tuple(prompt.encode())
    return Completion(tokens, tuple((tokens[-1] + 1 + index) % 256 for index in range(output_tokens)))


CORPUS = grow_corpus(successor, OUTPUT_TOKENS)


@given(st.integers(2, 600))
def test_a_prompt_has_the_length_asked_for(prompt_tokens: int) -> None:
    """Also where it is shorter than a mark or longer than the corpus."""
    assert len(CORPUS.prompt(7, prompt_tokens)) == prompt_tokens


def test_ten_thousand_prompts_differ_in_their_first_block() -> None:
    """vLLM caches prefixes by blocks of 16 tokens and more: no two prompts share one."""
    assert len({tuple(CORPUS.prompt(serial, 64)[:16]) for serial in range(10_000)}) == 10_000


@given(serial=st.integers(0, 1000), prompt_tokens=st.integers(64, 600), n=st.integers(1, 5))
def test_a_lookup_drafter_always_finds_the_next_tokens(serial: int, prompt_tokens: int, n: int) -> None:
    """What the model says after a prompt is in that prompt, after the same n tokens, as long as a wave may decode."""
    prompt = CORPUS.prompt(serial, prompt_tokens)
    text = list(prompt)
    for _ in range(min(OUTPUT_TOKENS, prompt_tokens - UNMATCHED_TOKENS)):
        tail = text[-n:]
        matches = [i for i in range(len(prompt) - n) if prompt[i : i + n] == tail]
        following = (text[-1] + 1) % 256
        assert any(prompt[i + n] == following for i in matches)
        text.append(following)


def test_all_seeds_are_used() -> None:
    """Requests of one wave are of different texts, as real traffic is."""
    ends = {tuple(CORPUS.prompt(serial, 128)[-4:]) for serial in range(8)}
    assert len(ends) == len(CORPUS.texts)


def test_a_model_that_knows_one_token_only_still_gets_prompts() -> None:
    """A degenerate model must not stop the run."""
    corpus = Corpus((Completion((5,), (5,) * 10),))
    assert corpus.prompt(3, 40) == [5] * 40
