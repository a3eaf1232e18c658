"""Where vLLM's releases keep the speculator of each method, and what its source says of a changing K."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from turbospec.engine.source import SourceReader, asserts_equal, find_method, reads_name

LENGTH = "num_speculative_tokens"
"""The parameter of every ``propose()`` that carries K."""

RUNNERS = {"v1": "v1/worker/gpu_model_runner.py", "v2": "v1/worker/gpu/model_runner.py"}
"""The files of the two model runners (CPU and XPU runners derive from V1's)."""

_V1, _V2 = "v1/spec_decode", "v1/worker/gpu/spec_decode"

# (file, class) by runner and method. Several: releases named or placed it differently, and each has one of them.
SPECULATORS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("ngram", "v1"): ((f"{_V1}/ngram_proposer.py", "NgramProposer"),),
    ("ngram_gpu", "v1"): ((f"{_V1}/ngram_proposer_gpu.py", "NgramProposerGPU"),),
    ("suffix", "v1"): ((f"{_V1}/suffix_decoding.py", "SuffixDecodingProposer"),),
    ("medusa", "v1"): ((f"{_V1}/medusa.py", "MedusaProposer"),),
    ("draft_model", "v1"): ((f"{_V1}/draft_model.py", "DraftModelProposer"),),
    ("eagle", "v1"): ((f"{_V1}/eagle.py", "EagleProposer"),),
    ("eagle3", "v1"): ((f"{_V1}/eagle.py", "EagleProposer"),),
    ("mtp", "v1"): ((f"{_V1}/eagle.py", "EagleProposer"),),
    ("mtp/gemma4", "v1"): ((f"{_V1}/gemma4.py", "Gemma4Proposer"),),
    ("mtp/step3p5", "v1"): ((f"{_V1}/step3p5.py", "Step3p5MTPProposer"),),
    ("extract_hidden_states", "v1"): ((f"{_V1}/extract_hidden_states.py", "ExtractHiddenStatesProposer"),),
    ("ngram", "v2"): ((f"{_V2}/ngram/speculator.py", "NgramGPUSpeculator"),),
    ("ngram_gpu", "v2"): ((f"{_V2}/ngram/speculator.py", "NgramGPUSpeculator"),),
    ("draft_model", "v2"): (
        (f"{_V2}/standalone_ar/speculator.py", "StandaloneARSpeculator"),  # from 0.32
        (f"{_V2}/draft_model/speculator.py", "PlainDraftModelSpeculator"),  # 0.31
    ),
    ("eagle", "v2"): ((f"{_V2}/eagle/speculator.py", "EagleSpeculator"),),
    ("eagle3", "v2"): ((f"{_V2}/eagle/speculator.py", "EagleSpeculator"),),
    ("mtp", "v2"): ((f"{_V2}/mtp/speculator.py", "MTPSpeculator"),),
    ("mtp/gemma4", "v2"): ((f"{_V2}/gemma4/speculator.py", "Gemma4Speculator"),),
    ("mtp/multi_module", "v2"): ((f"{_V2}/multi_module_mtp/speculator.py", "MultiModuleMTPSpeculator"),),
    ("extract_hidden_states", "v2"): ((f"{_V2}/extract_hidden_states.py", "ExtractHiddenStatesSpeculator"),),
}


@dataclass(frozen=True, slots=True)
class SpeculatorFacts:
    """What one release's source says of one method on one model runner.

    ``readable``: the model runner's source is there at all. ``found``: so is the method's speculator.
    ``worker_reads_length``: the model runner looks at the K that the scheduler puts into a step.
    ``asserts_length``: ``propose()`` asserts that K is the maximum. ``reads_length``: it makes K drafts.
    """

    readable: bool
    found: bool
    worker_reads_length: bool
    asserts_length: bool
    reads_length: bool


SpeculatorProbe = Callable[[str, str], SpeculatorFacts]
"""Facts by variant (``variant_of``) and model runner."""


def source_probe(source: SourceReader) -> SpeculatorProbe:
    """Facts as the source has them; nothing is imported, and nothing but files that exist is believed."""

    def probe(variant: str, runner: str) -> SpeculatorFacts:
        text = source(RUNNERS[runner])
        propose = next(
            (
                found[1]
                for path, class_name in SPECULATORS.get((variant, runner), ())
                if (found := find_method(source, path, class_name, "propose")) is not None
            ),
            None,
        )
        return SpeculatorFacts(
            readable=text is not None,
            found=propose is not None,
            worker_reads_length=".num_spec_tokens_to_schedule" in (text or ""),
            asserts_length=propose is not None and asserts_equal(propose, LENGTH),
            reads_length=propose is not None and reads_name(propose, LENGTH),
        )

    return probe


def variant_of(speculative: Any, runner: str) -> str:
    """The method, and which of its speculators vLLM takes: ``mtp`` has several, chosen by the drafter's kind.

    vLLM spells mtp by model as well (``deepseek_mtp``); it replaces these names itself, older checkpoints' too.
    """
    method = str(speculative.method)
    if method != "mtp" and not method.endswith("_mtp"):
        return method
    if _answers_yes(speculative, "use_gemma4_mtp"):
        return "mtp/gemma4"
    if runner == "v1":
        return "mtp/step3p5" if _answers_yes(speculative, "use_step3p5_mtp") else "mtp"
    return "mtp/multi_module" if _answers_yes(speculative, "use_multi_module_mtp") else "mtp"


def _answers_yes(speculative: Any, question: str) -> bool:
    """vLLM's own predicate; a release without it has no such speculator."""
    ask = getattr(speculative, question, None)
    return bool(ask()) if callable(ask) else False
