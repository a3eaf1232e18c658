"""``--speculative-config`` as a stand-in takes it: what vLLM makes of it, as far as ENGINE.yaml leaves that open."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from turbospec.simulation.files import EngineFile


class SpeculativeConfigError(ValueError):
    """The flag's value cannot be used; one line that says why."""


class SpeculativeConfig(BaseModel):
    """What is read of vLLM's; how long drafting takes and what it guesses is ENGINE.yaml's and the text's to say."""

    model_config = ConfigDict(extra="ignore")

    method: Annotated[str, Field(min_length=1)]
    num_speculative_tokens: Annotated[int, Field(ge=1)] | None = None


def started_with(spec: EngineFile, config: str) -> tuple[EngineFile, str]:
    """The engine with this drafter, no K being longer than it says, and its method. SpeculativeConfigError."""
    try:
        given = SpeculativeConfig.model_validate_json(config)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "value"
        raise SpeculativeConfigError(f"{where}: {fault['msg']}") from error
    longest = given.num_speculative_tokens or spec.max_draft_tokens
    if longest > spec.max_draft_tokens:
        raise SpeculativeConfigError(
            f"num_speculative_tokens {longest} is above maxDraftTokens {spec.max_draft_tokens}"
        )
    allowed = [k for k in spec.allowed if k <= longest]
    if not any(allowed):
        raise SpeculativeConfigError(f"allowedDraftTokens {list(spec.allowed)} hold no K from 1 to {longest}")
    return spec.model_copy(update={"max_draft_tokens": longest, "allowed_draft_tokens": allowed}), given.method
