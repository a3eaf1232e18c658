"""The termination message: what is written can be read, always fits, and nothing else passes for a profile."""

import base64
import string
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.profiling.samples import LARGE, grid_result, with_plain
from turbospec.profiling.codec import (
    PLAIN_FIELDS,
    TERMINATION_MESSAGE_BYTES,
    CodecError,
    ReportedFailureError,
    decode,
    encode,
    encode_failure,
)
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import LatencyCell, LatencyFit
from turbospec.wire.profile_result import ProfileResult

texts = st.text(max_size=60)
identities = st.fixed_dictionaries(
    dict.fromkeys(("hardware", "target", "drafter", "method", "engine_version"), texts)
    | {"engine_arguments": st.dictionaries(texts, texts, max_size=12)}
).map(ProfileIdentity.model_validate)
coefficients = st.integers(0, 10**12)
cells = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 1024),
        "context_tokens": st.integers(0, 131072),
        "draft_tokens": st.integers(0, 64),
        "prefill_tokens": st.integers(0, 8192),
        "microseconds": st.integers(1, 10_000_000),
        "samples": st.integers(1, 1000),
    }
).map(LatencyCell.model_validate)
plain_engines = st.fixed_dictionaries(
    {
        "cells": st.lists(
            st.fixed_dictionaries(dict.fromkeys(PLAIN_FIELDS, st.integers(1, 1024))),
            max_size=4,
        ),
        "kv_cache_tokens": st.integers(0, 10**9),
        "start_seconds": st.integers(0, 3600),
    }
)
results = st.fixed_dictionaries(
    {
        "identity": identities,
        "cells": st.lists(cells, min_size=1, max_size=20),
        "fit": st.fixed_dictionaries(dict.fromkeys(LatencyFit.model_fields, coefficients)),
        "hold_out_error_permille": st.integers(0, 1000),
        "kv_cache_tokens": st.integers(0, 10**9),
        "duration_seconds": st.integers(0, 10**6),
        "runtime_version": texts,
        "coverage": st.none() | texts,
        "start_seconds": st.none() | st.integers(0, 3600),
        "plain": st.none() | plain_engines,
    }
).map(ProfileResult.model_validate)


WITHOUT_COVERAGE = (
    "turbospec-profile/1 a273f2e0 498 c-o~>O>dk)4E-ysIa|?qhWUV7qe@K<?Xj2D3eAFdK>-F0L)tXTf3Mk8+a%Z6vIO"
    "??v!CHv^es)f&rhOy7F|f~uaHPo;yka_kDvEn@4xKsP|BT`-)?tzx8Jn@kwZFDW>EN~F;|<yDN|yy<0p;DM#^1mnTx`Cplwx"
    "}&izC+FT9SdbJ<k3`DxxH9#2CI8SSQsrX{9&4k-)+4fWFh*$^mRt`v`ymOf6Ll{Z@5$gR}Hp{?VZYf5Qrr!@B5FDi{79v<r^"
    "G#%ABJ}|wg3M1KA@|r?ss(PU&PAyl^b2_d39me;AkmrDCXc#V=A46_BQSA|4-M{*QA#uv|J6~t*QF++Hpt{6|_rt%-|8J0B;"
    "7u@KPIO{9Zz1oTA!Fa9c$Kkth1I&y;H9xrNkHpLg$4{KOR1nV&N*wLM57F9aIVzWI<V4vS7;_&!Z;6f5ugD*Xa|J?Re~-+At"
    "-y`v!8nY`S!+pQ{v^M3MER-54u#gfGweovX`1Ku#ocb@)z7r;s5"
)
"""Four points of ``grid_result`` as the first release of the codec wrote them."""


@given(results)
def test_what_fits_comes_back_unchanged(result: ProfileResult) -> None:
    """Round trip is lossless, cell order and identity key included, where nothing had to be dropped."""
    back = decode(encode(result, limit=60_000))
    assert back == result
    assert back.identity.key() == result.identity.key()


@given(result=results, limit=st.integers(0, 2500))
def test_a_message_is_ascii_and_within_its_limit_or_refused(result: ProfileResult, limit: int) -> None:
    """Whatever the limit, the answer fits and can be read, or encode says that it cannot."""
    try:
        text = encode(result, limit)
    except CodecError:
        return
    assert len(text.encode("ascii")) <= limit
    assert {(c.batch, c.context_tokens, c.draft_tokens) for c in decode(text).cells} <= {
        (c.batch, c.context_tokens, c.draft_tokens) for c in result.cells
    }


@pytest.mark.parametrize("limit", [1000, 1200, 1400])
def test_overflow_drops_whole_points_and_rounds_to_three_digits(limit: int) -> None:
    """A point keeps every K or none; corners of the grid outlive its middle; times stay within half a percent."""
    back = decode(encode(LARGE, limit))
    assert len(back.cells) < len(LARGE.cells)
    kept = {(c.batch, c.context_tokens) for c in back.cells}
    assert all(
        {c.draft_tokens for c in back.cells if (c.batch, c.context_tokens) == p} == {0, 1, 3, 5, 6, 7} for p in kept
    )
    assert {(1, 128), (128, 32768)} <= kept
    exact = {(c.batch, c.context_tokens, c.draft_tokens): c.microseconds for c in LARGE.cells}
    for cell in back.cells:
        want = exact[cell.batch, cell.context_tokens, cell.draft_tokens]
        assert abs(cell.microseconds - want) <= 0.005 * want


