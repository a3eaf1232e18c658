"""Certificates that the webhook makes for itself (mode ``selfSigned``), kept in one Secret that its replicas share.

Every generation has a certificate authority of its own, whose key is thrown away at once. A new generation is published
(its authority joins the ``caBundle``) well before it is used, so that no API server meets a certificate it cannot
verify; old authorities stay in the bundle until they expire, harmless as they are.
"""

import base64
import binascii
import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from turbospec_operator.cluster import SECRETS, Cluster, ExistsError, Kind, NotFoundError, Raw

SECRET = "turbospec-webhook-tls"  # noqa: S105 the name of an object, not a secret
WEBHOOK_CONFIGURATIONS = Kind(
    "admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"
)

VALIDITY = dt.timedelta(days=365)
RENEW_BEFORE = dt.timedelta(days=60)
PUBLISH_BEFORE_USE = dt.timedelta(minutes=10)
"""Replicas publish within a minute, API servers hear of it within seconds: ten minutes are ample."""

CLOCK_SKEW = dt.timedelta(minutes=5)
ATTEMPTS = 10

log = logging.getLogger(__name__)


class CertificateError(Exception):
    """The certificate can neither be read nor written; the message is one line."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A server certificate and its key, PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Store:
    """The Secret's content. ``following`` is the next generation: published, not yet used."""

    current: Pair
    authorities: tuple[bytes, ...]
    following: Pair | None = None

    @property
    def bundle(self) -> bytes:
        """All authorities that a certificate in use may be signed by, PEM."""
        return b"".join(self.authorities)


def renewed(store: Store | None, hosts: Sequence[str], now: dt.datetime, *, published: bool) -> Store:
    """The store as it should be now; the same object where nothing is to be done.

    ``published``: the API server is known to hold the store's bundle. Without it no new generation is taken into use.
    """
    if store is None or _expires(store.current) <= now or not _names_all(store.current, hosts):
        # Nothing usable is lost: there was no certificate that an API server would have accepted.
        pair, authority = new_generation(hosts, now)
        return Store(pair, (*(_living(store.authorities, now) if store else ()), authority))
    if store.following is not None:
        if published and now - _issued(store.following) >= PUBLISH_BEFORE_USE:
            return Store(store.following, _living(store.authorities, now))
        return store
    if _expires(store.current) - now < RENEW_BEFORE:
        pair, authority = new_generation(hosts, now)
        return Store(store.current, (*_living(store.authorities, now), authority), pair)
    return store


def new_generation(hosts: Sequence[str], now: dt.datetime) -> tuple[Pair, bytes]:
    """A server certificate for these DNS names, and the authority (PEM) that signed it."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"turbospec-webhook-ca-{now:%Y%m%d%H%M%S}")])
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "turbospec-webhook")])
    leaf = (
        _builder(name, authority_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return Pair(leaf.public_bytes(pem), private), authority.public_bytes(pem)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALIDITY)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _expires(pair: Pair) -> dt.datetime:
    return x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc


def _issued(pair: Pair) -> dt.datetime:
    return x509.load_pem_x509_certificate(pair.certificate).not_valid_before_utc + CLOCK_SKEW


def _names_all(pair: Pair, hosts: Sequence[str]) -> bool:
    extensions = x509.load_pem_x509_certificate(pair.certificate).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(hosts) <= set(names.get_values_for_type(x509.DNSName))


def _living(authorities: Sequence[bytes], now: dt.datetime) -> tuple[bytes, ...]:
    return tuple(each for each in authorities if x509.load_pem_x509_certificate(each).not_valid_after_utc > now)


async def ensure_store(
    cluster: Cluster, namespace: str, hosts: Sequence[str], now: dt.datetime, *, published: bool
) -> Store:
    """The shared store, made or renewed where needed. Replicas race by resourceVersion; the loser reads the winner's.

    Raises ApiError (DeniedError names the missing permission) or CertificateError.
    """
    for _ in range(ATTEMPTS):
        try:
            secret: Raw | None = await cluster.get(SECRETS, namespace, SECRET)
        except NotFoundError:
            secret = None
        present = read_secret(secret) if secret else None
        wanted = renewed(present, hosts, now, published=published)
        if wanted is present:
            return wanted
        body = secret_manifest(namespace, wanted, secret)
        try:
            if secret is None:
                await cluster.create(SECRETS, namespace, body)
            else:
                await cluster.replace(SECRETS, namespace, body)
        except ExistsError:
            continue
        return wanted
    raise CertificateError(f"cannot write Secret {namespace}/{SECRET}: lost {ATTEMPTS} races in a row")


async def publish_bundle(cluster: Cluster, configuration: str, bundle: bytes) -> bool:
    """Put the authorities into every webhook of the configuration; true where they were not there yet.

    Raises ApiError or CertificateError.
    """
    encoded = base64.b64encode(bundle).decode()
    for _ in range(ATTEMPTS):
        found = await cluster.get(WEBHOOK_CONFIGURATIONS, "", configuration)
        webhooks = found.get("webhooks") or []
        if all((webhook.get("clientConfig") or {}).get("caBundle") == encoded for webhook in webhooks):
            return False
        for webhook in webhooks:
            webhook.setdefault("clientConfig", {})["caBundle"] = encoded
        try:
            await cluster.replace(WEBHOOK_CONFIGURATIONS, "", found)
        except ExistsError:
            continue
        return True
    raise CertificateError(f"cannot write {configuration}: lost {ATTEMPTS} races in a row")


def read_secret(secret: Raw) -> Store | None:
    """The store in a Secret; None, with a word in the log, where it holds none that can be used."""
    data = secret.get("data") or {}
    try:
        decoded = {name: base64.b64decode(value, validate=True) for name, value in data.items()}
        current = _read_pair(decoded["tls.crt"], decoded["tls.key"])
        authorities = x509.load_pem_x509_certificates(decoded["ca.crt"])
        following = _read_pair(decoded["next.crt"], decoded["next.key"]) if "next.crt" in decoded else None
    except (KeyError, TypeError, binascii.Error, ValueError, x509.ExtensionNotFound) as error:
        log.warning("Secret %s holds no usable certificate (%s): a new one replaces it", SECRET, error)
        return None
    return Store(current, tuple(each.public_bytes(serialization.Encoding.PEM) for each in authorities), following)


def _read_pair(certificate: bytes, key: bytes) -> Pair:
    """Raises ValueError or ExtensionNotFound for what is no server certificate with its own key."""
    parsed = x509.load_pem_x509_certificate(certificate)
    parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    if serialization.load_pem_private_key(key, password=None).public_key() != parsed.public_key():
        raise ValueError("key and certificate do not belong together")
    return Pair(certificate, key)


def secret_manifest(namespace: str, store: Store, previous: Raw | None) -> Raw:
    """The Secret that holds this store, written over ``previous`` only if that has not changed since it was read."""
    content = {"tls.crt": store.current.certificate, "tls.key": store.current.key, "ca.crt": store.bundle}
    if store.following is not None:
        content |= {"next.crt": store.following.certificate, "next.key": store.following.key}
    metadata = previous["metadata"] if previous else {"name": SECRET, "namespace": namespace}
    return {
        "apiVersion": SECRETS.group_version,
        "kind": SECRETS.kind,
        "metadata": metadata,
        "type": previous.get("type", "kubernetes.io/tls") if previous else "kubernetes.io/tls",
        "data": {name: base64.b64encode(value).decode() for name, value in content.items()},
    }
