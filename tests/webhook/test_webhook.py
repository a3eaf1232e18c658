"""The webhook as a real API server calls it: over TLS it made itself, for pods that asked, never in anyone's way."""

import asyncio
import datetime as dt
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.apiserver import ApiServer
from turbospec_operator.admission import Admission
from turbospec_operator.certificates import SECRET, Pair, new_generation
from turbospec_operator.cluster import CONFIG_MAPS, POLICIES, SECRETS, ApiError, Cluster, Raw
from turbospec_operator.identity import master_key
from turbospec_operator.injection import Outcome
from turbospec_operator.settings import Settings
from turbospec_operator.tokens import engine_token, token_sha256
from turbospec_operator.webhook import Webhook, WebhookSettings, serving

pytestmark = pytest.mark.apiserver

WAIT_SECONDS = 40.0

Start = Callable[..., AbstractAsyncContextManager[tuple[Webhook, int]]]


async def eventually(probe: Callable[[], Awaitable[bool]]) -> None:
    """Poll until true; the deadline is only for a machine that is busy beside the tests."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not await probe():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.1)


@pytest.fixture
def namespace(api_with_kinds: ApiServer) -> str:
    """A fresh namespace with our kinds served."""
    name = f"webhook-{secrets.token_hex(4)}"
    api_with_kinds.create_namespace(name)
    return name


@pytest.fixture
async def cluster(api_server: ApiServer) -> AsyncIterator[Cluster]:
    """The API server, as its administrator."""
    async with await Cluster.connect(api_server.kubeconfig) as connection:
        yield connection


def settings_for(namespace: str, certificates: Path | None = None) -> WebhookSettings:
    """A webhook of this namespace on loopback, whose certificate names localhost."""
    shared = Settings.from_environment({"TURBOSPEC_NAMESPACE": namespace})
    return WebhookSettings(
        shared=shared,
        host="127.0.0.1",
        port=0,
        certificates=certificates,
        configuration=namespace,
        hosts=("localhost",),
    )


@pytest.fixture
def start(cluster: Cluster, api_server: ApiServer, namespace: str) -> Start:
    """Starts a webhook, registers it for pods of the namespace that carry our label, and waits until it is ready."""

    @asynccontextmanager
    async def started() -> AsyncIterator[tuple[Webhook, int]]:
        async with serving(cluster, settings_for(namespace)) as (webhook, port):
            selectors = {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "objectSelector": {"matchLabels": {"turbospec.io/inject": "true"}},
            }
            configuration: dict[str, object] = {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "MutatingWebhookConfiguration",
                "metadata": {"name": namespace},
                "webhooks": [
                    {
                        "name": "pods.turbospec.io",
                        "admissionReviewVersions": ["v1"],
                        "sideEffects": "NoneOnDryRun",
                        "failurePolicy": "Fail",
                        "timeoutSeconds": 10,
                        "clientConfig": {"url": f"https://localhost:{port}/mutate"},
                        "rules": [
                            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                        ],
                        **selectors,
                    }
                ],
            }
            await asyncio.to_thread(api_server.apply, configuration)
            try:

                async def ready() -> bool:
                    return webhook.not_ready is None

                await eventually(ready)
                await _heard(api_server, namespace)
                yield webhook, port
            finally:
                await asyncio.to_thread(api_server.kubectl, "delete", "mutatingwebhookconfiguration", namespace)

    return started


async def _heard(api_server: ApiServer, namespace: str) -> None:
    """The API server needs a moment to hear of a configuration and its authority: dry runs tell, and leave nothing."""

    async def mutated() -> bool:
        try:
            answer = await asyncio.to_thread(create, api_server, namespace, pod("probe"), "--dry-run=server")
        except RuntimeError:
            return False
        return "turbospec.io/injected" in answer["metadata"].get("annotations", {})

    await eventually(mutated)


def create(api_server: ApiServer, namespace: str, manifest: Raw, *options: str) -> Raw:
    """What the API server made of an object; RuntimeError where it refused it."""
    arguments = ("create", "-n", namespace, "-o", "json", *options, "-f", "-")
    created: Raw = json.loads(api_server.kubectl(*arguments, manifest=json.dumps(manifest)))
    return created


def pod(name: str, **container: Any) -> Raw:
    """A pod that asks for injection."""
    main = {"name": "vllm", "image": "none", "command": ["vllm", "serve", "m", "--max-num-seqs", "16"]} | container
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"turbospec.io/inject": "true", "app": "chat"}},
        "spec": {"containers": [main], "automountServiceAccountToken": False},
    }


def policy(**spec: Any) -> Raw:
    """A policy for the pods above."""
    return {
        "apiVersion": "turbospec.io/v1alpha1",
        "kind": "SpeculationPolicy",
        "metadata": {"name": "chat"},
        "spec": {"selector": {"matchLabels": {"app": "chat"}}} | spec,
    }


async def test_a_pod_that_asks_is_injected_with_all_it_needs(
    start: Start, api_server: ApiServer, cluster: Cluster, namespace: str
) -> None:
    """Runtime, token hash, start-up flag, and the ConfigMap before any operator has run; dry runs leave none."""
    create(api_server, namespace, policy(speculation={"method": "ngram", "draftTokens": [0, 5]}))
    async with start():
        assert await cluster.list(CONFIG_MAPS, namespace, "app.kubernetes.io/component=runtime") == []
        created = await asyncio.to_thread(create, api_server, namespace, pod("chat-1"))
    annotations = created["metadata"]["annotations"]
    runtimes = await cluster.list(CONFIG_MAPS, namespace, "app.kubernetes.io/component=runtime")
    assert [each["metadata"]["name"] for each in runtimes] == [
        f"turbospec-runtime-{annotations['turbospec.io/injected']}"
    ]
    container = created["spec"]["containers"][0]
    variables = {each["name"]: each["value"] for each in container["env"]}
    key = master_key(await cluster.get(SECRETS, namespace, "turbospec-master-key"))
    token = engine_token(key, namespace, annotations["turbospec.io/token-nonce"])
    assert variables["TURBOSPEC_TOKEN_SHA256"] == token_sha256(token)
    assert container["command"] == ["vllm", "serve", "m", "--max-num-seqs", "16"]
    assert container["args"][0] == "--speculative-config"
    assert json.loads(container["args"][1])["num_speculative_tokens_per_batch_size"] == [[1, 4, 5], [5, 16, 0]]


async def test_a_pod_that_is_no_vllm_starts_unchanged_and_says_why(
    start: Start, api_server: ApiServer, namespace: str
) -> None:
    """One annotation, nothing else."""
    async with start():
        created = await asyncio.to_thread(create, api_server, namespace, pod("db", command=["postgres"]))
    assert "spec.engine.container" in created["metadata"]["annotations"]["turbospec.io/not-injected"]
    assert "env" not in created["spec"]["containers"][0]


@pytest.mark.parametrize("failure", ["raises", "hangs", "cannot read policies"])
async def test_whatever_fails_in_us_the_pod_is_created_unchanged(
    start: Start, api_server: ApiServer, namespace: str, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    """Registered with failurePolicy Fail, so that only an answer of ours can let the pod pass."""

    async def decide(*_: object) -> Outcome:
        if failure == "hangs":
            await asyncio.sleep(60)
        if failure == "raises":
            raise RuntimeError("a defect of ours")
        raise ApiError("list", POLICIES, namespace, None, "no answer")

    monkeypatch.setattr("turbospec_operator.webhook.BUDGET_SECONDS", 0.2)
    async with start():
        monkeypatch.setattr(Admission, "decide", decide)
        created = await asyncio.to_thread(create, api_server, namespace, pod("chat-1"))
    assert "annotations" not in created["metadata"]
    assert created["spec"]["containers"][0].get("env") is None


async def post(port: int, body: bytes) -> tuple[int, Any]:
    """Status and answer of /mutate; the certificate is not what is tested."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session,
        session.post(f"https://127.0.0.1:{port}/mutate", data=body) as answer,
    ):
        text = await answer.text()
        return answer.status, json.loads(text) if answer.status == 200 else text


