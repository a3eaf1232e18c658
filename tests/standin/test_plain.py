"""A stand-in without a drafter answers as vLLM does where it was started without one; with ``--speculative-config`` as
vLLM does where it was started with that."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.simulation.builders import engine_file
from tests.standin.support import stand_ins, table_document
from turbospec.cli.main import main
from turbospec.fleet.plain_profiles import MOVED_BY_SPECULATION
from turbospec.simulation.files import EngineFile
from turbospec.standin.drafter import SpeculativeConfigError, started_with

WITH_PLAIN = engine_file(plain={"speedup": 1.25, "kvCacheTokens": 60_000})


@pytest.mark.parametrize(
    ("spec", "method"), [(engine_file(allowedDraftTokens=[0]), "eagle3"), (WITH_PLAIN, "none")], ids=["k-0", "none"]
)
async def test_without_a_drafter_it_has_a_key_of_its_own_counts_requests_and_takes_no_documents(
    spec: EngineFile, method: str
) -> None:
    async with stand_ins() as drafting:
        other = await drafting.state()
    async with stand_ins(spec, method=method) as served:
        await asyncio.gather(*(served.complete() for _ in range(3)))
        state, refused = await served.state(), await served.put(table_document(0))
        series = {name for name, _ in await served.metrics()}
    assert state.unsupported is not None
    assert state.unsupported.code == "NoSpeculation"
    assert refused.status == 409
    assert (state.identity.method, state.identity.drafter) == ("none", "none")
    assert state.profile_key != other.profile_key
    assert state.identity.target == other.identity.target
    assert (state.limits.max_draft_tokens, state.limits.allowed_draft_tokens) == (0, [0])
    assert {row.draft_tokens for row in state.table} == {0}
    assert state.requests is not None
    assert (state.requests.arrived, state.requests.output_tokens) == (3, 120)
    assert state.counters.generated_tokens == 120
    assert not [name for name in series if "spec_decode" in name]


async def test_it_is_as_fast_and_as_large_as_its_file_says() -> None:
    """By the field plain, against the same engine at K = 0; of its key only what speculation moves is another."""
    took = []
    for method in ("eagle3", "none"):
        async with stand_ins(WITH_PLAIN, method=method) as served:
            if method == "eagle3":
                await served.put(table_document(0))
            await served.complete()
            intervals = [step["interval_seconds"] for step in await served.steps()]
            took.append(min(each for each in intervals if each))
            state = await served.state()
    assert took[0] / took[1] == pytest.approx(1.25, rel=0.01)
    assert state.limits.kv_cache_tokens == 60_000
    async with stand_ins(WITH_PLAIN) as drafting:
        beside = (await drafting.state()).identity.engine_arguments
    mine = state.identity.engine_arguments
    assert {name for name in beside if beside[name] != mine[name]} <= MOVED_BY_SPECULATION


async def test_it_is_refused_where_nothing_says_what_it_is() -> None:
    """An unknown speed is not guessed."""
    with pytest.raises(ValueError, match=r"needs the field plain"):
        async with stand_ins(method="none"):
            pass


CONFIG = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}


@pytest.mark.parametrize(
    ("changes", "allowed", "longest"),
    [
        ({}, (0, 1, 3), 3),
        ({"num_speculative_tokens": None}, (0, 1, 3, 7), 7),
        ({"num_speculative_tokens": 2}, (0, 1), 2),
    ],
)
def test_a_speculative_config_bounds_k(changes: dict[str, object], allowed: tuple[int, ...], longest: int) -> None:
    """To num_speculative_tokens where it is given, as in vLLM."""
    given = {name: value for name, value in {**CONFIG, **changes}.items() if value is not None}
    spec, method = started_with(WITH_PLAIN, json.dumps(given))
    assert (spec.allowed, spec.max_draft_tokens, method) == (allowed, longest, "ngram")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "Invalid JSON"),
        ("[]", "value: "),
        ("{}", "method: Field required"),
        ('{"method": "eagle", "num_speculative_tokens": 0}', "num_speculative_tokens: "),
        ('{"method": "eagle", "num_speculative_tokens": 8}', "8 is above maxDraftTokens 7"),
        ('{"method": "eagle", "num_speculative_tokens": 2}', r"\[0, 3, 7\] hold no K from 1 to 2"),
    ],
)
def test_a_speculative_config_that_cannot_be_served_is_refused(config: str, said: str, tmp_path: Path) -> None:
    """With what is wrong; and so by the command, whatever --method says."""
    spec = engine_file(allowedDraftTokens=[0, 3, 7])
    with pytest.raises(SpeculativeConfigError, match=said):
        started_with(spec, config)
    file = tmp_path / "engine.yaml"
    file.write_text(yaml.safe_dump(spec.model_dump(mode="json", by_alias=True, exclude_none=True)))
    result = CliRunner().invoke(main, ["sim", "serve", str(file), "--method=none", "--speculative-config", config])
    assert result.exit_code == 2
    assert "speculative-config" in result.output
