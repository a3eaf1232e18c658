"""A latency model for an engine without a profile: a form of step times, scaled to the first steps it takes."""

from statistics import median

from turbospec.control.latency import LatencyModel
from turbospec.control.latency_fit import FitCoefficients, StepSample
from turbospec.control.step import StepRecord

FIRST_STEPS = 5
"""Steps whose median sets the scale: one is noise or a cold cache."""
FORM = FitCoefficients(
    per_step=1.0,
    per_batched_token=0.003,
    per_kv_token=3e-6,
    per_drafting_step=0.1,
    per_draft_pass=0.15,
    per_draft_token=0.0005,
)
"""Costs against that of an empty step. Orders of magnitude of the published H100 constants (batched token 0.0036, KV
token 6.7e-6, draft pass 0.36 of a step); what is true of this engine is learnt, see ``bias.GUESSED``."""


def guess(records: list[StepRecord]) -> LatencyModel | None:
    """The form scaled to the timed steps among these; None while there are fewer than five."""
    scales = [
        record.interval_seconds / FORM.seconds(_sample(record))
        for record in records
        if record.interval_seconds is not None and record.decodes > 0
    ]
    if len(scales) < FIRST_STEPS:
        return None
    scale = median(scales)
    return LatencyModel(
        (),
        FitCoefficients(
            **{name: scale * getattr(FORM, name) for name in FitCoefficients.__dataclass_fields__},
        ),
    )


def _sample(record: StepRecord) -> StepSample:
    return StepSample(
        decodes=record.decodes,
        draft_tokens=record.interval_draft_tokens,
        verified_draft_tokens=record.verified_draft_tokens,
        prefill_tokens=record.prefill_tokens,
        kv_tokens=record.kv_tokens,
        seconds=1.0,
    )
