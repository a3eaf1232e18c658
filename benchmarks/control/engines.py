"""The engines that the brain is judged on, and the texts."""

from functools import cache

from turbospec.control.latency import LatencyModel
from turbospec.simulation.files import EngineFile
from turbospec.simulation.measure import Measured, profile

LADDER = (0, 1, 3, 7)
ALL = tuple(range(8))
CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TEXTS: dict[str, list[float]] = {
    "low": [0.2],
    "mid": [0.6],
    "high": [0.85],
    "decaying": [0.68, 0.39, 0.20, 0.10, 0.06, 0.03, 0.02],
}
CHAT = [0.66, 0.57, 0.55, 0.65, 0.65, 0.6, 0.55]
"""Gives 1.66 / 2.24 / 2.47 / 2.55 tokens per step at K = 1 / 3 / 5 / 7: measured were 1.66 / 2.25 / 2.48 / 2.58."""

_NOISE = {"relativeStandardDeviation": 0.03, "outlierProbability": 0.001, "outlierFactor": 5}
_H100 = {
    "secondsPerKvToken": 3.92646e-8,
    "secondsPerBatchedToken": 2.10103e-5,
    "secondsPerStep": 5.88591e-3,
    "draftSecondsPerKvToken": 2.37768e-9,
    "draftSecondsPerToken": 8.414e-7,
    "draftSecondsPerPass": 2.13526e-3,
    "overheadSeconds": 1.20684e-3,
}
_GRAPHS = [1, 2, 4, *range(8, 256, 8), *range(256, 513, 16)]
"""The sizes that vLLM captures by default, up to 512 tokens."""

_ENGINES: dict[str, dict[str, object]] = {
    # Llama-3.1-8B on one H100 with an EAGLE drafter: measured constants.
    "h100": {"stepTime": {"linear": _H100}, "plain": {"speedup": 1.18, "kvCacheTokens": 500000}},
    # The table of vLLM's draft-manager fixture. Batch 64 has no K = 7: carried on from K = 4 and 5.
    "fixture": {
        "stepTime": {
            "table": {
                "batch": [1, 16, 32, 64],
                "draftTokens": [0, 1, 3, 4, 5, 7],
                "milliseconds": [
                    [6.87, 7.97, 9.41, 9.91, 10.8, 12.29],
                    [7.3, 8.39, 9.95, 10.8, 11.59, 13.11],
                    [7.64, 8.97, 10.78, 11.79, 12.81, 14.86],
                    [8.53, 10.44, 13.16, 15.7, 17.54, 21.22],
                ],
            }
        },
        "prefillTokensPerSecond": 30000,
    },
    # Own: steps padded to graph sizes, eager and 40% slower above 512 tokens; a cheap drafter.
    "graphs": {
        "stepTime": {"linear": {**_H100, "draftSecondsPerPass": 8e-4, "secondsPerBatchedToken": 1.5e-5}},
        "graph": {"paddedTo": _GRAPHS, "eagerFactor": 1.4},
    },
    # Own: a drafter that always makes its seven passes; only verification is cut.
    "fixed-draft": {"stepTime": {"linear": {**_H100, "draftSecondsPerPass": 5e-4}}, "draftAlways": True},
    # Own: a lookup drafter, nearly free, that often finds nothing (the workload says how often); small GPU.
    "ngram": {
        "stepTime": {
            "linear": {
                "secondsPerKvToken": 6e-8,
                "secondsPerBatchedToken": 6e-5,
                "secondsPerStep": 1.2e-2,
                "draftSecondsPerPass": 5e-5,
                "overheadSeconds": 2e-3,
            }
        }
    },
    # Own: attention over long contexts takes most of the step, and drafting reads the context too.
    "context": {
        "stepTime": {"linear": {**_H100, "secondsPerKvToken": 1.6e-7, "draftSecondsPerKvToken": 2.4e-8}},
        "kvCacheTokens": 900000,
    },
    # Own: compute-bound early and worse than linear in tokens, measured as a table; graphs up to 256 tokens only.
    "small-gpu": {
        "stepTime": {
            "table": {
                "batch": [1, 8, 32, 128, 256],
                "draftTokens": [0, 1, 3, 7],
                "milliseconds": [
                    [22.0, 24.1, 27.5, 34.0],
                    [23.2, 26.5, 32.8, 45.0],
                    [27.0, 36.0, 54.0, 92.0],
                    [48.0, 82.0, 151.0, 300.0],
                    [84.0, 155.0, 301.0, 610.0],
                ],
            }
        },
        "prefillTokensPerSecond": 6000,
        # vLLM's default on GPUs with little memory; a step of it takes a third of a second here.
        "maxNumBatchedTokens": 2048,
        "graph": {"paddedTo": [1, 2, 4, 8, 16, 32, 64, 128, 256], "eagerFactor": 1.15},
    },
}
NAMES = tuple(_ENGINES)
YIELD = {"ngram": [0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.3]}
"""Engines whose drafter finds no draft for every request."""
PROMPTS = {"context": 3000}
"""Prompt tokens, where they are not 256."""
PROFILE_SEED = 11


def engine(name: str, allowed: tuple[int, ...], **changes: object) -> EngineFile:
    """An engine of the list with these K; ``changes`` are fields as in ENGINE.yaml."""
    fields: dict[str, object] = {
        "maxNumSeqs": 256,
        "maxDraftTokens": 7,
        "allowedDraftTokens": list(allowed),
        "kvCacheTokens": 450000,
        "noise": _NOISE,
        **_ENGINES[name],
        **changes,
    }
    return EngineFile.model_validate(fields)


@cache
def measured(name: str, allowed: tuple[int, ...]) -> Measured:
    """Its profile, by the product's own grid and fit from noisy steps."""
    return profile(engine(name, allowed), PROFILE_SEED)


def model(name: str, allowed: tuple[int, ...]) -> LatencyModel:
    """The latency model of that profile."""
    return measured(name, allowed).model
