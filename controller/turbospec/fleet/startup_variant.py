"""Whether new pods of a scale target start with the drafter or without it (``startupVariant: Auto``).

A pod keeps its variant for life. One with the drafter can still run K = 0, at the price of the drafter; a plain one
never gets a K above 0 back. What is recommended now (``worth``) compares pods that are as full as an autoscaler keeps
them, whatever the load is; below that, at ``minReplicas`` say, a plain pod has no K to shorten its answers with. So:

- What has held for some time may be expected to hold for as long again, where nothing else is known of it (the median
  of Gott's rule), and a choice is right where it holds for more than half of a pod's life. A change therefore waits
  until the other variant has been recommended for half of the mean life of this target's pods, without a break.
- Scale-down removes the youngest pods first. Those of a surge go with it, and have taught what a mean life is; those at
  the bottom stay for days, and a roll-out starts all of them anew with what is in force. So on the way to Plain, which
  cannot be taken back, life is at least the mean age of the pods that are there.
- Where all pods are plain nobody drafts, and acceptance is not learnt any more. A variant that nobody has evidence
  against stays. One of many new pods then starts with the drafter, as a scout.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from turbospec.fleet.worth import Variant, Worth

SHARE_OF_LIFE = 0.5
"""Of a mean life: see above."""

LEAST_SECONDS = 600.0
"""Nothing changes faster, however short pods live: lengths are means over 7 minutes, remembered acceptance over 10."""

MOST_SECONDS = 86_400.0
"""What has held for a day does not come and go with the time of day. So long too while no pod has gone yet."""

LIVES = 16
"""Pods that a mean life is the mean of, about: the last ones. A guess; a roll-out counts no more than a surge."""

LONGEST_ROUND_SECONDS = 60.0
"""What happened in a longer pause of the operator nobody knows: no more than this counts of it (as ``load``)."""

SCOUT_AFTER_SECONDS = 3600.0
"""Without any engine that drafts. Texts change over hours; the fleet's memory of acceptance fades over tens of minutes
(``pooling``), and a scout costs a pod that is slower for as long as it lives."""

SCOUT_LOSS = 0.1
"""Longer, by so much again for each tenth of the replicas that drafts were last known to cost: the further text is from
paying, the longer it may be expected to take to. A guess; 45 minutes of a slower pod among five made misses of 0.3 to
2% of a day's requests 3 to 8% (``make bench-fleet``, slow ramp)."""

SCOUTS_ONE_OF = 8
"""At most one of so many new pods is a scout: with a drafter that costs a fifth, that is 2.5% of them."""

SCOUT_AGAIN_SECONDS = 600.0
"""A scout that has not shown up by then (turned away after admission) may be let through again."""


@dataclass(frozen=True, slots=True)
class StartedPod:
    """One pod of the target. ``plain`` is None where nobody knows; ``answers`` says that its engine does."""

    uid: str
    created_seconds: float
    plain: bool | None
    answers: bool


@dataclass(frozen=True, slots=True)
class VariantMemory:
    """What is in force for one target, and the evidence. ``there``: pods, and when they were created.

    ``recommended_seconds``: for how long the other variant has been recommended. ``mean_life_seconds`` of ``lives``
    pods that went. ``drafted_seconds`` is when an engine that drafts was there last, ``known_seconds`` when worth was
    known last, and ``known_loss`` the share of replicas that speculation cost then at the least, 0 where it may have
    saved some; ``plain_started`` counts the plain pods since the last one with a drafter.
    """

    plain: bool
    since_seconds: float
    seconds: float
    seen_seconds: float
    drafted_seconds: float
    there: Mapping[str, float] = field(default_factory=dict)
    recommended_seconds: float = 0.0
    lives: int = 0
    mean_life_seconds: float = 0.0
    plain_started: int = 0
    scout_seconds: float | None = None
    known_seconds: float | None = None
    known_loss: float = 0.0
    worth: Worth | None = None


def begin(now_seconds: float, *, plain: bool, since_seconds: float | None = None, known: bool = False) -> VariantMemory:
    """A memory that knows only what is in force."""
    since = now_seconds if since_seconds is None else since_seconds
    known_seconds = now_seconds if known else None
    return VariantMemory(plain, since, now_seconds, now_seconds, now_seconds, known_seconds=known_seconds)


def observe(
    memory: VariantMemory, worth: Worth | None, pods: Sequence[StartedPod], now_seconds: float
) -> VariantMemory:
    """The memory after this round. Pure; the order of the pods does not matter.

    ``worth`` is None where it is not known: then nothing changes, and what was recommended neither gains nor loses.
    """
    elapsed = min(max(0.0, now_seconds - memory.seconds), LONGEST_ROUND_SECONDS)
    memory = _learnt(memory, pods, now_seconds)
    if worth is not None:
        memory = replace(memory, known_seconds=now_seconds, known_loss=max(0.0, -worth.high))
        other = Variant.SPECULATIVE if memory.plain else Variant.PLAIN
        lasted = memory.recommended_seconds + elapsed if worth.recommended is other else 0.0
        memory = replace(memory, recommended_seconds=lasted)
        if worth.recommended is other and lasted >= patience_seconds(memory, now_seconds):
            memory = replace(memory, plain=not memory.plain, since_seconds=now_seconds, recommended_seconds=0.0)
    return replace(memory, seconds=now_seconds, worth=worth, scout_seconds=_scout(memory, pods, now_seconds))


def patience_seconds(memory: VariantMemory, now_seconds: float) -> float:
    """For how long the other variant must have been recommended."""
    if not memory.lives:
        return MOST_SECONDS
    life = memory.mean_life_seconds
    if not memory.plain and memory.there:
        ages = sorted(_age(created, now_seconds) for created in memory.there.values())
        life = max(life, sum(ages) / len(ages))
    return min(max(SHARE_OF_LIFE * life, LEAST_SECONDS), MOST_SECONDS)


def _learnt(memory: VariantMemory, pods: Sequence[StartedPod], now: float) -> VariantMemory:
    """With the lives of the pods that went, and what those that came were started as."""
    there = {pod.uid: pod.created_seconds for pod in pods}
    lives, mean = memory.lives, memory.mean_life_seconds
    # Sorted, because a running mean depends on its order and decisions must not.
    for created in sorted(created for uid, created in memory.there.items() if uid not in there):
        lives = min(lives + 1, LIVES)
        mean += (_age(created, now) - mean) / lives
    came = [pod.plain for pod in pods if pod.uid not in memory.there]
    return replace(
        memory,
        there=there,
        lives=lives,
        mean_life_seconds=mean,
        plain_started=0 if False in came else memory.plain_started + came.count(True),
        drafted_seconds=now if any(pod.plain is False and pod.answers for pod in pods) else memory.drafted_seconds,
        seen_seconds=now if pods else memory.seen_seconds,
    )


def _scout(memory: VariantMemory, pods: Sequence[StartedPod], now: float) -> float | None:
    """Since when a scout may start; None where none is wanted."""
    drafting = any(pod.plain is False for pod in pods)
    long_ago = now - memory.drafted_seconds >= SCOUT_AFTER_SECONDS * (1.0 + memory.known_loss / SCOUT_LOSS)
    if not memory.plain or drafting or not long_ago or memory.plain_started < SCOUTS_ONE_OF - 1:
        return None
    asked = memory.scout_seconds
    return now if asked is None or now - asked >= SCOUT_AGAIN_SECONDS else asked


def _age(created: float, now: float) -> float:
    # Beyond this it makes no difference, and a pod without a time of creation is not as old as the epoch.
    return min(max(0.0, now - created), 2.0 * MOST_SECONDS)
