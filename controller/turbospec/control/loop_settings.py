"""What the engine loop is told: by the engine's start-up, and by control documents."""

from dataclasses import dataclass, field
from typing import Literal

from turbospec.control.acceptance import Prior
from turbospec.control.latency import LatencyModel
from turbospec.control.objective import Objective


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """What the engine's start-up fixed.

    ``graph_sizes``: captured batch sizes in tokens, empty where there are none or they are not known;
    ``max_num_batched_tokens``: what decodes, drafts and prefill of a step share, None where it is not known.
    """

    max_num_seqs: int
    max_draft_tokens: int
    engine_allowed: tuple[int, ...]
    graph_sizes: tuple[int, ...] = ()
    max_num_batched_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.max_num_seqs < 1:
            raise ValueError(f"max_num_seqs is {self.max_num_seqs}, must be at least 1")
        if not self.engine_allowed or not all(0 <= k <= self.max_draft_tokens for k in self.engine_allowed):
            raise ValueError(f"engine_allowed {self.engine_allowed} is not within 0..{self.max_draft_tokens}")
        if not all(size > 0 for size in self.graph_sizes):
            raise ValueError(f"graph_sizes {self.graph_sizes} must be positive")


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What a control document asks for. ``table`` is indexed by batch, index 0 unused; its last entry holds beyond."""

    mode: Literal["local", "table"]
    allowed: tuple[int, ...]
    table: tuple[int, ...] | None = None
    latency: LatencyModel | None = None
    prior: tuple[Prior, ...] = ()
    objective: Objective = field(default_factory=Objective)


def check_settings(settings: LoopSettings, limits: LoopLimits) -> None:
    """Raise ValueError, saying what to do, where the engine cannot run these settings."""
    engine = sorted(set(limits.engine_allowed))
    if not settings.allowed:
        raise ValueError(f"no allowed draftTokens: allow some of {engine}")
    wrong = sorted(set(settings.allowed) - set(engine))
    if wrong:
        raise ValueError(f"draftTokens {wrong} cannot be used by this engine: allow only some of {engine}")
    if settings.mode == "table":
        if settings.table is None or len(settings.table) < 2:
            raise ValueError("mode 'table' needs a table with at least one batch")
        wrong = sorted(set(settings.table[1:]) - set(settings.allowed))
        if wrong:
            raise ValueError(f"table holds draftTokens {wrong}, which are not among the allowed {settings.allowed}")
