"""The container's termination message, written so that whatever ends the run, the message says something true."""

import logging
from collections.abc import Mapping
from pathlib import Path

from turbospec.profiling import variables
from turbospec.profiling.codec import decode, encode, encode_failure, message_limit
from turbospec.wire.profile_result import ProfileResult

logger = logging.getLogger(__name__)


class TerminationLog:
    """The file that the kubelet turns into the message of the ended container."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit

    def expect(self, reason: str) -> None:
        """What the message is if the container ends now, without another word: vLLM may die at any time."""
        self._write(encode_failure(reason, self._limit))

    def fail(self, reason: str) -> None:
        """Why there is no profile."""
        logger.error("profiling failed: %s", reason)
        self._write(encode_failure(reason, self._limit))

    def succeed(self, result: ProfileResult) -> None:
        """The profile. CodecError where it cannot be made to fit, OSError where the file cannot be written."""
        self._path.write_text(encode(result, self._limit), encoding="ascii")

    def read(self) -> ProfileResult:
        """The profile that was written. CodecError where there is none, OSError where the file cannot be read."""
        return decode(self._path.read_text(encoding="ascii"))

    def _write(self, message: str) -> None:
        try:
            # In place: the kubelet reads the very file that it mounted.
            self._path.write_text(message, encoding="ascii")
        except OSError as error:
            logger.warning("the termination message cannot be written to %s: %s", self._path, error)


def termination_log(environ: Mapping[str, str]) -> TerminationLog:
    """The log of this container, with the room that its pod leaves it: that of a pod of one container where nobody
    has counted them, as in a Job of an older operator."""
    counted = environ.get(variables.CONTAINERS, "")
    containers = int(counted) if counted.isascii() and counted.isdigit() else 1
    return TerminationLog(
        Path(environ.get(variables.TERMINATION_LOG) or "/dev/termination-log"), message_limit(containers)
    )