async def test_what_is_no_review_of_a_new_pod_changes_nothing(start: Start) -> None:
    """Other kinds and operations are allowed; what is no review at all is an error of the caller."""
    async with start() as (_, port):
        for request in (
            {"uid": "1", "kind": {"kind": "Deployment"}, "operation": "CREATE", "object": {}},
            {"uid": "1", "kind": {"kind": "Pod"}, "operation": "UPDATE", "object": pod("x")},
            {"uid": "1", "kind": {"kind": "Pod"}, "operation": "CREATE", "object": {"unexpected": True}},
        ):
            status, review = await post(port, json.dumps({"request": request}).encode())
            assert (status, review["response"]) == (200, {"uid": "1", "allowed": True})
        for body in (b"", b"[]", b"{", b'{"request": {}}'):
            assert (await post(port, body))[0] == 400


async def test_readiness_names_the_permission_that_is_missing(api_server: ApiServer, namespace: str) -> None:
    """A webhook that can do nothing gets no pods, and /readyz says what to grant."""
    stranger = api_server.kubeconfig_for("nobody")
    async with await Cluster.connect(stranger) as powerless, serving(powerless, settings_for(namespace)) as (_, port):

        async def explained() -> bool:
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session,
                session.get(f"https://127.0.0.1:{port}/readyz") as answer,
            ):
                text = await answer.text()
                return answer.status == 503 and "cannot get secrets" in text and namespace in text

        await eventually(explained)


async def peer_certificate(port: int) -> bytes:
    """The certificate that a new connection gets, DER."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    assert isinstance(certificate, bytes)
    return certificate


async def test_certificates_in_files_are_read_again_when_they_change(
    cluster: Cluster, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cert-manager and the kubelet replace them under us, also by one of another key type; nonsense changes nothing."""
    monkeypatch.setattr("turbospec_operator.webhook.REFRESH_SECONDS", 0.1)
    monkeypatch.setattr("turbospec_operator.webhook.RETRY_SECONDS", 0.1)
    pairs = [rsa_pair(), new_generation(("localhost",), dt.datetime.now(dt.UTC))[0]]

    async with serving(cluster, settings_for(namespace, tmp_path)) as (webhook, port):
        for pair in pairs:
            (tmp_path / "tls.crt").write_bytes(pair.certificate)
            (tmp_path / "tls.key").write_bytes(pair.key)
            expected = ssl.PEM_cert_to_DER_cert(pair.certificate.decode())

            async def served(expected: bytes = expected) -> bool:
                return await peer_certificate(port) == expected

            await eventually(served)
        (tmp_path / "tls.key").write_bytes(b"nonsense")

        async def noticed() -> bool:
            return "cannot be used" in (webhook.problem or "")

        await eventually(noticed)
        assert await peer_certificate(port) == expected
    assert [each for each in await cluster.list(SECRETS, namespace) if each["metadata"]["name"] == SECRET] == []


def rsa_pair() -> Pair:
    """A self-signed RSA certificate, as cert-manager issues by default."""
    key = rsa.generate_private_key(65537, 2048)
    name, now = x509.Name([]), dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), private)
