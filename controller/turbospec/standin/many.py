"""Makes the engines of one process."""

from collections.abc import Sequence
from ipaddress import IPv4Address

from turbospec.simulation.files import EngineFile
from turbospec.standin.engine import StandInEngine
from turbospec.standin.facts import stand_in_facts
from turbospec.standin.options import StandInOptions
from turbospec.standin.texts import Texts

MAX_ENGINES = 1000


def addresses_from(first: IPv4Address, count: int) -> list[str]:
    """``count`` addresses that follow each other."""
    return [str(first + index) for index in range(count)]


def stand_in_engines(
    spec: EngineFile, options: StandInOptions, addresses: Sequence[str], tokens_sha256: Sequence[str]
) -> dict[str, StandInEngine]:
    """One engine at each address; their start-up begins now. Call it within the running event loop.

    ``tokens_sha256``: one for all, one for each address, or none (then no engine can be controlled). ValueError for
    another number of them, for repeated addresses, for more than MAX_ENGINES, and for engines without a drafter where
    the file does not say what these are.
    """
    if options.plain and spec.plain is None:
        raise ValueError("method none: ENGINE.yaml needs the field plain (speedup, kvCacheTokens) to say what that is")
    if not 1 <= len(addresses) <= MAX_ENGINES or len(set(addresses)) != len(addresses):
        raise ValueError(f"{len(addresses)} addresses: expected 1 to {MAX_ENGINES} different ones")
    if len(tokens_sha256) not in (0, 1, len(addresses)):
        raise ValueError(f"{len(tokens_sha256)} token hashes for {len(addresses)} engines: give one, or one for each")
    texts = Texts(spec.max_draft_tokens, spec.max_model_len, options.seed)
    engines = {}
    for index, address in enumerate(addresses):
        token = tokens_sha256[index % len(tokens_sha256)] if tokens_sha256 else None
        facts = stand_in_facts(spec, options)
        engines[address] = StandInEngine(spec, facts, options, texts, seed=options.seed + index, token_sha256=token)
    return engines
