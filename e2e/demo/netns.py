"""Entering the local cluster's network, where pod and service addresses answer."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@contextmanager
def inside_network(namespace: Path) -> Iterator[None]:
    """Within the block this thread, and every thread and process it starts, is in a network namespace. Needs root.

    Proxies of the machine's own network are forgotten for as long: nothing in there may be asked of them.
    Raises OSError where the namespace is gone or we may not.
    """
    proxies = {name: os.environ.pop(name) for name in PROXIES if name in os.environ}
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _set_namespace(own)
    finally:
        os.close(own)
        os.environ.update(proxies)


def _set_namespace(descriptor: int) -> None:
    """setns(2); os.setns came with Python 3.12."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
