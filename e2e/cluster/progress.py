"""Lines of progress for a person who waits."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]
"""Takes one line."""


class Progress:
    """Prints each line with the seconds since the start in front."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"[{time.monotonic() - self._start:6.1f} s] {line}", flush=True)


@contextmanager
def step(say: Say, what: str, expected: str) -> Iterator[None]:
    """Announce a long step with how long it usually takes, and say how long it took."""
    say(f"{what} (usually {expected})")
    start = time.monotonic()
    yield
    say(f"{what}: done in {time.monotonic() - start:.0f} s")
