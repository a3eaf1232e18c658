"""The web page of ``turbospec dashboard`` beside the demo: its user's look at what happens, in a browser."""

import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e.cluster.progress import Say
from e2e.cluster.shell import end
from e2e.demo.place import Place

TURBOSPEC = Path(sys.executable).parent / "turbospec"
END_SECONDS = 10.0
URL = re.compile(r"http://\S+/")


class WebPage:
    """Runs while the block does. The demo goes on without it where it cannot: the reason is said."""

    def __init__(self, place: Place, namespace: str, say: Say) -> None:
        self._place, self._namespace, self._say = place, namespace, say
        self._process: subprocess.Popen[str] | None = None
        self.url: str | None = None
        """Where it is, with a slash at its end; None where it did not start."""

    def __enter__(self) -> Self:
        """Say where it is. It is in the machine's own network, as the browser is, and not in the cluster's."""
        config = self._place.provider.kubeconfig()
        where = (f"--kubeconfig={config}", f"--namespace={self._namespace}")
        with self._place.outside():
            self._process = subprocess.Popen(
                [str(TURBOSPEC), "dashboard", "--no-browser", *where],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        said = self._process.stdout.readline().strip() if self._process.stdout else ""
        found = URL.search(said)
        self.url = found.group() if found else None
        self._say(f"see the fleet at {self.url}" if self.url else f"going on without the web page: {said}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        if self._process is not None:
            end(self._process, END_SECONDS)
