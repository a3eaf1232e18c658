"""What we rely on in vLLM is what was written down of its releases; a seam that has moved fails a test of its name."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from e2e.vllm.install import installation
from tests.engine.committed_seams import FOLDER, RELEASES, committed_probe, seams
from turbospec.engine.scheduler import SEAMS
from turbospec.engine.source import asserts_equal, find_method, folder_source, installed_source, reads_name
from turbospec.engine.speculators import SPECULATORS, SpeculatorFacts, source_probe

NEWEST = RELEASES[-1]

# Not in every release; where it is missing there is no such speculator, or no such option.
OPTIONAL = {
    "SpeculativeConfig.use_multi_module_mtp",
    "SpeculativeConfig.enable_adaptive_verification",
    "SchedulerOutput.skip_drafts",  # from 0.33: model runner V2 drafts nothing for steps that can use no drafts
}


def load_tool() -> ModuleType:
    """tools/extract_seams.py; tools are scripts, not a package."""
    spec = importlib.util.spec_from_file_location("extract_seams", FOLDER.parent / "extract_seams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def installed() -> tuple[str, dict[str, dict[str, Any]]]:
    """Release and seams of the vLLM that the real tests run, read and not imported."""
    site = next(installation().venv.glob("lib/python*/site-packages"))
    release = next(site.glob("vllm-*.dist-info")).name.removeprefix("vllm-").split("+")[0].removesuffix(".dist-info")
    return release, load_tool().seams_of(folder_source(site / "vllm"))


@pytest.mark.vllm
@pytest.mark.parametrize("name", sorted(seams(NEWEST)))
def test_seam_is_as_written_down(name: str, installed: tuple[str, dict[str, dict[str, Any]]]) -> None:
    """Where it is not: read vLLM's change, mend what relies on it, run tools/extract_seams.py and commit its line."""
    release, found = installed
    assert release in RELEASES, f"run tools/extract_seams.py for vLLM {release} and commit tools/seams/{release}.json"
    assert found[name] == seams(release)[name]


def test_releases_from_0_25_on_are_written_down_without_a_gap() -> None:
    """One file per minor release, all with the same seams."""
    minors = [int(release.split(".")[1]) for release in RELEASES]
    assert minors == list(range(25, 25 + len(minors)))
    assert all(set(seams(release)) == set(seams(NEWEST)) for release in RELEASES)


@pytest.mark.parametrize("release", RELEASES)
def test_everything_that_the_runtime_touches_is_there(release: str) -> None:
    """Speculators apart: which of them a release has is a row of the table, not a seam that could be missing."""
    missing = {name for name, line in seams(release).items() if not line["found"] and not name.endswith(".propose")}
    assert missing <= OPTIONAL


@pytest.mark.parametrize("release", RELEASES)
def test_k_may_be_set_where_we_set_it(release: str) -> None:
    """It goes into SchedulerOutput, nothing reads it before our hook, and placeholders are made from it after."""
    schedule = seams(release)["Scheduler.schedule"]
    assert schedule["k_in_output"]
    assert schedule["hook_after_output"]
    assert schedule["k_read_between"] == 0
    assert seams(release)["AsyncScheduler placeholders"] == {"found": True, "length_is_k": True, "after_super": True}
    assert seams(release)["v1 model runner"]["reads_length"]


@pytest.mark.parametrize("release", RELEASES)
def test_hooks_have_the_parameters_that_they_are_called_with(release: str) -> None:
    """Parameters that we pass on without naming may grow in number."""
    lines = seams(release)
    assert lines["Scheduler._update_after_schedule"]["parameters"] == ["self", "scheduler_output"]
    assert lines["Scheduler.update_draft_token_ids"]["parameters"] == ["self", "draft_token_ids"]
    assert lines["Scheduler.update_from_output"]["parameters"] == ["self", "scheduler_output", "model_runner_output"]
    assert lines["Scheduler.make_stats"]["parameters"][:2] == ["self", "spec_decoding_stats"]
    assert all(f"Scheduler.{name}" in lines for name in SEAMS)


