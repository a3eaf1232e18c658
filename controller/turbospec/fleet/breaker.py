"""The crash-loop breaker: pods of a template whose injected engines fail before they are Ready are injected no more.

Level-based: what is stopped is read back from the policy's status, so a restart of the operator forgets nothing. Only a
person ends it: by a change of what is injected (image, arguments, policy: another template), or by an annotation.
"""

from collections.abc import Iterable

from turbospec.fleet.effects import StoppedTemplate
from turbospec.fleet.snapshot import PodView, PolicyView

FAILED_PODS = 2
"""One pod may fail for a reason of its own node; the second one shows that it is the template."""

MAX_STOPPED = 16
"""Rows in the status, the newest ones: the bound of the custom resource."""

MAX_REMEMBERED = 64
ANNOTATION = "turbospec.io/inject-anyway"

Failures = tuple[tuple[str, str], ...]


def in_force(policy: PolicyView) -> tuple[StoppedTemplate, ...]:
    """What is stopped by the policy's status, without what a person wants injected all the same."""
    return tuple(stop for stop in policy.stopped if stop.template not in policy.inject_anyway)


def judge(
    policy: PolicyView, governed: Iterable[PodView], remembered: Failures
) -> tuple[tuple[StoppedTemplate, ...], Failures]:
    """What is stopped from now on, and the failures to remember: (template, pod uid)."""
    stopped = in_force(policy)
    settled = {stop.template for stop in stopped} | policy.inject_anyway
    failing = {(pod.template, pod.uid): pod for pod in governed if _counts(pod) and pod.template not in settled}
    failures = dict.fromkeys(each for each in remembered if each[0] not in settled)
    failures.update(dict.fromkeys((template, uid) for template, uid in failing if template is not None))
    pods_by_template: dict[str, list[str]] = {}
    for template, uid in failures:
        pods_by_template.setdefault(template, []).append(uid)
    for template, uids in pods_by_template.items():
        shown = [pod for (digest, _), pod in failing.items() if digest == template]
        if len(uids) >= FAILED_PODS and shown:
            stopped = (*stopped, StoppedTemplate(template, _words(policy, template, len(uids), shown[-1])))
            failures = {each: None for each in failures if each[0] != template}
    return stopped[-MAX_STOPPED:], tuple(failures)[-MAX_REMEMBERED:]


def _counts(pod: PodView) -> bool:
    return pod.injected and pod.template is not None and pod.failed_start is not None and not pod.ready


def _words(policy: PolicyView, template: str, failed: int, pod: PodView) -> str:
    return (
        f"{failed} injected pods failed before they were Ready, the last one {pod.name} ({pod.failed_start}), so new "
        f"ones start without TurboSpec. See kubectl logs {pod.name} -n {pod.namespace} --previous. Change what fails, "
        f"or, once the cause is gone: kubectl annotate specpol {policy.name} -n {policy.namespace} --overwrite "
        f"{ANNOTATION}={','.join(sorted([*policy.inject_anyway, template]))} and create the pods anew."
    )
