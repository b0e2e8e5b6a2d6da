"""Secrets say what they are, are stored as hashes, and prove a session's own page."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.access.access import Credential
from stream_server.access.roles import ROLES
from stream_server.access.roles import role_suffices as suffices
from stream_server.access.secrets import PREFIXES, SecretKind, csrf_token, hash_secret, kind_of, new_secret


@pytest.mark.parametrize("kind", list(PREFIXES))
def test_a_secret_says_what_it_is_and_is_never_the_same(kind: SecretKind) -> None:
    secrets = {new_secret(kind) for _ in range(50)}
    assert len(secrets) == 50
    assert {kind_of(secret) for secret in secrets} == {kind}
    assert all(len(secret) - len(PREFIXES[kind]) >= 43 for secret in secrets)


@given(st.text())
def test_any_text_is_a_secret_or_none(text: str) -> None:
    kind = kind_of(text)
    assert (kind is not None) == (
        text.isascii() and len(text) <= 128 and any(map(text.startswith, PREFIXES.values()))
    )


def test_roles_are_ordered() -> None:
    allowed = {(role, needed) for role, needed in itertools.product(ROLES, ROLES) if suffices(role, needed)}
    assert allowed == {
        ("viewer", "viewer"),
        ("operator", "viewer"),
        ("operator", "operator"),
        ("admin", "viewer"),
        ("admin", "operator"),
        ("admin", "admin"),
    }


def test_csrf_tokens_belong_to_one_session_and_tell_nothing_of_it() -> None:
    one, other = new_secret("session"), new_secret("session")
    assert csrf_token(one) == csrf_token(one)
    assert csrf_token(one) != csrf_token(other)
    assert csrf_token(one) != hash_secret(one)


def test_a_credential_does_not_print_its_secret() -> None:
    secret = new_secret("api")
    assert secret not in repr(Credential("token", "token:1", "admin", None, secret))
