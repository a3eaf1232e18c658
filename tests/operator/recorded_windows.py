"""A Prometheus with one window of one pod, as the queries of advice find it, and a clock that tests set."""

from collections.abc import Callable

from turbospec.advise import queries
from turbospec.advise.queries import Series, Span
from turbospec.advise.series import Window


class Clock:
    """Stands for the module ``time`` where rounds ask for it."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def monotonic(self) -> float:
        """The same, for pauses."""
        return self.now


class Recorded:
    """Its window ends at every span's last step; or it fails. Counts what it is asked."""

    def __init__(
        self,
        window: Window | None = None,
        error: Exception | None = None,
        *,
        namespace: str = "team",
        pod: str = "chat-0",
    ) -> None:
        self.window, self.error, self.asked = window, error, 0
        self._labels = {"namespace": namespace, "pod": pod, "model_name": "llama", "engine": "0"}

    def ranges(self, query: str, span: Span, done: Callable[[], None]) -> list[Series]:
        """The window's figure for the metric that the query is about."""
        done()
        self.asked += 1
        if self.error is not None:
            raise self.error
        window = self.window
        if window is None:
            return []
        at = float(span.end)
        if queries.PER_POSITION in query:
            accepted = enumerate(window.accepted)
            return [({**self._labels, "position": str(j)}, {at: value}) for j, value in accepted]
        if "stddev" in query:
            return [(self._labels, {at: 0.0})]
        figures = {metric: getattr(window, name) for name, metric in queries.REQUIRED.items()}
        figures |= {queries.DRAFTS: window.drafts or 0.0, queries.DRAFT_TOKENS: window.draft_tokens}
        figures |= {queries.CACHED: 0.0, queries.RUNNING: window.running}
        (figure,) = (figure for metric, figure in figures.items() if f"({metric}{{" in query)
        return [(self._labels, {at: figure})]
