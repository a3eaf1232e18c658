"""One small file beside the engine: written atomically, read with care, never worth more than a line in the log."""

import os
import stat
from pathlib import Path

from turbospec.engine.environment import logger


class StateFile:
    """What a restarted container finds again. A disk that is full or read-only costs the resumption, nothing else.

    ``what`` names the content in the log. Only one thread at a time may write.
    """

    def __init__(self, path: Path, what: str, max_bytes: int) -> None:
        self.path = path
        self._what = what
        self._max_bytes = max_bytes
        # By process: a name that is left over from a killed process is used again, so leftovers do not pile up.
        self._temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
        self._failing = False

    def write(self, data: bytes) -> bool:
        """A reader finds the old content or the new one. False where it could not be written: the first of such
        failures in a row is logged, the others are not."""
        try:
            if len(data) > self._max_bytes:
                raise OSError(f"{len(data)} bytes, at most {self._max_bytes} are kept")
            self._replace(data)
        except OSError as error:
            if not self._failing:
                logger.warning("cannot keep %s at %s (%s): a restart will not resume it", self._what, self.path, error)
            self._failing = True
            return False
        if self._failing:
            logger.info("%s is kept at %s again", self._what, self.path)
        self._failing = False
        return True

    def read(self) -> bytes | None:
        """None where there is nothing, or nothing that this user wrote as a plain file of its usual size."""
        try:
            # The folder may be shared (/tmp): neither a link nor a file of another user is followed. Not to block: a
            # pipe of that name would hold up the start of the engine.
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                return self._checked(handle)
            finally:
                os.close(handle)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.ignore(f"it cannot be read ({error.strerror})")
            return None

    def _checked(self, handle: int) -> bytes | None:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            self.ignore("it is not a plain file of this user")
            return None
        if facts.st_size > self._max_bytes:
            self.ignore(f"it has {facts.st_size} bytes, at most {self._max_bytes} are read")
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(self._max_bytes)

    def remove(self) -> None:
        """Nothing is found again."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            logger.debug("%s at %s cannot be removed: %s", self._what, self.path, error)

    def ignore(self, why: str) -> None:
        """Says that the content is not used."""
        logger.warning("ignoring %s at %s: %s", self._what, self.path, why)

    def _replace(self, data: bytes) -> None:
        self._temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(self._temporary, flags, 0o600)
        try:
            try:
                _write_all(handle, data)
            finally:
                os.close(handle)
            self._temporary.replace(self.path)
        except OSError:
            self._temporary.unlink(missing_ok=True)
            raise


def _write_all(handle: int, data: bytes) -> None:
    """A disk that is nearly full takes a part, and refuses the next part with the reason."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
