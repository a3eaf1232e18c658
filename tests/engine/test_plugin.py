"""The entry point never raises, does its work once, and can be switched off."""

import multiprocessing
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine.fakes import FakeScheduler
from turbospec.engine import plugin
from turbospec.engine.scheduler import TurboSpecMixin


class SchedulerConfig:
    """vLLM's, as far as it is wrapped."""

    def get_scheduler_cls(self) -> type:
        return FakeScheduler


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[SchedulerConfig]]:
    """A process that has vLLM."""
    original = SchedulerConfig.get_scheduler_cls
    for name in ("vllm", "vllm.config", "vllm.config.scheduler"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["vllm.config.scheduler"].SchedulerConfig = SchedulerConfig  # type: ignore[attr-defined]
    for name in ("TURBOSPEC_DISABLE", "TURBOSPEC_PROFILE", "TURBOSPEC_PROFILE_PLAIN"):
        monkeypatch.delenv(name, raising=False)
    yield SchedulerConfig
    SchedulerConfig.get_scheduler_cls = original  # type: ignore[method-assign]


def test_the_scheduler_that_vllm_picks_is_extended_once(config: type[SchedulerConfig]) -> None:
    """vLLM loads plugins several times in one process."""
    for _ in range(3):
        plugin.register()
    chosen = config().get_scheduler_cls()
    assert chosen.__mro__.count(TurboSpecMixin) == 1
    assert issubclass(chosen, FakeScheduler)


def test_the_second_start_of_a_profiling_run_does_without_speculation(
    config: type[SchedulerConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the options come from, they meet in one method of vLLM's; serving pods keep theirs."""

    class EngineArgs:
        def create_speculative_config(self, target_model_config: Any, target_parallel_config: Any) -> Any:
            return target_model_config, target_parallel_config

    for name in ("vllm.engine", "vllm.engine.arg_utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["vllm.engine.arg_utils"].EngineArgs = EngineArgs  # type: ignore[attr-defined]
    plugin.register()
    assert EngineArgs().create_speculative_config(1, target_parallel_config=2) == (1, 2)
    monkeypatch.setenv("TURBOSPEC_PROFILE_PLAIN", "100.0")
    plugin.register()
    assert EngineArgs().create_speculative_config(1, target_parallel_config=2) is None
    assert issubclass(config().get_scheduler_cls(), TurboSpecMixin)


def test_disabled_means_untouched(config: type[SchedulerConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    """TURBOSPEC_DISABLE=1."""
    monkeypatch.setenv("TURBOSPEC_DISABLE", "1")
    plugin.register()
    assert config().get_scheduler_cls() is FakeScheduler


def test_a_process_without_vllm_is_told_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """The import fails here, in the developers' environment."""
    plugin.register()
    assert any("serves without it" in message for message in caplog.messages)


def test_a_mixin_that_cannot_be_made_leaves_vllms_choice(
    config: type[SchedulerConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moved seam costs the steering, not the start."""
    plugin.register()

    def broken(_: type) -> type:
        raise TypeError("layout conflict")

    monkeypatch.setattr("turbospec.engine.scheduler.mixed_with", broken)
    assert config().get_scheduler_cls() is FakeScheduler


@pytest.mark.parametrize(("parent", "started"), [(None, 1), (object(), 0)])
def test_a_profiling_run_starts_in_the_main_process_only(
    config: type[SchedulerConfig], monkeypatch: pytest.MonkeyPatch, parent: Any, started: int
) -> None:
    """The engine and its workers load the plugin too."""
    calls: list[None] = []
    launch = types.ModuleType("turbospec.profiling.launch")
    launch.start = lambda: calls.append(None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "turbospec.profiling.launch", launch)
    monkeypatch.setattr("turbospec.profiling.launch", launch, raising=False)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)
    monkeypatch.setenv("TURBOSPEC_PROFILE", "1")
    assert config is not None
    plugin.register()
    assert len(calls) == started


def test_loading_the_plugin_imports_nothing_heavy() -> None:
    """It runs in the API server and in every worker, which need none of it."""
    program = (
        "import sys, turbospec.engine.plugin\n"
        "print([name for name in ('numpy', 'pydantic', 'prometheus_client', 'vllm', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
