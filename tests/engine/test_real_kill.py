"""A real vLLM whose engine is killed. In a file of its own: a worker starts it while another runs other tests."""

from pathlib import Path

import pytest

from e2e.models.prompts import dial_continuation, dial_prompt
from tests.engine.vllm_server import VllmServer, serve, table

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(420)]

TOKENS = 20


def answers(vllm: VllmServer) -> bool:
    """Whether some requests get the only right text."""
    prompts = [dial_prompt(0.9, seed) for seed in range(4)]
    return all(vllm.complete(prompt, TOKENS) == dial_continuation(prompt, TOKENS) for prompt in prompts)


def test_an_engine_that_was_killed_resumes_its_document(tmp_path: Path) -> None:
    """EngineCore in a process of its own gets SIGKILL: the API server ends, and the one started in its place, as a
    kubelet does, decides its first step with the document of before."""
    with serve(tmp_path, engine_process=True) as vllm:
        before = vllm.state().engine.id
        vllm.put(table("before-the-kill", 1))
        assert answers(vllm)
        vllm.kill_engine()
        vllm.start()
        state = vllm.state()
        assert state.engine.id != before
        assert state.applied is not None
        assert state.applied.id == "before-the-kill"
        assert answers(vllm)
        assert {record.decided_draft_tokens for record in vllm.steps(0)} == {1}
        assert vllm.put(table("after-it", 3)) > 0
