"""Credentials by name: what is kept of them, who may use which, and what they lead to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec
from dlpx_remote.engine_credentials import Credential
from dlpx_remote.environments.model import SecretReference
from dlpx_remote.environments.secrets import Secrets, SecretUnavailable
from dlpx_remote.errors import AlreadyExists, InvalidRequest, NotFound
from dlpx_remote.redaction import MASK, redact

PASSWORD = "open-rye-by-name"


def private_key() -> tuple[str, str]:
    """A new private key as text, and its public half."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private.decode(), public.decode()


def at(kind: str, value: str = "") -> SecretReference:
    return SecretReference(kind, value)  # type: ignore[arg-type]


def password(name: str = "shop", where: SecretReference | None = None, **more: object) -> Credential:
    return Credential(name, "password", where or at("env", "SHOP"), **more)  # type: ignore[arg-type]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "state") as opened:
        yield opened


def test_a_credential_is_kept_as_where_it_is(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP", PASSWORD)
    added = engine.credentials.add(password(username="anna"))

    found = engine.credentials.test("shop")

    assert engine.credentials.all() == [added] == [engine.credentials.get("shop")]
    assert (found.secret, found.kind, found.username) == (PASSWORD, "password", "anna")
    assert PASSWORD not in repr(found)
    assert redact(PASSWORD) == MASK
    dump = "\n".join(sqlite3.connect(tmp_path / "state" / "state.db").iterdump())
    assert "env:SHOP" in dump
    assert PASSWORD not in dump


def test_a_key_pair_gives_its_public_half_and_may_lie_in_any_place(engine: Engine, tmp_path: Path) -> None:
    private, public = private_key()
    file = tmp_path / "key"
    file.write_text(private)
    file.chmod(0o600)
    engine.credentials.add(Credential("deploy", "keyPair", at("file", str(file)), username="deploy"))
    engine.credentials.add(Credential("printed", "keyPair", at("command", f"cat {file}")))

    for name in ("deploy", "printed"):
        found = engine.credentials.test(name)
        assert (found.secret, found.kind, found.public_key) == (private, "keyPair", public)


def test_the_user_name_may_lie_elsewhere_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", PASSWORD)
    monkeypatch.setenv("WHO", "bob-of-the-shop")
    engine.credentials.add(password(username_from=at("env", "WHO")))

    assert engine.credentials.test("shop").username == "bob-of-the-shop"


def test_the_expected_type_is_checked_by_what_is_really_there(tmp_path: Path) -> None:
    private, _ = private_key()
    places = {"KEY": private, "WORD": PASSWORD}
    named = {
        "key-by-name": Credential("key-by-name", "keyPair", at("env", "KEY")),
        "word-by-name": password("word-by-name", at("env", "WORD")),
        "no-key": Credential("no-key", "keyPair", at("env", "WORD")),
        "no-word": password("no-word", at("env", "KEY")),
    }
    secrets = Secrets(environment=places, named=lambda name: named[name])

    def refused(reference: SecretReference, expected: str, words: str) -> None:
        with pytest.raises(SecretUnavailable, match=words) as caught:
            secrets.supply(reference, "password of anna", expected)  # type: ignore[arg-type]
        assert caught.value.action
        assert PASSWORD not in str(caught.value)

    assert secrets.supply(at("env", "KEY"), "x").kind == "keyPair"
    assert secrets.supply(at("env", "WORD"), "x").kind == "password"
    refused(at("env", "KEY"), "password", "should be a password, and env:KEY leads to a private key")
    refused(at("env", "WORD"), "keyPair", "should be a private key, and what env:WORD leads to is none")
    refused(at("credential", "key-by-name"), "password", "which is a key pair and not a password")
    refused(at("credential", "word-by-name"), "keyPair", "which is a password and not a key pair")
    refused(at("credential", "no-key"), "any", "should be a private key")
    refused(at("credential", "no-word"), "any", "should be a password")


def test_without_a_state_or_the_name_the_way_out_is_said() -> None:
    with pytest.raises(SecretUnavailable, match="no state here that has credentials"):
        Secrets().resolve(at("credential", "shop"), "password of anna")


@pytest.mark.parametrize(
    ("credential", "words"),
    [
        (password("-x"), "cannot be the name"),
        (password("other", at("credential", "shop")), "cannot be another credential"),
        (password("other", username="a", username_from=at("env", "A")), "two user names"),
        (password("other", public_key="ssh-ed25519 AAAA"), "no public key"),
        (Credential("other", "keyPair", at("prompt")), "cannot be asked for at the terminal"),
        (Credential("other", "keyPair", at("env", "A"), public_key="A key"), "not one line as OpenSSH"),
    ],
)
def test_what_cannot_be_is_refused(engine: Engine, credential: Credential, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        engine.credentials.add(credential)
    assert caught.value.action


def test_names_are_unique_and_the_nearest_is_named(engine: Engine) -> None:
    engine.credentials.add(password())
    with pytest.raises(AlreadyExists, match="named 'shop' already"):
        engine.credentials.add(password())
    with pytest.raises(NotFound) as caught:
        engine.credentials.get("shob")
    assert "Did you mean 'shop'?" in caught.value.action


def test_users_and_sudo_name_credentials_of_the_right_type(engine: Engine) -> None:
    engine.credentials.add(password())
    engine.credentials.add(Credential("deploy", "keyPair", at("env", "KEY")))
    shop, deploy = at("credential", "shop"), at("credential", "deploy")

    for login, words in (
        (Authentication(password_from=deploy), "--password-from takes a password, and the credential deploy"),
        (Authentication(key_from=shop), "--key-from takes a key pair, and the credential shop"),
        (Authentication(password_from=at("credential", "none")), "no credential named 'none'"),
    ):
        with pytest.raises((InvalidRequest, NotFound), match=words):
            engine.add_environment(EnvironmentSpec("db1", "db1.invalid", "anna", authentication=login))
    engine.add_environment(
        EnvironmentSpec(
            "db1",
            "db1.invalid",
            "anna",
            authentication=Authentication(key_from=deploy),
            privilege_password_from=shop,
        )
    )
    assert engine.environment("db1").primary_user.authentication.key_from == deploy
    with pytest.raises(InvalidRequest, match="deploy is used by anna of db1"):
        engine.credentials.remove("deploy")
    with pytest.raises(InvalidRequest, match="shop is used by db1"):
        engine.credentials.remove("shop")
    engine.remove_environment("db1")
    assert engine.credentials.remove("shop").name == "shop"


def test_a_second_key_and_a_key_to_be_typed_are_refused(engine: Engine) -> None:
    for login, words in (
        (Authentication(key="/k", key_from=at("env", "KEY")), "two keys"),
        (Authentication(key_from=at("prompt")), "cannot be asked for at the terminal"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            engine.add_environment(EnvironmentSpec("db1", "db1.invalid", "anna", authentication=login))
