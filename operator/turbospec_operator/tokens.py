"""Tokens of the engines' control ports.

Only the operator's namespace holds a secret (the master key). A pod carries a nonce in an annotation and the SHA-256
of its token in its environment; neither lets a reader of the pod derive the token.
"""

import hashlib
import hmac
import secrets

MASTER_KEY_BYTES = 32


def new_master_key() -> bytes:
    """A fresh master key, as long as the digest it keys."""
    return secrets.token_bytes(MASTER_KEY_BYTES)


def new_nonce() -> str:
    """A fresh nonce for one pod template: 32 hexadecimal digits, fit for an annotation."""
    return secrets.token_hex(16)


def engine_token(master_key: bytes, namespace: str, nonce: str) -> str:
    """The control token of a pod: hex HMAC-SHA256 of ``namespace/nonce``.

    The namespace is part of the message so that a tenant who copies another tenant's annotation gains nothing: the
    operator would derive another token than the one the copied hash stands for.

    Raises ValueError for a key shorter than 16 bytes or an empty namespace or nonce: such tokens could be guessed.
    """
    if len(master_key) < 16:
        raise ValueError(f"master key has {len(master_key)} bytes, needs at least 16")
    if not namespace or not nonce:
        raise ValueError("namespace and nonce must not be empty")
    return hmac.new(master_key, f"{namespace}/{nonce}".encode(), hashlib.sha256).hexdigest()


def token_sha256(token: str) -> str:
    """The hex SHA-256 that a pod's environment carries in place of the token."""
    return hashlib.sha256(token.encode()).hexdigest()
