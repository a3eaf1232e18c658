"""Waiting for an API server, without a client library."""

import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path


def wait_ready(url: str, ca_file: Path, seconds: float, *, alive: Callable[[], bool] = lambda: True) -> bool:
    """Whether `url`/readyz answered in time; gives up at once when `alive` says the server is gone."""
    context = ssl.create_default_context(cafile=str(ca_file))
    # a proxy that is set for the machine must not be asked for a loopback address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and alive():
        try:
            with opener.open(f"{url}/readyz", timeout=5):
                return True
        except OSError:  # URLError and HTTPError (not ready yet: 500; RBAC rules not there yet: 403) are OSErrors
            time.sleep(0.1)
    return False