@pytest.mark.parametrize(
    ("limit", "points", "plain"),
    [(60_000, 64, 64), (2000, 64, range(5, 64)), (1500, range(5, 64), 4), (660, 4, 0)],
    ids=["all", "some of the plain engine's", "four of them", "none"],
)
def test_cells_of_the_plain_engine_go_before_points(limit: int, points: Any, plain: Any) -> None:
    """What the choice of K rests on is worth more; what is known besides cells stays in any case."""
    back = decode(encode(with_plain(LARGE), limit))
    assert back.plain is not None
    kept = len({(c.batch, c.context_tokens) for c in back.cells})
    assert kept in (points if isinstance(points, range) else (points,))
    assert len(back.plain.cells) in (plain if isinstance(plain, range) else (plain,))
    assert (back.plain.kv_cache_tokens, back.plain.start_seconds, back.start_seconds) == (480_000, 40, 55)


def test_a_usual_profile_and_its_plain_engine_fit_a_termination_message_whole() -> None:
    """21 points at six K, and as many of the plain engine."""
    usual = with_plain(grid_result([1, 2, 4, 8, 16, 32, 64], [128, 512, 900], [0, 1, 2, 3, 4, 5]))
    assert decode(encode(usual, TERMINATION_MESSAGE_BYTES)) == usual


@pytest.mark.parametrize("limit", [1000, 1400])
def test_dropped_points_are_said(limit: int) -> None:
    """A profile with fewer points than were measured says how many it holds, within the bound of its line."""
    for line in ("64 of 66 cells, none at batch 256", "x" * 200):
        back = decode(encode(LARGE.model_copy(update={"coverage": line}), limit))
        kept = {(c.batch, c.context_tokens) for c in back.cells}
        assert len(kept) < 64
        assert back.coverage == f"{line}; room for {len(kept)}"[:200]


def test_a_message_of_a_runtime_that_says_nothing_of_coverage_is_read() -> None:
    """Pods keep the runtime that they were injected with: their results stay as they were."""
    result = decode(WITHOUT_COVERAGE)
    assert result == grid_result([1, 8], [128, 512], [0, 5])
    assert result.coverage is None
    assert len(encode(result)) <= len(WITHOUT_COVERAGE) + 8, "a reader of that release refuses fields it does not know"


def test_digits_go_before_points() -> None:
    """Where rounding alone makes it fit, every cell is kept."""
    full = len(encode(LARGE, limit=60_000))
    back = decode(encode(LARGE, limit=full - 1))
    assert len(back.cells) == len(LARGE.cells)


def test_a_usual_profile_fits_a_termination_message_whole() -> None:
    """Seven batches, three contexts, six K: 126 cells lose nothing in 4,096 bytes."""
    usual = grid_result([1, 2, 4, 8, 16, 32, 64], [128, 512, 900], [0, 1, 2, 3, 4, 5])
    assert decode(encode(usual, TERMINATION_MESSAGE_BYTES)) == usual


def test_a_profile_is_never_cut_below_its_floor() -> None:
    """Too small a limit is an error that says so, not a profile of one point."""
    with pytest.raises(CodecError, match="does not fit 300 characters"):
        encode(LARGE, 300)


@given(st.integers(0, len(encode(LARGE)) - 1))
def test_every_truncation_is_noticed(length: int) -> None:
    """No beginning of a message passes for the message."""
    with pytest.raises(CodecError):
        decode(encode(LARGE)[:length])


MESSAGE = encode(grid_result([1, 8], [128, 512], [0, 5]))


@given(st.integers(0, len(MESSAGE) - 1), st.sampled_from(string.printable.strip()))
def test_every_altered_character_is_noticed(position: int, character: str) -> None:
    """One changed character anywhere is refused."""
    altered = MESSAGE[:position] + character + MESSAGE[position + 1 :]
    if altered == MESSAGE:
        return
    with pytest.raises(CodecError):
        decode(altered)


@given(st.one_of(st.text(), st.text().map(lambda tail: f"turbospec-profile/1 {tail}")))
def test_garbage_raises_codec_error_only(text: str) -> None:
    """Nothing but CodecError escapes, and its reason is one line."""
    with pytest.raises(CodecError) as caught:
        decode(text)
    assert "\n" not in str(caught.value)


def forged(raw: bytes) -> str:
    """A message whose checksum and length are right but whose content an attacker chose."""
    payload = base64.b85encode(zlib.compress(raw)).decode()
    return f"turbospec-profile/1 {zlib.crc32(payload.encode()):08x} {len(payload)} {payload}"


@pytest.mark.parametrize(
    "raw",
    [
        b"[]", b"{}", b"[" * 100_000, b"1" * 100_000, b"\xff\xfe", b" " * 2_000_000, b'{"cells": 1, "fit": []}',
        b'{"cells": {"batch": [0], "context_tokens": [1], "draft_tokens": [0], "prefill_tokens": [0], '
        b'"microseconds": [5], "samples": [1]}, "fit": [1, 1, 1, 1, 1, 1]}',
    ],
)  # fmt: skip
def test_forged_content_raises_codec_error_only(raw: bytes) -> None:
    """A right checksum does not make a profile: shape, ranges, depth and size are checked."""
    with pytest.raises(CodecError):
        decode(forged(raw))


def test_a_reported_failure_comes_back_as_its_reason() -> None:
    """The run's own reason is told apart from a damaged message, on one line and within the limit."""
    text = encode_failure("engine refused\nits arguments: “x”", limit=60)
    assert len(text) <= 60
    with pytest.raises(ReportedFailureError, match=r"^engine refused its arguments: \?x\?$"):
        decode(text)


def test_a_newer_format_is_named() -> None:
    """The reader says which version it met."""
    with pytest.raises(CodecError, match="format '2'"):
        decode("turbospec-profile/2 0 0 x")
