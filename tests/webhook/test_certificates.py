"""The webhook's own certificates: always one that the API server can verify, through every renewal and every race."""

import asyncio
import base64
import datetime as dt
import secrets
import ssl
import tempfile
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.apiserver import ApiServer
from turbospec_operator.certificates import (
    PUBLISH_BEFORE_USE,
    RENEW_BEFORE,
    SECRET,
    VALIDITY,
    Store,
    ensure_store,
    new_generation,
    publish_bundle,
    read_secret,
    renewed,
    secret_manifest,
)
from turbospec_operator.cluster import SECRETS, Cluster, Raw

HOSTS = ("turbospec-webhook.turbospec-system.svc",)
NOW = dt.datetime(2025, 6, 1, tzinfo=dt.UTC)


def verifies(bundle: bytes, store: Store) -> bool:
    """Whether a client that trusts the bundle accepts the certificate in use, by OpenSSL's own handshake."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pair.pem"
        file.write_bytes(store.current.certificate + store.current.key)
        server.load_cert_chain(file)
    client = ssl.create_default_context(cadata=bundle.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=HOSTS[0])
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return True


def test_a_fresh_certificate_verifies_against_its_bundle() -> None:
    """A real TLS handshake, host name included, and nobody else's bundle does."""
    now = dt.datetime.now(dt.UTC)
    store = renewed(None, HOSTS, now, published=False)
    assert verifies(store.bundle, store)
    assert not verifies(renewed(None, HOSTS, now, published=False).bundle, store)


def test_an_authority_can_sign_nothing_else() -> None:
    """Its key is kept nowhere, and it may sign no further authority."""
    pair, authority = new_generation(HOSTS, NOW)
    constraints = x509.load_pem_x509_certificate(authority).extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.path_length == 0
    secret = secret_manifest("ns", Store(pair, (authority,)), None)
    keys = [value for value in secret["data"].values() if b"PRIVATE" in base64.b64decode(value)]
    assert len(keys) == 1


def test_through_years_of_renewals_every_bundle_verifies_the_certificate_in_use_before_and_after() -> None:
    """An API server that holds the previous tick's bundle accepts this tick's certificate, and the other way round."""
    stores = [renewed(None, HOSTS, NOW, published=False)]
    now = NOW
    for _ in range(3 * 365 * 2):
        now += dt.timedelta(hours=12)
        stores.append(renewed(stores[-1], HOSTS, now, published=True))
    generations = {store.current.certificate for store in stores}
    assert 3 <= len(generations) <= 5
    for before, after in pairwise(stores):
        issuer = _issuer(before)
        assert issuer in _subjects(before) & _subjects(after)
        assert _issuer(after) in _subjects(before) & _subjects(after)
    assert all(len(store.authorities) <= 3 for store in stores)


def _issuer(store: Store) -> x509.Name:
    return x509.load_pem_x509_certificate(store.current.certificate).issuer


def _subjects(store: Store) -> set[x509.Name]:
    return {x509.load_pem_x509_certificate(authority).subject for authority in store.authorities}


def test_nothing_changes_while_nothing_needs_to() -> None:
    """Same object: no write to the API server."""
    store = renewed(None, HOSTS, NOW, published=False)
    assert renewed(store, HOSTS, NOW + VALIDITY - RENEW_BEFORE - dt.timedelta(minutes=1), published=True) is store


def test_a_new_generation_waits_until_it_is_published() -> None:
    """Published first; used ten minutes later, and only if the API server is known to hold the bundle."""
    store = renewed(None, HOSTS, NOW, published=False)
    due = NOW + VALIDITY - RENEW_BEFORE + dt.timedelta(days=1)
    announced = renewed(store, HOSTS, due, published=True)
    assert announced.current == store.current
    assert announced.following is not None
    assert len(announced.authorities) == 2
    later = due + PUBLISH_BEFORE_USE
    assert renewed(announced, HOSTS, later - dt.timedelta(seconds=1), published=True) is announced
    assert renewed(announced, HOSTS, later, published=False) is announced
    assert renewed(announced, HOSTS, later, published=True).current == announced.following


