"""Step time by its parts, with the steps that GPU graphs make: padding up to a captured size, the cliff above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from turbospec.control.latency_fit import FitCoefficients, Floats, non_negative_least_squares

if TYPE_CHECKING:
    from turbospec.control.latency import MeasuredCell

TRUST_IN_GIVEN_FIT = 0.02
"""Weight of the profile's own fit against one cell: it decides what the cells leave open, and nothing else."""
FREE = 2
"""The first terms, fixed cost and tokens, have an eager cost of their own."""
COMPONENTS = ("step", "tokens", "kv", "drafting")
"""The parts of a step time that drift apart: fixed cost, batched tokens, KV cache read, drafting."""


@dataclass(frozen=True, slots=True)
class ModalTerms:
    """What the costs of a step are multiplied with; arrays that broadcast, and ``eager`` is as large as all together.

    ``padded``: tokens computed; ``kv``: tokens of KV cache read; ``drafting``: 1.0 where K > 0; ``width``: mean draft
    tokens per request; ``eager``: 1.0 where no graph holds the step.
    """

    padded: Floats
    kv: Floats
    batch: Floats
    drafting: Floats
    width: Floats
    eager: Floats

    def columns(self) -> list[Floats]:
        """One for each cost of ``ModalFit``."""
        drafting, width, batch, kv = self.drafting, self.width, self.batch, self.kv
        return [
            *(np.ones(()), self.padded, kv),
            *(drafting, drafting * batch, drafting * kv, width, width * batch, width * kv),
        ]


@dataclass(frozen=True, slots=True)
class ModalFit:
    """Costs in seconds, none negative, one per column of ``ModalTerms``: in a graph, and how much dearer eagerly."""

    costs: tuple[float, ...]
    eager_extra: tuple[float, ...]
    graph_sizes: tuple[int, ...] = ()

    def components(self, terms: ModalTerms) -> Floats:
        """Fitted seconds of each of COMPONENTS, stacked first."""
        found = np.empty((len(COMPONENTS), *terms.eager.shape))
        for i, part in enumerate(_parts(self.costs, terms)):
            found[i] = part
        if any(self.eager_extra):
            for i, part in enumerate(_parts(self.eager_extra, terms)):
                found[i] += terms.eager * part
        return found

    def eager_rest(self, terms: ModalTerms) -> Floats:
        """What being eager adds to a step beside its fixed cost and its tokens, in seconds."""
        _, _, kv, drafting = _parts(self.eager_extra, terms)
        return np.asarray(kv + drafting, dtype=np.float64)


def _parts(costs: tuple[float, ...], terms: ModalTerms) -> tuple[Floats | float, Floats, Floats, Floats]:
    """Seconds by component. Sums over batches come first: whole tables are multiplied but twice."""
    step, token, kv, *drafting = costs
    once = drafting[0] + drafting[1] * terms.batch + drafting[2] * terms.kv
    each = drafting[3] + drafting[4] * terms.batch + drafting[5] * terms.kv
    return step, token * terms.padded, kv * terms.kv, terms.drafting * once + terms.width * each


def padded_tokens(tokens: Floats, graph_sizes: Sequence[int]) -> tuple[Floats, Floats]:
    """Tokens that the step really computes, and 1.0 where no graph is that large (0.0 where one is, or none is known).

    A step runs in the smallest captured graph that holds it; above the largest it runs eagerly, unpadded.
    """
    if not graph_sizes:
        return tokens, np.zeros_like(tokens)
    sizes = np.array(sorted(graph_sizes), dtype=np.float64)
    eager = tokens > sizes[-1]
    index = np.minimum(np.searchsorted(sizes, tokens - 1e-9), len(sizes) - 1)
    return np.where(eager, tokens, sizes[index]), eager.astype(np.float64)


def modal_terms(  # noqa: PLR0917 - a formula's variables
    batch: Floats,
    width: Floats,
    drafting: Floats,
    context: Floats | float,
    graph_sizes: Sequence[int],
    extra_tokens: Floats | float = 0.0,
) -> ModalTerms:
    """What each cost is multiplied with; arrays broadcast.

    T = f_mode(padded tokens) + c * KV tokens + drafting(K, batch): ``width`` is the mean number of draft tokens per
    request, ``drafting`` 1.0 where K > 0 (some methods draft the maximum whatever K is), ``extra_tokens`` prefill in
    the same step.
    """
    tokens = batch * (1.0 + width) + extra_tokens
    padded, eager = padded_tokens(tokens, graph_sizes)
    return ModalTerms(padded, batch * context, batch, drafting, width, eager)


def refine(cells: Sequence["MeasuredCell"], fit: FitCoefficients, graph_sizes: Sequence[int] = ()) -> ModalFit:
    """The costs that explain the cells best (relative errors, none negative), near the given fit where they are silent.

    Beside the profile's fit: padding, the cliff above the largest graph, and KV cache read by drafting passes. Without
    cells it is the given fit.
    """
    sizes = tuple(graph_sizes)
    given = np.array(
        [
            *(fit.per_step, fit.per_batched_token, fit.per_kv_token),
            *(fit.per_drafting_step, 0.0, 0.0, fit.per_draft_pass, fit.per_draft_token, 0.0),
        ]
    )
    decoding = [cell for cell in cells if cell.prefill_tokens == 0]
    if not decoding:
        return ModalFit(tuple(given.tolist()), (0.0,) * len(given), sizes)
    batch = np.array([cell.batch for cell in decoding], dtype=np.float64)
    width = np.array([cell.draft_tokens for cell in decoding], dtype=np.float64)
    context = np.array([cell.context_tokens for cell in decoding], dtype=np.float64)
    seconds = np.array([cell.seconds for cell in decoding])
    terms = modal_terms(batch, width, (width > 0).astype(np.float64), context, sizes)
    rows = np.stack([np.broadcast_to(term, seconds.shape) for term in terms.columns()], axis=1) / seconds[:, None]
    eager = terms.eager
    in_graph = eager == 0
    costs = _near(rows[in_graph], given) if in_graph.any() else given
    extra = np.zeros(len(costs))
    if sizes and not in_graph.all():
        # An eager step is dearer by one factor; only fixed cost and tokens may depart from it. KV cache and drafting
        # have none of their own: eager cells are few, often of one context, where KV tokens are just more batch.
        factor = max(0.0, float(np.median(1.0 / np.maximum(rows[~in_graph] @ costs, 1e-9))) - 1.0)
        extra = factor * costs
        rest = eager * (rows[:, FREE:] @ extra[FREE:])
        both = _near(
            np.hstack([rows, rows[:, :FREE] * eager[:, None]]), np.concatenate([costs, extra[:FREE]]), 1.0 - rest
        )
        costs, extra[:FREE] = both[: len(given)], both[len(given) :]
    if not costs[0] + costs[1] > 0:
        costs = given
    return ModalFit(tuple(costs.tolist()), tuple(extra.tolist()), sizes)


def _near(rows: Floats, given: Floats, wanted: Floats | None = None) -> Floats:
    """Costs >= 0 with ``rows @ costs`` near ``wanted`` (1: rows are divided by what was measured), and near the given.

    One pseudo-measurement per cost, "as given", scaled to what the cost amounts to in a typical cell.
    """
    typical = np.median(rows, axis=0)
    typical = np.where(typical > 0, typical, rows.max(axis=0))
    trust = TRUST_IN_GIVEN_FIT * np.diag(typical)
    target = np.ones(len(rows)) if wanted is None else wanted
    return non_negative_least_squares(np.vstack([rows, trust]), np.concatenate([target, trust @ given]))
