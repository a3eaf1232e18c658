"""A Prometheus and its range queries: bounded in size, errors in one line with a remedy."""

import ast
import contextlib
import datetime as dt
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from turbospec.advise.queries import Series, Span, collected
from turbospec.cli.errors import CommandError

REQUEST_SECONDS = 60
LESS = "ask for less with --since, --selector or a larger --step"
STATUS = re.compile(r"HTTP Status Code (\d+) \((.*)\)$", re.DOTALL)


class Prometheus:
    """One Prometheus, or what speaks its HTTP API (Thanos, Mimir, VictoriaMetrics)."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        # Imported late: the client takes a quarter of a second, which no other command waits for.
        from prometheus_api_client import PrometheusConnect
        from urllib3.util.retry import Retry

        self._url = url.rstrip("/")
        # Statuses are not tried again: what they say is worth reading at once.
        retry = Retry(total=2, status=0, backoff_factor=0.2, status_forcelist=())
        self._client = PrometheusConnect(self._url, headers=dict(headers), retry=retry, timeout=REQUEST_SECONDS)

    def ranges(self, query: str, span: Span, done: Callable[[], None]) -> list[Series]:
        """All series of a query over a span; ``done`` is called after each piece. NaN and infinities are left out.

        Raises CommandError where Prometheus cannot be reached, refuses, or takes too long.
        """

        def answers() -> Iterator[Sequence[Mapping[str, Any]]]:
            for chunk in span.chunks():
                yield self._ask(query, chunk)
                done()

        return collected(answers())

    def _ask(self, query: str, span: Span) -> Sequence[Mapping[str, Any]]:
        import requests
        from prometheus_api_client import PrometheusApiClientException

        start, end = (dt.datetime.fromtimestamp(at, dt.UTC) for at in (span.start, span.end))
        try:
            found: Sequence[Mapping[str, Any]] = self._client.custom_query_range(query, start, end, str(span.step))
        except PrometheusApiClientException as error:
            raise CommandError(self._refused(str(error))) from error
        except requests.Timeout as error:
            raise CommandError(f"{self._url}: no answer within {REQUEST_SECONDS} s: {LESS}") from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader, UnicodeError) as error:
            raise CommandError(f"{self._url}: cannot be asked: {_line(str(error))}") from error
        except (requests.exceptions.JSONDecodeError, KeyError, TypeError) as error:
            raise CommandError(
                f"{self._url}: its answer is not Prometheus's (a login page?): give the address under which "
                "/api/v1/query_range is, and --bearer-token-file where it asks for a token"
            ) from error
        except requests.RequestException as error:
            raise CommandError(
                f"{self._url}: cannot be reached: {_reason(error)}. Is it port-forwarded? "
                "kubectl port-forward -n monitoring service/prometheus-operated 9090"
            ) from error
        return found

    def _refused(self, text: str) -> str:
        match = STATUS.search(text)
        status, body = (int(match[1]), match[2]) if match else (0, text)
        said = _said(body)
        if status in (401, 403):
            return f"{self._url}: refused ({status}): give --bearer-token-file FILE, or --header 'Authorization: ...'"
        if status == 404:
            return (
                f"{self._url}: has no /api/v1/query_range: give Prometheus's own address, with the path that is "
                "before /api/v1 where there is one"
            )
        if status == 400:
            return f"{self._url}: does not understand the query: {said}: correct --selector"
        if status in (422, 503, 504):
            return f"{self._url}: the query takes too much: {said}: {LESS}"
        return f"{self._url}: answers {status}: {said}: try again, or look at its log"


def _said(body: str) -> str:
    """What an error's body says: Prometheus's ``error``, or its beginning. The client quotes bytes as Python does."""
    with contextlib.suppress(ValueError, SyntaxError):
        body = ast.literal_eval(body).decode("utf-8", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        body = str(json.loads(body)["error"])
    return _line(body)[:200] or "no reason"


def _reason(error: Exception) -> str:
    """The innermost cause, which names the trouble; the others only wrap it."""
    while isinstance(inner := getattr(error, "reason", None) or (error.args[0] if error.args else None), Exception):
        error = inner
    return _line(str(error)).rpartition(">: ")[2].rpartition("): ")[2] or type(error).__name__


def _line(text: str) -> str:
    return " ".join(text.split())
