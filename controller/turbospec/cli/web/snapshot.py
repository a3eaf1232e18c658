"""What ``/api/snapshot`` answers: the looks as one document for programs. Names are stable, null is not known."""

from typing import Any

from turbospec.cli.web.history import Key, of_engine
from turbospec.cli.web.looking import KnownProfile, Look


def snapshot(look: Look) -> dict[str, Any]:
    """Nothing of the cluster's objects but what is named here and in ``status`` and ``top``."""
    keys = sorted({key for moment in look.moments for key in moment.engines})
    return {
        "at": round(look.at, 3),
        "namespace": look.where,
        "error": look.error,
        "policies": list(look.policies),
        "engines": list(look.engines),
        "profiles": [_profile(each) for each in look.profiles.known],
        "notSeen": list(look.profiles.faults),
        "history": {
            "secondsAgo": [round(look.at - moment.at, 1) for moment in look.moments],
            "engines": [_past(look, key) for key in keys],
        },
    }


def _profile(each: KnownProfile) -> dict[str, Any]:
    identity = None if each.profile is None else each.profile.spec.identity.model_dump(by_alias=True)
    return {"namespace": each.namespace, "name": each.name, "identity": identity, "fault": each.fault}


def _past(look: Look, key: Key) -> dict[str, Any]:
    namespace, policy, pod = key
    figures = [each for _, each in of_engine(look.moments, key)]
    return {
        "namespace": namespace,
        "policy": policy,
        "pod": pod,
        "draftTokens": [each.draft_tokens for each in figures],
        "tokensPerSecond": [each.measured for each in figures],
        "predictedTokensPerSecond": [each.predicted for each in figures],
    }
