"""`python -m e2e.models NAME...`: make models into the cache."""

import sys

from e2e.cluster.progress import Progress
from e2e.models.store import MODELS, ensure_model


def main(names: list[str]) -> None:
    """Make each; without a name, say which there are."""
    if not names or not set(names) <= set(MODELS):
        sys.exit(f"usage: python -m e2e.models NAME...   (one or more of {', '.join(MODELS)})")
    say = Progress()
    for name in names:
        ensure_model(name, say)


if __name__ == "__main__":
    main(sys.argv[1:])
