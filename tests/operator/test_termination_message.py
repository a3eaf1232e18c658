"""What the kubelet keeps of a profiling container's message is the whole message, however many share the pod."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.operator.samples import JOB_EFFECT, engine_pod
from tests.profiling.samples import LARGE, grid_result, with_plain
from turbospec.profiling.codec import ReportedFailureError, decode, encode, message_limit
from turbospec.profiling.termination import termination_log
from turbospec_operator.job_manifest import JobOptions, profiling_job

CONTAINERS = range(1, 9)


def kept(message: str, containers: int) -> str:
    """By the kubelet's own rule (Kubernetes 1.32 to 1.36): it reads the last 4,096 bytes of
    the file (``ReadAtMost``), and cuts what exceeds an equal share of 12 KiB (``normalizeStatus``)."""
    return message.encode()[-4096:][: 12 * 1024 // containers].decode()


def environment_of_a_job(containers: int) -> dict[str, str]:
    """What the operator tells the runner where the serving pod has so many containers."""
    pod: dict[str, Any] = engine_pod("shop", "chat-1")
    inits = containers // 2
    sidecars = containers - 1 - inits
    pod["spec"]["initContainers"] = [{"name": f"init-{index}", "image": "i"} for index in range(inits)]
    pod["spec"]["containers"] += [{"name": f"sidecar-{index}", "image": "s"} for index in range(sidecars)]
    job = profiling_job(JOB_EFFECT, pod, JobOptions(8000, "vllm"))
    variables = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"] for each in variables if "value" in each}


@pytest.mark.parametrize("containers", CONTAINERS)
def test_a_large_profile_arrives_where_others_share_the_pod(containers: int, tmp_path: Path) -> None:
    """From the Job's manifest over the runner to the pod's status, with a mesh that adds its containers to the Job's
    pod as it did to the serving one: points may be dropped, and the checksum is right."""
    path = tmp_path / "termination-log"
    log = termination_log({**environment_of_a_job(containers), "TURBOSPEC_TERMINATION_LOG": str(path)})
    log.succeed(with_plain(LARGE))
    arrived = decode(kept(path.read_text(), containers))
    assert arrived.identity == LARGE.identity
    assert len(arrived.cells) >= 4 * 6
    log.fail("x" * 10_000)
    assert kept(path.read_text(), containers) == path.read_text()
    with pytest.raises(ReportedFailureError):
        decode(kept(path.read_text(), containers))


@pytest.mark.parametrize("said", ["", "0", "-1", "many", "٣"])
def test_where_nobody_has_counted_the_pod_is_taken_for_one_of_one_container(said: str, tmp_path: Path) -> None:
    """A Job that an older operator made; nothing keeps the run from leaving a message."""
    path = tmp_path / "termination-log"
    variables = {"TURBOSPEC_TERMINATION_LOG": str(path), "TURBOSPEC_PROFILE_CONTAINERS": said}
    termination_log(variables).succeed(LARGE)
    assert path.read_text() == encode(LARGE, 4096)


@given(
    batches=st.sets(st.integers(1, 1024), min_size=2, max_size=8),
    contexts=st.sets(st.integers(1, 131_072), min_size=2, max_size=5),
    draft_tokens=st.sets(st.integers(1, 16), min_size=1, max_size=5),
    containers=st.sampled_from(CONTAINERS),
)
def test_every_grid_fits_its_share(
    batches: set[int], contexts: set[int], draft_tokens: set[int], containers: int
) -> None:
    """Whatever was measured, the message of a pod of up to eight containers holds four points of it at least."""
    result = with_plain(grid_result(sorted(batches), sorted(contexts), [0, *sorted(draft_tokens)]))
    text = encode(result, message_limit(containers))
    assert kept(text, containers) == text
    points = {(cell.batch, cell.context_tokens) for cell in decode(text).cells}
    assert len(points) >= 4
