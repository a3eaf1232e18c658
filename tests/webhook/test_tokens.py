"""Tokens are bound to key, namespace and nonce, and only their hash is ever written down."""

import hashlib
import hmac

import pytest

from turbospec_operator.tokens import engine_token, new_master_key, new_nonce, token_sha256

KEY = b"k" * 32


def test_token_is_the_documented_hmac() -> None:
    """Anyone who holds the master key can derive the token by the documented formula."""
    assert engine_token(KEY, "team-a", "n1") == hmac.new(KEY, b"team-a/n1", hashlib.sha256).hexdigest()
    assert token_sha256("t") == hashlib.sha256(b"t").hexdigest()


def test_key_namespace_and_nonce_each_change_the_token() -> None:
    """A copied annotation is worth nothing in another namespace or another installation."""
    tokens = {
        engine_token(KEY, "team-a", "n1"),
        engine_token(KEY, "team-b", "n1"),
        engine_token(KEY, "team-a", "n2"),
        engine_token(b"q" * 32, "team-a", "n1"),
    }
    assert len(tokens) == 4


@pytest.mark.parametrize(("key", "namespace", "nonce"), [(b"short", "ns", "n"), (KEY, "", "n"), (KEY, "ns", "")])
def test_guessable_tokens_are_refused(key: bytes, namespace: str, nonce: str) -> None:
    """A short key or an empty part never becomes a token."""
    with pytest.raises(ValueError, match=r"master key|must not be empty"):
        engine_token(key, namespace, nonce)


def test_fresh_values_differ() -> None:
    """Nonces and keys do not repeat, and nonces fit an annotation."""
    assert new_nonce() != new_nonce()
    assert new_master_key() != new_master_key()
    assert len(new_nonce()) == 32
