"""The environment variables of a profiling run, beside those of ``turbospec.engine.environment``."""

PROFILE = "TURBOSPEC_PROFILE"
"""``1``: this is a profiling run."""
PLAIN = "TURBOSPEC_PROFILE_PLAIN"
"""In the second start only: when it must be over, in seconds of the monotonic clock."""

# What people may set.
SECONDS = "TURBOSPEC_PROFILE_SECONDS"
START_SECONDS = "TURBOSPEC_PROFILE_START_SECONDS"
PLAIN_SECONDS = "TURBOSPEC_PROFILE_PLAIN_SECONDS"
TERMINATION_LOG = "TURBOSPEC_TERMINATION_LOG"

# What the operator and the launcher tell the runner.
DRAFT_TOKENS = "TURBOSPEC_PROFILE_DRAFT_TOKENS"
PORT = "TURBOSPEC_PROFILE_PORT"
CONTAINERS = "TURBOSPEC_PROFILE_CONTAINERS"
"""How many containers the pod has, with those that others may have added to it: they share its termination messages."""
TOKEN = "TURBOSPEC_TOKEN"  # noqa: S105 - the name of the variable
PARENT = "TURBOSPEC_PROFILE_PARENT"
API_KEY = "TURBOSPEC_PROFILE_API_KEY"
BEGAN = "TURBOSPEC_PROFILE_BEGAN"
"""When vLLM's process was started, by the monotonic clock."""

AGAIN = 64
"""Exit status of a runner whose result is written, and who finds time enough for a second start."""
DEFAULT_PLAIN_SECONDS = 300.0
"""Seconds after the first engine's start within which a second one, without speculation, must be over."""
