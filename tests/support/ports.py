"""Ports for servers that have to be told theirs before they start."""

import random
import socket

FIRST, LAST = 10_000, 32_767
"""Below what Linux gives to outgoing connections: of those other tests make hundreds before a server listens on its own
port, seconds after it was chosen."""


def free_ports(count: int = 1) -> list[int]:
    """Different ports of loopback on which nobody listens, chosen at random so that tests side by side do not meet."""
    chance = random.SystemRandom()
    found: set[int] = set()
    while len(found) < count:
        port = chance.randint(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.add(port)
    return list(found)
