"""What ``libs.retrieve_credentials`` gives a plugin, by each way in which an operator names credentials."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dlpx_remote.environments.credentials import Credentials
from dlpx_remote.environments.model import Credential, SecretReference
from dlpx_remote.environments.secrets import Secrets
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.workflows import linked
from dlpx_remote.workflows.parameters import LINKED, Given, checked
from tests.unit.environments.test_credentials import private_key
from tests.unit.environments.test_vaults import TOKEN, Vault
from tests.unit.life.conftest import MakeWorld, linked_source
from tests.unit.life.world import World

PASSWORD = "open-millet-for-the-plugin"
PLATFORM = "https://delphix.com/platform/api#/definitions/"
SUPPLIERS = ("credentialsSupplier", "passwordCredentialsSupplier", "keyCredentialsSupplier")
SCHEMA: dict[str, Any] = {
    "linkedSourceDefinition": {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"$ref": PLATFORM + name} for name in SUPPLIERS},
    },
    "snapshotDefinition": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"text": {"type": "string"}},
    },
}
DIGEST = (
    "SnapshotDefinition(text=' '.join(str(part) for part in (lambda c: (type(c).__name__, c.username, "
    "__import__('hashlib').sha256((getattr(c, 'password', None) or c.private_key).encode()).hexdigest(), "
    "getattr(c, 'public_key', '')))(libs.retrieve_credentials(source.parameters.{attribute}))))"
)


@pytest.fixture
def vault() -> Iterator[Vault]:
    with Vault() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Shop:
    """A world whose plugin takes every supplier, with credentials by name, and a Vault."""

    def __init__(self, world: World, vault: Vault) -> None:
        self.world = world
        self.private, self.public = private_key()
        self.credentials = Credentials(world.store)
        variables = {
            "PASSWORD": PASSWORD,
            "KEY": self.private,
            "VAULT_ADDR": vault.address,
            "VAULT_TOKEN": TOKEN,
        }
        secrets = Secrets(environment=variables, named=self.credentials.get)
        object.__setattr__(world.rooms, "resolve", secrets.supply)
        add = self.credentials.add
        add(Credential("word", "password", SecretReference("env", "PASSWORD"), username="anna"))
        add(Credential("pair", "keyPair", SecretReference("env", "KEY"), username="bob"))
        vault.give(
            "/v1/kv/data/db1", {"data": {"data": {"user": "carol", "word": PASSWORD, "pair": self.private}}}
        )

    def plugin(self) -> Plugin:
        return self.world.rooms.plugin(self.world.identifier)

    def checked(self, supplier: str, value: Any) -> dict[str, Any]:
        given = Given({supplier: value}) if isinstance(value, dict) else Given({}, {supplier: value})
        return checked(self.plugin(), LINKED, given, self.credentials.kind_of)

    def retrieved(self, supplier: str, value: Any) -> str:
        """What the plugin gets: the class, the user, the digest of the secret, the public key."""
        source = linked_source(self.world, parameters=self.checked(supplier, value))
        kept = json.dumps(dict(self.world.records.get(source.reference).parameters))
        assert PASSWORD not in kept
        assert "PRIVATE KEY" not in kept
        attribute = supplier.replace("C", "_c").replace("S", "_s")
        self.world.order(linked_post_snapshot=DIGEST.format(attribute=attribute))
        self.world.run(linked.sync, source=source, snapshot_parameters=None)
        (snapshot,) = self.world.records.snapshots(source.reference)
        return str((snapshot.value or {})["text"])


@pytest.fixture
def shop(make_world: MakeWorld, vault: Vault) -> Shop:
    return Shop(make_world(schema=SCHEMA), vault)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def in_vault(expected: str, key: str) -> dict[str, str]:
    return {
        "type": "HashiCorpVaultCredential",
        "vault": "environment",
        "engine": "kv",
        "path": "db1",
        "usernameKey": "user",
        "secretKey": key,
        "expectedSecretType": expected,
    }


PASSWORDS: dict[str, tuple[str, Any, str]] = {
    "by name": ("credentialsSupplier", "credential:word", "anna"),
    "by name, as a password": ("passwordCredentialsSupplier", "credential:word", "anna"),
    "of an object": (
        "credentialsSupplier",
        {"type": "NamedPasswordCredential", "username": "dora", "password": "credential:word"},
        "dora",
    ),
    "of an object without a user": (
        "credentialsSupplier",
        {"type": "NamedPasswordCredential", "password": "env:PASSWORD"},
        "",
    ),
    "in Vault": ("passwordCredentialsSupplier", in_vault("password", "word"), "carol"),
    "in Vault, of any type": ("credentialsSupplier", in_vault("any", "word"), "carol"),
}
PAIRS: dict[str, tuple[str, Any, str]] = {
    "by name": ("credentialsSupplier", "credential:pair", "bob"),
    "by name, as a key": ("keyCredentialsSupplier", "credential:pair", "bob"),
    "of an object": (
        "keyCredentialsSupplier",
        {"type": "NamedKeyPairCredential", "username": "dora", "privateKey": "env:KEY"},
        "dora",
    ),
    "in Vault": ("keyCredentialsSupplier", in_vault("keyPair", "pair"), "carol"),
    "in Vault, of any type": ("credentialsSupplier", in_vault("any", "pair"), "carol"),
}


@pytest.mark.parametrize("way", PASSWORDS)
def test_a_plugin_retrieves_a_password(shop: Shop, way: str) -> None:
    supplier, value, username = PASSWORDS[way]
    assert shop.retrieved(supplier, value) == f"PasswordCredentials {username} {digest(PASSWORD)} "


@pytest.mark.parametrize("way", PAIRS)
def test_a_plugin_retrieves_a_key_pair(shop: Shop, way: str) -> None:
    supplier, value, username = PAIRS[way]
    expected = f"KeyPairCredentials {username} {digest(shop.private)} {shop.public}"
    assert shop.retrieved(supplier, value) == expected


@pytest.mark.parametrize(
    ("supplier", "value", "words"),
    [
        ("passwordCredentialsSupplier", "credential:pair", "takes a password, and credential:pair is a key"),
        ("keyCredentialsSupplier", "credential:word", "takes a key pair, and credential:word is a password"),
        ("credentialsSupplier", "credential:none", "no credential named 'none'"),
        ("credentialsSupplier", "the password itself", "must be a reference"),
        ("credentialsSupplier", {**in_vault("any", "word"), "vault": "HASHI-1"}, "one Vault"),
        (
            "credentialsSupplier",
            {"type": "CyberArkVaultCredential", "vault": "v", "queryString": "q"},
            "CyberArkVaultCredential, which this engine cannot ask",
        ),
        ("keyCredentialsSupplier", in_vault("password", "word"), "do not fit the schema"),
    ],
)
def test_what_cannot_be_asked_is_refused_when_it_is_given(
    shop: Shop, supplier: str, value: Any, words: str
) -> None:
    with pytest.raises(InvalidRequest if "no credential" not in words else Exception, match=words) as caught:
        shop.checked(supplier, value)
    assert "the password itself" not in str(caught.value)


def test_what_is_found_must_be_of_the_type_that_was_expected(shop: Shop) -> None:
    with pytest.raises(Exception, match="should be a private key"):
        shop.retrieved("keyCredentialsSupplier", in_vault("keyPair", "word"))