@pytest.mark.parametrize("case", ["expired", "other host"])
def test_a_useless_certificate_is_replaced_at_once(case: str) -> None:
    """There is nothing to wait for when no API server would accept the old one."""
    store = renewed(None, HOSTS, NOW, published=False)
    now, hosts = (NOW + VALIDITY, HOSTS) if case == "expired" else (NOW, ("elsewhere.svc",))
    assert renewed(store, hosts, now, published=False).current != store.current


@pytest.mark.parametrize("damage", ["missing", "not base64", "not PEM", "foreign key"])
def test_a_damaged_secret_counts_as_none(damage: str) -> None:
    """Whatever somebody wrote into it, the webhook gets going again."""
    secret = secret_manifest("ns", renewed(None, HOSTS, NOW, published=False), None)
    assert read_secret(secret) is not None
    other = secret_manifest("ns", renewed(None, HOSTS, NOW, published=False), None)
    if damage == "missing":
        del secret["data"]["tls.key"]
    else:
        secret["data"]["tls.key"] = {
            "not base64": "%%%",
            "not PEM": base64.b64encode(b"x").decode(),
            "foreign key": other["data"]["tls.key"],
        }[damage]
    assert read_secret(secret) is None


@pytest.fixture
async def cluster(api_server: ApiServer) -> AsyncIterator[Cluster]:
    """The API server, as its administrator."""
    async with await Cluster.connect(api_server.kubeconfig) as connection:
        yield connection


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    """A fresh namespace."""
    name = f"certificates-{secrets.token_hex(4)}"
    api_server.create_namespace(name)
    return name


@pytest.mark.apiserver
async def test_racing_replicas_end_with_one_certificate(cluster: Cluster, namespace: str) -> None:
    """All replicas start at once; all serve what the Secret holds."""
    now = dt.datetime.now(dt.UTC)
    calls = [ensure_store(cluster, namespace, HOSTS, now, published=False) for _ in range(8)]
    stores = await asyncio.gather(*calls)
    kept = read_secret(await cluster.get(SECRETS, namespace, SECRET))
    assert {store.bundle for store in stores} == {kept.bundle if kept else b""}
    renewals = [
        ensure_store(cluster, namespace, HOSTS, now + VALIDITY - dt.timedelta(days=1), published=True) for _ in range(8)
    ]
    assert len({store.bundle for store in await asyncio.gather(*renewals)}) == 1


@pytest.mark.apiserver
async def test_the_bundle_is_published_once_and_repaired(
    cluster: Cluster, api_server: ApiServer, namespace: str
) -> None:
    """Every webhook of the configuration gets it; equal content is not written again; what is undone is done again."""
    configuration: Raw = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": f"{part}.turbospec.io",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "NoneOnDryRun",
                "failurePolicy": "Ignore",
                "clientConfig": {"service": {"name": "none", "namespace": namespace, "path": "/mutate"}},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            }
            for part in ("pods", "namespaces")
        ],
    }
    api_server.apply(configuration)
    bundle = renewed(None, HOSTS, dt.datetime.now(dt.UTC), published=False).bundle
    try:
        assert await publish_bundle(cluster, namespace, bundle)
        assert not await publish_bundle(cluster, namespace, bundle)
        path = "jsonpath={.webhooks[*].clientConfig.caBundle}"
        encoded = base64.b64encode(bundle).decode()
        assert (
            api_server.kubectl("get", "mutatingwebhookconfiguration", namespace, "-o", path) == f"{encoded} {encoded}"
        )
        undo = '[{"op":"remove","path":"/webhooks/1/clientConfig/caBundle"}]'
        api_server.kubectl("patch", "mutatingwebhookconfiguration", namespace, "--type=json", "-p", undo)
        assert await publish_bundle(cluster, namespace, bundle)
    finally:
        api_server.kubectl("delete", "mutatingwebhookconfiguration", namespace)
