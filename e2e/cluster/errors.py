"""What goes wrong with a cluster and can be told to a person in one line that also says what to do."""


class ClusterError(Exception):
    """A cluster step failed; the message says what, where and what to do about it."""
