"""What a person may say of an environment, and what they are told when they may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dlpx_remote.environments.model import Authentication, EnvironmentSpec, SecretReference
from dlpx_remote.environments.validation import (
    Address,
    check_spec,
    parse_address,
    parse_secret_reference,
)
from dlpx_remote.errors import InvalidRequest

GOOD = EnvironmentSpec("db1", "db1.example.com", user="anna", port=22)
FINGERPRINT = "SHA256:" + "a" * 43


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "Prod.db_1-a"},
        {"host": "10.0.0.7"},
        {"host": "2001:db8::1"},
        {"host": "fe80::1%eth0"},
        {"host": "alias_of_ssh_config"},
        {"user": "DOMAIN\\anna"},
        {"port": 65535},
        {"jump": ("gate", "bob@gate.example.com:2222", "bob@[2001:db8::2]:22")},
        {"fingerprint": FINGERPRINT},
        {"host_key": "accept-new"},
        {"directory": "/var/opt/dlpx-remote"},
        {"authentication": Authentication(key="~/.ssh/id", passphrase_from=SecretReference("prompt"))},
        {"authentication": Authentication(password_from=SecretReference("command", "pass show db"))},
    ],
)
def test_what_can_be_is_accepted(changes: dict[str, Any]) -> None:
    check_spec(replace(GOOD, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "cannot be the name.*letter or digit first"),
        ({"name": "-rf"}, "cannot be the name"),
        ({"name": "two words"}, "cannot be the name"),
        ({"name": "UNIX_HOST_ENVIRONMENT-3"}, "form of a reference.*another name"),
        ({"host": ""}, "neither a host name nor an address"),
        ({"host": "bob@db1"}, "neither a host name nor an address.*--user"),
        ({"host": "-oProxyCommand=touch /tmp/x"}, "neither a host name"),
        ({"host": "db1:22"}, "neither a host name nor an address.*--port"),
        ({"user": ""}, "cannot be a login name"),
        ({"user": "-l"}, "cannot be a login name"),
        ({"port": 0}, "0 is not a port.*1 to 65535"),
        ({"port": 65536}, "65536 is not a port"),
        ({"port": True}, "not a port"),
        ({"jump": ("gate:ssh",)}, "jump host 'gate:ssh' has a port that is not a number.*user@host:port"),
        ({"jump": ("",)}, "jump host '' has no host name"),
        ({"jump": ("bob@gate:99999",)}, "99999 is not a port"),
        ({"host_key": "ignore"}, "'ignore' is not a way to check.*strict, accept-new or off"),
        ({"fingerprint": "SHA256:abc"}, "not a host key's fingerprint.*ssh-keygen -lf"),
        ({"fingerprint": "MD5:" + ":".join(["ab"] * 16)}, "MD5 fingerprint does not identify.*SHA-256"),
        ({"directory": "toolkit"}, "not an absolute path"),
        ({"directory": "/opt/../etc"}, "not an absolute path"),
        ({"directory": "/opt"}, "not the engine's alone.*/var/opt/dlpx-remote"),
        (
            {"authentication": Authentication(passphrase_from=SecretReference("prompt"))},
            "without a key.*--key",
        ),
        ({"authentication": Authentication(key=" ")}, "path of the key is empty"),
        (
            {"authentication": Authentication(password_from=SecretReference("file", ""))},
            "names no place after",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_spec(replace(GOOD, **changes))
    pattern = message.split(".*")
    text = str(caught.value)
    for part in pattern:
        assert part in text
    assert caught.value.action


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("env:DB_PASSWORD", SecretReference("env", "DB_PASSWORD")),
        ("file:/run/secrets/db", SecretReference("file", "/run/secrets/db")),
        ("file:C:/secrets", SecretReference("file", "C:/secrets")),
        ("command:pass show db:1", SecretReference("command", "pass show db:1")),
        ("prompt", SecretReference("prompt")),
    ],
)
def test_references_to_secrets_are_read_and_written_alike(text: str, reference: SecretReference) -> None:
    assert parse_secret_reference(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize("text", ["hunter2", "hunter2:env", "ENV:hunter2", "Keyring:hunter2", ""])
def test_a_literal_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidRequest, match="must be a reference to where the secret is") as caught:
        parse_secret_reference(text, "--password-from")
    assert "hunter2" not in str(caught.value)
    assert "--password-from" in caught.value.message
    assert "env:VARIABLE, file:PATH, command:COMMAND, keyring:SERVICE/ACCOUNT, " in caught.value.action


@pytest.mark.parametrize("text", ["env:", "env:not a name", "file:", "command: ", "env:1x", "file:a\x00b"])
def test_a_reference_that_leads_nowhere_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_secret_reference(text)
    assert text.partition(":")[2].strip() not in caught.value.message or not text.partition(":")[2].strip()


def test_a_private_key_given_as_the_key_itself_is_refused_and_not_repeated() -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n"
    with pytest.raises(InvalidRequest, match="must be the path of a key file") as caught:
        check_spec(replace(GOOD, authentication=Authentication(key=key)))
    assert "b3Blbn" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("db1", Address("db1")),
        ("anna@db1", Address("db1", "anna")),
        ("anna@db1:2222", Address("db1", "anna", 2222)),
        ("2001:db8::1", Address("2001:db8::1")),
        ("anna@[2001:db8::1]:22", Address("2001:db8::1", "anna", 22)),
        ("[2001:db8::1]", Address("2001:db8::1")),
        ("anna@corp@db1", Address("db1", "anna@corp")),
    ],
)
def test_addresses_are_taken_apart(text: str, address: Address) -> None:
    assert parse_address(text) == address


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidRequest, match="a password must not be written there") as caught:
        parse_address("anna:hunter2@db1")
    assert "hunter2" not in str(caught.value)
    assert "--password-from" in caught.value.action
