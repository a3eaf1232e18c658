"""Requests of the load generator."""

from itertools import islice

import pytest

from e2e.load.requests import OUTPUT_TOKENS, calls
from e2e.models.prompts import MAX_OUTPUT_TOKENS


@pytest.mark.parametrize("style", ["code", "chat", "dial:0.5"])
def test_equal_seeds_send_equal_requests(style: str) -> None:
    """Arms of one round are compared on the same requests; other clients send others."""
    first, again, other = (list(islice(calls(style, seed), 5)) for seed in ("1-a", "1-a", "1-b"))
    assert first == again
    assert first != other


@pytest.mark.parametrize("style", ["code", "chat", "dial:0.5"])
def test_requests_are_greedy_streamed_and_counted(style: str) -> None:
    """Temperature 0 (vLLM on CPU keeps no other distribution under speculation), usage in every chunk."""
    call = next(calls(style, "1"))
    assert call.body["temperature"] == 0
    assert call.body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_only_the_first_answer_of_a_client_is_cut_short() -> None:
    """It stands for one that began before the phase; all others have the usual lengths."""
    lengths = [call.body["max_tokens"] for call in islice(calls("dial:0.5", "1"), 50)]
    least, most = OUTPUT_TOKENS["dial"]
    assert all(least <= length <= most for length in lengths[1:])
    assert 1 <= lengths[0] <= most <= MAX_OUTPUT_TOKENS


@pytest.mark.parametrize("style", ["poetry", "dial", "dial:2"])
def test_an_unknown_style_is_refused(style: str) -> None:
    """Rather than sending something else."""
    with pytest.raises(ValueError, match=r"style|could not convert|between 0 and 1"):
        next(calls(style, "1"))
