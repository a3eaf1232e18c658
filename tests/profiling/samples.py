"""Results of profiling runs, as large as they come."""

from itertools import product
from random import Random

from turbospec.profiling.codec import PLAIN_FIELDS
from turbospec.wire.identity import ProfileIdentity
from turbospec.wire.latency import LatencyCell, LatencyFit
from turbospec.wire.plain_engine import PlainCell, PlainEngine
from turbospec.wire.profile_result import ProfileResult


def grid_result(batches: list[int], contexts: list[int], draft_tokens: list[int]) -> ProfileResult:
    """A profile over a full grid whose step times share no pattern that a compressor could use."""
    random = Random(0)  # noqa: S311 - noise for a test, no secret
    grid = [
        LatencyCell(
            batch=batch,
            context_tokens=context,
            draft_tokens=k,
            microseconds=1_000_000 + random.randrange(9_000_000),
            samples=5 + (batch * context + k) % 40,
        )
        for batch, context, k in product(batches, contexts, draft_tokens)
    ]
    identity = ProfileIdentity(
        hardware="gpu:NVIDIA H100 80GB HBM3", target="a" * 64, drafter="b" * 64, method="eagle3",
        engine_arguments={"dtype": "bfloat16", "tensor_parallel_size": "1"}, engine_version="0.32.0",
    )  # fmt: skip
    fit = LatencyFit(
        per_step=5_885_910_000, per_batched_token=21_010_300, per_kv_token=39_264,
        per_drafting_step=0, per_draft_pass=2_135_260_000, per_draft_token=841_400,
    )  # fmt: skip
    return ProfileResult(
        identity=identity, cells=grid, fit=fit, hold_out_error_permille=31, kv_cache_tokens=450_000,
        duration_seconds=180, runtime_version="0.1.0",
    )  # fmt: skip


LARGE = grid_result([1, 2, 4, 8, 16, 32, 64, 128], [128, 512, 1024, 2048, 4096, 8192, 16384, 32768], [0, 1, 3, 5, 6, 7])


def with_plain(result: ProfileResult) -> ProfileResult:
    """With the plain engine's time at every point of the grid."""
    points = [PlainCell.model_validate(cell.model_dump(include=set(PLAIN_FIELDS))) for cell in result.cells[::6]]
    plain = PlainEngine(cells=points, kv_cache_tokens=480_000, start_seconds=40)
    return result.model_copy(update={"plain": plain, "start_seconds": 55})
