"""Entering the local cluster's network, where pod and service addresses answer."""

import ctypes
import os
from pathlib import Path

CLONE_NEWNET = 0x40000000
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def enter_network(namespace: Path) -> None:
    """Move this thread, and every thread and process it starts from now on, into a network namespace. Needs root.

    Proxies of the machine's own network are forgotten: nothing in here may be asked of them.
    Raises OSError where the namespace is gone or we may not.
    """
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))
    finally:
        os.close(descriptor)
    for name in PROXIES:
        os.environ.pop(name, None)