@pytest.mark.parametrize("release", RELEASES)
def test_vllm_itself_does_what_the_refusals_say(release: str) -> None:
    """On model runner V1 a start-up table means graphs that take any width; data parallelism drops it from 0.26 on."""
    table = seams(release)["VllmConfig and the start-up table"]
    assert table["v1_runs_piecewise"]
    assert table["dropped_with_data_parallelism"] == (release not in {"0.25.0", "0.25.1"})


PROPOSERS = """
class Base:
    def propose(self, num_speculative_tokens, tokens):
        assert num_speculative_tokens <= self.k
        return tokens[:num_speculative_tokens]
class Exact:
    def propose(self, num_speculative_tokens, tokens):
        assert num_speculative_tokens == self.num_speculative_tokens, f"{num_speculative_tokens}"
        return tokens
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with two proposers, and one that inherits from another file's class."""
    folder = tmp_path / "v1" / "spec_decode"
    folder.mkdir(parents=True)
    (folder / "base.py").write_text(PROPOSERS)
    (folder / "eagle.py").write_text(
        "from vllm.v1.spec_decode.base import Base as Parent\nclass EagleProposer(Parent):\n    x = 1\n"
    )
    (folder / "medusa.py").write_text("class MedusaProposer:\n  def propose(:\n")
    (tmp_path / "v1" / "worker").mkdir()
    (tmp_path / "v1" / "worker" / "gpu_model_runner.py").write_text("k = output.num_spec_tokens_to_schedule\n")
    return tmp_path


def test_an_assertion_on_k_is_told_from_a_use_of_it(package: Path) -> None:
    """An assertion's own message is no use."""
    read = folder_source(package)
    base = find_method(read, "v1/spec_decode/base.py", "Base", "propose")
    exact = find_method(read, "v1/spec_decode/base.py", "Exact", "propose")
    assert base is not None
    assert exact is not None
    name = "num_speculative_tokens"
    assert (asserts_equal(base[1], name), reads_name(base[1], name)) == (False, True)
    assert (asserts_equal(exact[1], name), reads_name(exact[1], name)) == (True, False)


def test_an_inherited_propose_is_found_in_its_own_file(package: Path) -> None:
    """Under the name that the class imports it by."""
    assert source_probe(folder_source(package))("eagle", "v1") == SpeculatorFacts(True, True, True, False, True)


@pytest.mark.parametrize(("variant", "runner"), [("medusa", "v1"), ("suffix", "v1"), ("nonsense", "v1"), ("mtp", "v2")])
def test_what_cannot_be_read_is_not_found_and_nothing_raises(package: Path, variant: str, runner: str) -> None:
    """A file that does not parse, one that is missing, a method that nobody knows, a runner without its file."""
    assert source_probe(folder_source(package))(variant, runner).found is False


def test_a_class_that_inherits_from_itself_ends(tmp_path: Path) -> None:
    """Source that no Python would load must not hang an engine's start."""
    (tmp_path / "a.py").write_text("from vllm.a import A as B\nclass A(B): ...\n")
    assert find_method(folder_source(tmp_path), "a.py", "A", "propose") is None


def test_a_process_without_vllm_has_no_source() -> None:
    """As in the developers' environment."""
    assert installed_source()("v1/worker/gpu_model_runner.py") is None


def test_formatting_and_comments_do_not_move_a_seam(tmp_path: Path) -> None:
    """A changed line does."""
    hashes = []
    for body in ("    return 1\n", "    # why\n\n    return 1\n", "    return 2\n"):
        (tmp_path / "a.py").write_text(f"def f(x):\n{body}")
        hashes.append(load_tool().function_seam(folder_source(tmp_path), "a.py", None, "f")["hash"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_every_speculator_of_the_table_is_in_some_release() -> None:
    """A row for nothing would be a typing error."""
    probes = [committed_probe(release) for release in RELEASES]
    assert [key for key in SPECULATORS if not any(probe(*key).found for probe in probes)] == []
