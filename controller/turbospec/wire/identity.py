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

    hardware: ShortText
    target: ShortText
    drafter: ShortText
    method: ShortText
    engine_arguments: dict[str, str]
    engine_version: ShortText

    def key(self) -> str:
        """A stable name for this identity: 16 hexadecimal digits of the SHA-256 of its canonical JSON."""
        canonical = json.dumps(self.model_dump(by_alias=True), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
