"""Profiles that grow while engines serve (``profiling.source: Serving``), for fleets without a spare accelerator, or
where the operator may not create Jobs."""

from collections.abc import Container, Iterable, Mapping, Sequence
from statistics import median

from turbospec.control.latency import (
    FitCoefficients,
    ImpossibleFitError,
    InvalidProfileError,
    LatencyModel,
    MeasuredCell,
    StepSample,
    build_latency_model,
    fit_latency,
)
from turbospec.control.region_fit import OFF_FACTOR
from turbospec.control.served_cells import CellKey, ServedCell, pooled
from turbospec.fleet.effects import WriteServedProfile
from turbospec.fleet.profiles import FittingProfile, ProfileKey, served_profile_name
from turbospec.fleet.profiling import Candidate
from turbospec.fleet.scaling import PodStage, stage_of
from turbospec.fleet.snapshot import Mode, ProfileSource

WRITE_SECONDS = 300.0
"""Pause between two versions of a profile: every version is a new document for every engine of its key."""
FEWEST_SAMPLES = 12
"""Steps behind a cell, all engines together: two lots; their mean is known to 1% at 3% noise."""
LEAST_DRAFTED = 0.2
"""Share of K that must have been drafted on average: what a step with full drafts takes is scaled from it by the fit,
and from less it would be guessed."""
FEWEST_POINTS = 4
"""Cells of batch and context below which there is no profile; the Job's bound."""
MOST_CELLS = 384
"""Cells of a profile, those with most samples: a document with them stays below the 64 KB that engines take."""
FEWEST_VOTERS = 3
"""Engines in a cell from which on one that is off the median of all by a third is left out."""
NEWS = 0.01
"""Mean difference of the profile in use from what engines have measured that is worth a new version."""
MORE_CELLS = 1.1
"""So many times the cells of the profile in use are worth it too."""


def plan_served(
    candidates: Iterable[Candidate],
    profiles: Mapping[ProfileKey, FittingProfile],
    written: Mapping[ProfileKey, float],
    now_seconds: float,
    forbidden: Container[ProfileKey] = (),
) -> tuple[tuple[WriteServedProfile, ...], Mapping[ProfileKey, float]]:
    """The profiles to write, and when each was last looked at (``written``, as remembered).

    Only for a key that has no profile but one grown before, by policies that are not paused and have source Serving, or
    source Job where Jobs of that key are ``forbidden``. What is there is left alone until it is ``WRITE_SECONDS`` old
    and engines have news. Pods that are not Ready, or still warm up, tell none.
    """
    by_place: dict[ProfileKey, list[Candidate]] = {}
    for candidate in candidates:
        tells = candidate.pod.cells and stage_of(candidate.pod, now_seconds) is PodStage.SERVING
        if tells and candidate.policy.mode is not Mode.PAUSED and _grows(candidate, forbidden):
            by_place.setdefault(candidate.place, []).append(candidate)
    effects: list[WriteServedProfile] = []
    looked: dict[ProfileKey, float] = {}
    for place, members in sorted(by_place.items()):
        profile = profiles.get(place)
        if profile is not None and not profile.served:
            continue
        last = max(written.get(place, 0.0), (profile.measured_seconds or 0.0) if profile is not None else 0.0)
        if now_seconds - last < WRITE_SECONDS:
            looked[place] = last
            continue
        grown = grow([member.pod.cells for member in sorted(members, key=lambda one: one.pod.uid)])
        if grown is None:
            continue
        looked[place] = now_seconds
        if profile is None or profile.latency is None or has_news(profile.latency, grown):
            effects.append(_write(place, members, grown))
    return tuple(effects), looked


def grow(engines: Sequence[Sequence[ServedCell]]) -> LatencyModel | None:
    """The model of what the engines of one key have measured; None where that is too little yet.

    Cells are pooled over engines. A first fit scales each to full drafts and whole numbers; they are fitted again.
    """
    cells = [cell for cell in _pool(engines) if _usable(cell)]
    cells = sorted(cells, key=lambda cell: (-cell.samples, cell.key))[:MOST_CELLS]
    points = {cell.key[:2] for cell in cells}
    if len(points) < FEWEST_POINTS:
        return None
    try:
        scale = fit_latency([_sample(cell) for cell in cells])
        found = [_scaled(cell, scale) for cell in sorted(cells, key=lambda cell: cell.key)]
        return build_latency_model(found)
    except (ImpossibleFitError, InvalidProfileError):
        return None


def has_news(known: LatencyModel, found: LatencyModel) -> bool:
    """Whether the cells found are more, or others, than the profile in use says."""
    if len(found.cells) > MORE_CELLS * len(known.cells):
        return True
    off = weight = 0.0
    for cell in found.cells:
        predicted = known.step_seconds(
            decodes=cell.batch, draft_tokens=cell.draft_tokens, kv_tokens=cell.batch * cell.context_tokens
        )
        off += cell.samples * abs(predicted / cell.seconds - 1.0)
        weight += cell.samples
    return off > NEWS * weight


def _grows(candidate: Candidate, forbidden: Container[ProfileKey]) -> bool:
    source = candidate.policy.profile_source
    return source is ProfileSource.SERVING or (source is ProfileSource.JOB and candidate.place in forbidden)


def _write(place: ProfileKey, members: Sequence[Candidate], grown: LatencyModel) -> WriteServedProfile:
    namespace, key = place
    points = len({(cell.batch, cell.context_tokens) for cell in grown.cells})
    engines = "1 engine" if len(members) == 1 else f"{len(members)} engines"
    return WriteServedProfile(
        namespace=namespace,
        name=served_profile_name(key),
        key=key,
        pod=min(member.pod.name for member in members),
        model=grown,
        coverage=f"grown while serving: {points} points, {len(grown.cells)} cells, {engines}",
    )


def _pool(engines: Sequence[Sequence[ServedCell]]) -> list[ServedCell]:
    by_key: dict[CellKey, list[ServedCell]] = {}
    for cells in engines:
        for cell in cells:
            by_key.setdefault(cell.key, []).append(cell)
    found: list[ServedCell] = []
    for members in by_key.values():
        kept = members
        if len(members) >= FEWEST_VOTERS:
            middle = median(cell.seconds for cell in members)
            kept = [cell for cell in members if 1.0 / OFF_FACTOR < cell.seconds / middle < OFF_FACTOR]
        found.append(pooled(kept))
    return found


def _usable(cell: ServedCell) -> bool:
    return cell.samples >= FEWEST_SAMPLES and cell.drafted_per_request >= LEAST_DRAFTED * cell.draft_tokens


def _sample(cell: ServedCell) -> StepSample:
    return StepSample(
        decodes=cell.batch,
        draft_tokens=cell.draft_tokens,
        verified_draft_tokens=cell.batch * cell.drafted_per_request,
        prefill_tokens=0,
        kv_tokens=cell.batch * cell.context_tokens,
        seconds=cell.seconds,
    )


def _scaled(cell: ServedCell, scale: FitCoefficients) -> MeasuredCell:
    nominal = MeasuredCell(
        round(cell.batch), round(cell.context_tokens), cell.draft_tokens, 0, seconds=1.0, samples=cell.samples
    )
    factor = scale.seconds(nominal.sample()) / scale.seconds(_sample(cell))
    return MeasuredCell(
        nominal.batch, nominal.context_tokens, cell.draft_tokens, 0, cell.seconds * factor, cell.samples
    )
