"""How a new pod starts: plain where the policy or the fleet's last decision says so, and nobody else has a say."""

import asyncio
from typing import Any

import pytest

from tests.webhook.test_injection import NONCE, RUNTIME, engine, patched, pod
from turbospec_operator.admission import Admission, governing_policy
from turbospec_operator.cluster import Cluster
from turbospec_operator.injection import inject
from turbospec_operator.names import ANNOTATION_SPECULATION, ANNOTATION_STARTUP_VARIANT, ANNOTATION_TEMPLATE

Raw = dict[str, Any]
NGRAM = {"method": "ngram", "draftTokens": [0, 3]}
TRANSFER = engine(args=["--kv-transfer-config", '{"kv_connector":"NixlConnector","kv_role":"kv_both"}'])
OWN = engine(args=["--speculative-config", '{"method":"mtp"}'])
FILE = engine(args=["--config", "/etc/vllm.yaml"])


def row(variant: str = "Plain", target: str = "deployment/chat", **more: Any) -> Raw:
    """What the fleet loop has written of one scale target."""
    return {"scaleTarget": target, "variant": variant, "reason": "Recommended", "since": "2026-01-01T00:00:00Z", **more}


def policy(startup: str | None, *rows: Raw, mode: str = "Enforce", speculation: Raw = NGRAM) -> Raw:
    """A policy as the API server lists it."""
    return {
        "metadata": {"name": "chat", "namespace": "team-a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "selector": {"matchLabels": {"app": "chat"}},
            "mode": mode,
            "speculation": speculation,
            "autoscaling": {"startupVariant": startup} if startup else {},
        },
        "status": {"startupVariants": list(rows)},
    }


def replica(container: Raw | None = None) -> Raw:
    """A pod as a Deployment's ReplicaSet creates it."""
    made = pod(*([container] if container else []))
    made["metadata"]["labels"]["pod-template-hash"] = "5d9"
    made["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "chat-5d9", "controller": True}]
    return made


def admitted(raw: Raw, governed_by: Raw) -> tuple[bool, str | None, str]:
    """Whether the drafter was added, what was noted, and what was said of it."""
    found = governing_policy([governed_by], raw, "team-a")
    outcome = inject(raw, "team-a", found.spec, RUNTIME, NONCE, stopped=found.stopped, startup=found.startup)
    assert outcome.injected
    after = patched(raw, outcome)
    again = inject(after, "team-a", found.spec, RUNTIME, NONCE, startup=found.startup)
    assert again.patch == (), "a second call changes nothing"
    before, now = (str(each["spec"]["containers"][0]).count("speculative-config") for each in (raw, after))
    notes = after["metadata"]["annotations"]
    return now > before, notes.get(ANNOTATION_STARTUP_VARIANT), notes.get(ANNOTATION_SPECULATION, "")


BY_LABEL = row(target="leaderworkerset/chat", selector="app=chat,role!=router")
CASES: list[tuple[str, Raw, Raw, bool, str | None, str]] = [
    ("by default", replica(), policy(None, row()), True, None, "added: ngram"),
    ("speculative", replica(), policy("Speculative", row()), True, None, "added: ngram"),
    ("plain", replica(), policy("Plain"), False, "Plain", "not added: spec.autoscaling.startupVariant is Plain"),
    ("auto, nothing decided", replica(), policy("Auto"), True, "Speculative", "nothing is known of its scale target"),
    ("auto, plain", replica(), policy("Auto", row()), False, "Plain", "Auto has chosen plain for deployment/chat"),
    ("auto, the drafter", replica(), policy("Auto", row("Speculative")), True, "Speculative", "chosen the drafter"),
    ("auto, of another", replica(), policy("Auto", row(target="deployment/x")), True, "Speculative", "nothing is"),
    ("auto, by selector", replica(), policy("Auto", BY_LABEL), False, "Plain", "for leaderworkerset/chat"),
    ("selector first", replica(), policy("Auto", row("Speculative"), BY_LABEL), False, "Plain", "leaderworkerset"),
    ("plain, transfer", replica(TRANSFER), policy("Plain"), True, "Refused", "added: ngram; startupVariant Plain does"),
    ("auto, transfer", replica(TRANSFER), policy("Auto", row()), True, "Refused", "--kv-transfer-config"),
    ("plain, own config", replica(OWN), policy("Plain"), False, "Refused", "take it out of the template"),
    ("auto, own config", replica(OWN), policy("Auto", row()), False, "Refused", "startupVariant Auto does not act"),
    ("plain, own file", replica(FILE), policy("Plain"), False, "Refused", "--config file may hold"),
    ("plain, no method", replica(), policy("Plain", speculation={}), False, "Refused", "spec.speculation.method"),
    ("plain, advised only", replica(), policy("Plain", mode="Advise"), False, "Refused", "mode is Advise"),
    ("auto, paused", replica(), policy("Auto", row(), mode="Paused"), False, "Plain", "Auto has chosen plain"),
]


@pytest.mark.parametrize(("raw", "governed_by", "added", "noted", "said"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
def test_the_variant_in_force_decides_where_nobody_else_does(
    raw: Raw, governed_by: Raw, noted: str | None, said: str, *, added: bool
) -> None:
    """The last decision in the policy's status, by the pod's scale target; the user's own words go first."""
    found = admitted(raw, governed_by)
    assert found[:2] == (added, noted)
    assert said in found[2]


def test_a_pod_keeps_what_it_was_started_as() -> None:
    """Called again after the fleet loop has changed its mind, the webhook does not."""
    first = governing_policy([policy("Auto", row())], replica(), "team-a")
    started = patched(replica(), inject(replica(), "team-a", first.spec, RUNTIME, NONCE, startup=first.startup))
    later = governing_policy([policy("Auto", row("Speculative"))], started, "team-a")
    assert inject(started, "team-a", later.spec, RUNTIME, NONCE, startup=later.startup).patch == ()


def test_plain_pods_are_a_template_of_their_own() -> None:
    """Where the drafter crashed two pods, the next ones may well start without it."""
    digests = set()
    for found in (governing_policy([policy(startup)], replica(), "team-a") for startup in ("Plain", "Auto")):
        outcome = inject(replica(), "team-a", found.spec, RUNTIME, NONCE, startup=found.startup)
        digests.add(patched(replica(), outcome)["metadata"]["annotations"][ANNOTATION_TEMPLATE])
    assert len(digests) == 2


class Policies(Cluster):
    """A cluster that holds one policy."""

    def __init__(self, held: Raw) -> None:
        self.held = held

    async def list(self, *_: object, **__: object) -> list[Raw]:
        return [self.held]

    async def create(self, *_: object, **__: object) -> Raw:
        return {}


def test_one_scout_has_leave_to_draft_among_plain_pods() -> None:
    """One for each leave that the fleet loop gives; a dry run is none."""
    held = Policies(policy("Auto", row(scoutSince="2026-01-02T00:00:00Z")))
    admission = Admission(held, b"")

    def starts(*, dry: bool = False) -> str:
        request = {"kind": {"kind": "Pod"}, "operation": "CREATE", "namespace": "team-a", "dryRun": dry}
        outcome = asyncio.run(admission.decide({**request, "object": replica()}, RUNTIME))
        return str(patched(replica(), outcome)["metadata"]["annotations"][ANNOTATION_STARTUP_VARIANT])

    assert [starts(dry=True), starts(), starts(), starts()] == ["Speculative", "Speculative", "Plain", "Plain"]
    held.held = policy("Auto", row(scoutSince="2026-01-02T01:00:00Z"))
    assert [starts(), starts()] == ["Speculative", "Plain"]
