"""Which engine gets a request."""

import heapq
from collections import deque
from collections.abc import Sequence
from typing import Literal

from turbospec.simulation.fleet.replica import Replica


class Balancer:
    """Least requests (waiting and in work; ties in turn), or each in its turn."""

    def __init__(self, kind: Literal["LeastRequests", "RoundRobin"]) -> None:
        self._least = kind == "LeastRequests"
        self._turn = 0

    def spread(self, requests: deque[int], replicas: Sequence[Replica]) -> None:
        """Give all these requests, in their order, to the engines; none is left."""
        count = len(replicas)
        if not self._least:
            while requests:
                self._turn += 1
                replicas[self._turn % count].waiting.append(requests.popleft())
            return
        heap = [(replica.requests_there, (i - self._turn) % count, i) for i, replica in enumerate(replicas)]
        heapq.heapify(heap)
        while requests:
            there, turn, i = heap[0]
            replicas[i].waiting.append(requests.popleft())
            self._turn = i + 1
            heapq.heapreplace(heap, (there + 1, turn, i))
