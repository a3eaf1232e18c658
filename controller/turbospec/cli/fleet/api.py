"""Raw requests to the user's cluster, by the user's kubeconfig; what fails is one line with a remedy."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from turbospec.cli.errors import CommandError
from turbospec.wire.crd import GROUP, POLICY, VERSION

Raw = dict[str, Any]

REQUEST_SECONDS = 10.0
PAGE_OBJECTS = 500

_REMEDIES: Mapping[int, str] = {
    401: "log in again, or choose another --context",
    403: "ask the cluster's administrator for that permission",
    409: "it is there already: choose another --name, or change that one with kubectl edit",
}


class MissingError(CommandError):
    """There is no such object, or no such kind."""


class DeniedError(CommandError):
    """The user lacks a permission."""


class Api:
    """One context of a kubeconfig. Every method raises CommandError where the API server does not do as asked."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get(self, path: str, **query: str) -> Raw:
        """An object, or a page of a list."""
        return self._parsed("GET", path, query, None, "application/json")

    def text(self, path: str, **query: str) -> str:
        """A log."""
        return self._request("GET", path, query, None, "application/json").decode("utf-8", "replace")

    def list(self, path: str, **query: str) -> list[Raw]:
        """All objects of a list."""
        found: list[Raw] = []
        page = {"limit": str(PAGE_OBJECTS), **query}
        while True:
            answer = self.get(path, **page)
            found += answer.get("items") or []
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                return found
            page["continue"] = token

    def create(self, path: str, body: Raw) -> Raw:
        """Create an object, or ask for a review."""
        return self._parsed("POST", path, {}, body, "application/json")

    def merge(self, path: str, body: Raw) -> Raw:
        """Merge into an object: null removes a field."""
        return self._parsed("PATCH", path, {}, body, "application/merge-patch+json")

    def _parsed(self, method: str, path: str, query: Mapping[str, str], body: Raw | None, content: str) -> Raw:
        parsed: Raw = json.loads(self._request(method, path, query, body, content))
        return parsed

    def _request(self, method: str, path: str, query: Mapping[str, str], body: Raw | None, content: str) -> bytes:
        from urllib3.exceptions import HTTPError

        request = self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
            auth_settings=["BearerToken"],
        )
        act = f"{method.lower()} {path}"
        try:
            answer = self._client.call_api(*request, _request_timeout=REQUEST_SECONDS)
            text: bytes = answer.read()
        except HTTPError as error:
            raise CommandError(
                f"cannot {act}: the API server does not answer ({type(error).__name__}): check --context, network"
            ) from error
        if not 200 <= answer.status < 300:
            raise _refused(answer.status, _sentence(text), act)
        return text


def policies_path(namespace: str | None, name: str | None = None) -> str:
    """Where SpeculationPolicies are: of a namespace, or of all."""
    where = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}{where}/{POLICY.plural}" + (f"/{quote(name)}" if name else "")


def _refused(status: int, said: str, act: str) -> CommandError:
    if status == 404 and GROUP in act and "page not found" in said:
        return MissingError(
            f"cannot {act}: TurboSpec's resources are not installed: kubectl apply --server-side -f crds/"
        )
    kind = {403: DeniedError, 404: MissingError}.get(status, CommandError)
    remedy = _REMEDIES.get(status)
    return kind(f"cannot {act}: {said}" + (f"; {remedy}" if remedy else ""))


def _sentence(body: bytes) -> str:
    """The server's own words, in one line."""
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["message"])
    return " ".join(text.split()).rstrip(".")
