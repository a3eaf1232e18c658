"""Chromium for the tests of the web pages: ``python -m e2e.chromium`` installs Debian's where there is none.

Playwright's own browsers are a download that is no package, and its driver speaks to Debian's as well. The headless
shell is the same engine without windows, a quarter of the packages.
"""

import sys

from e2e.cluster.errors import ClusterError
from e2e.cluster.packages import Requirement, install
from e2e.cluster.progress import Progress
from e2e.cluster.shell import find

WANTED = (
    Requirement("chromium-headless-shell", "chromium-headless-shell"),
    # Chromium only recommends fonts, and without any a page has no text.
    Requirement("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "fonts-dejavu-core"),
)
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Full path of the first of PROGRAMS that this machine has."""
    return next((path for program in PROGRAMS if (path := find(program))), None)


def main() -> int:
    """Install it, unless there is one."""
    if find_chromium() is not None:
        return 0
    try:
        install(WANTED, Progress())
    except ClusterError as error:
        print(f"no Chromium: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
