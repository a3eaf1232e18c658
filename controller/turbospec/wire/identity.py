"""What a profile belongs to: hardware x models x method x engine, reported by the engine itself."""

import hashlib
import json
from typing import Annotated

from pydantic import Field

from turbospec.wire.base import LenientModel

ShortText = Annotated[str, Field(max_length=253)]


class ProfileIdentity(LenientModel):
    """Everything that decides how long a step takes. Two engines with equal identities may share a profile.

    The engine fills it in from its own resolved configuration, so it is the same whether the arguments came from a
    command line, a shell string or the environment, and the same in the profiling Job as in the serving pod.
    """

    hardware: Annotated[ShortText, Field(description="GPU name, memory and count, or CPU model and usable CPUs.")]
    target: Annotated[ShortText, Field(description="Fingerprint of the target model's configuration.")]
    drafter: Annotated[ShortText, Field(description="Fingerprint of the drafter's configuration.")]
    method: Annotated[ShortText, Field(description="Speculative method.")]
    engine_arguments: Annotated[
        dict[str, str], Field(description="Engine arguments that change step time, normalised.")
    ]
    engine_version: Annotated[ShortText, Field(description="vLLM version.")]

    def key(self) -> str:
        """A stable name for this identity: 16 hexadecimal digits of the SHA-256 of its canonical JSON."""
        canonical = json.dumps(self.model_dump(by_alias=True), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
