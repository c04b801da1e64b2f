"""Secrets from a keyring and from Vault; the latter is a server that answers as its documentation says."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest

from dlpx_remote.environments.model import SecretReference
from dlpx_remote.environments.secrets import Secrets, SecretUnavailable
from dlpx_remote.environments.validation import parse_secret_reference
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.redaction import MASK, redact

TOKEN = "hvs.a-token-of-the-test"
PASSWORD = "open-barley"
PURPOSE = "password of anna on db1"
V2 = {"data": {"data": {"password": PASSWORD, "port": 5432}, "metadata": {"version": 2}}}
V1 = {"data": {"password": PASSWORD}, "lease_duration": 2764800}


class Vault(ThreadingHTTPServer):
    """Answers with what a test has put under a path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, str]] = {}
        self.seen: list[tuple[str, str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def give(self, path: str, content: object, status: int = 200) -> None:
        self.answers[path] = (status, content if isinstance(content, str) else json.dumps(content))


class Handler(BaseHTTPRequestHandler):
    server: Vault

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        token = self.headers.get("X-Vault-Token", "")
        self.server.seen.append((path, token, self.headers.get("X-Vault-Namespace")))
        status, content = self.server.answers.get(path, (404, '{"errors": []}'))
        if token != TOKEN:
            status, content = 403, '{"errors": ["permission denied"]}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def vault() -> Iterator[Vault]:
    with Vault() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def resolve(text: str, **environment: str) -> str:
    return Secrets(environment=environment).resolve(parse_secret_reference(text), PURPOSE)


def test_a_key_of_a_secret_of_version_2_is_found_and_masked(vault: Vault) -> None:
    vault.give("/v1/kv/data/databases/db1", V2)

    secret = resolve("vault:kv/databases/db1#password", VAULT_ADDR=vault.address, VAULT_TOKEN=TOKEN)

    assert secret == PASSWORD
    assert redact(f"{PASSWORD} {TOKEN}") == f"{MASK} {MASK}"


def test_a_secret_of_version_1_is_found_too(vault: Vault) -> None:
    vault.give("/v1/old/db1", V1)

    assert resolve("vault:old/db1#password", VAULT_ADDR=vault.address, VAULT_TOKEN=TOKEN) == PASSWORD


def test_the_namespace_goes_along_and_the_token_may_lie_in_the_home(vault: Vault, tmp_path: Path) -> None:
    vault.give("/v1/kv/data/db1", V2)
    (tmp_path / ".vault-token").write_text(f"{TOKEN}\n")

    resolve("vault:kv/db1#password", VAULT_ADDR=vault.address, HOME=str(tmp_path), VAULT_NAMESPACE="shop")

    assert vault.seen == [("/v1/kv/data/db1", TOKEN, "shop")]


def test_every_way_to_find_nothing_in_vault_is_explained(vault: Vault, tmp_path: Path) -> None:
    there = {"VAULT_ADDR": vault.address, "VAULT_TOKEN": TOKEN}
    vault.give("/v1/kv/data/db1", V2)
    vault.give("/v1/kv/data/sealed", {"errors": ["Vault is sealed"]}, 503)
    vault.give("/v1/kv/data/page", "<html>no vault</html>")
    vault.give("/v1/kv/data/list", {"data": {"data": [PASSWORD]}})
    cases = [
        ("kv/db1#password", {"VAULT_TOKEN": TOKEN}, "VAULT_ADDR is not set", "address"),
        ("kv/db1#password", {"VAULT_ADDR": vault.address, "HOME": str(tmp_path)}, "no token", "vault login"),
        (
            "kv/db1#password",
            {**there, "VAULT_TOKEN": "a-token-of-last-year"},
            "refuses to show",
            "vault token lookup",
        ),
        ("kv/none#password", there, "has nothing there", "vault kv get kv/none"),
        ("kv/db1#pasword", there, "no text under that key", "Its keys are: password, port."),
        ("kv/db1#port", there, "no text under that key", "Its keys are"),
        ("kv/sealed#password", there, "answered with VaultDown", "vault status"),
        ("kv/page#password", there, "answered with|cannot be reached", "VAULT_ADDR|vault status"),
        ("kv/list#password", there, "answered with UnexpectedError", "vault status"),
        ("kv/db1#password", {**there, "VAULT_ADDR": "http://127.0.0.1:1"}, "cannot be reached", "VAULT_ADDR"),
    ]
    for place, environment, message, action in cases:
        with pytest.raises(SecretUnavailable, match=message) as caught:
            resolve(f"vault:{place}", **environment)
        assert f"The {PURPOSE} should be in Vault at {place}" in caught.value.message
        assert any(words in caught.value.action for words in action.split("|")), place
        assert PASSWORD not in str(caught.value)
        assert caught.value.__cause__ is None


class OneSecret(keyring.backend.KeyringBackend):
    """A keyring of the test; the keyrings of a desktop cannot be had here."""

    priority = 1

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._error = error

    def set_password(self, service: str, username: str, password: str) -> None:
        raise keyring.errors.PasswordSetError

    def get_password(self, service: str, username: str) -> str | None:
        if self._error is not None:
            raise self._error
        return PASSWORD if (service, username) == ("databases/shop", "anna") else None


@pytest.fixture
def _own_keyring() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(OneSecret())
    yield
    keyring.set_keyring(before)


@pytest.mark.usefixtures("_own_keyring")
def test_an_account_of_the_keyring_gives_its_secret() -> None:
    assert resolve("keyring:databases/shop/anna") == PASSWORD


@pytest.mark.usefixtures("_own_keyring")
def test_an_account_without_a_secret_is_told_how_to_get_one() -> None:
    with pytest.raises(
        SecretUnavailable, match="in the keyring under databases/bob, which has none"
    ) as caught:
        resolve("keyring:databases/bob")
    assert "keyring set 'databases' 'bob'" in caught.value.action


@pytest.mark.usefixtures("_own_keyring")
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (keyring.errors.NoKeyringError(), "no keyring that answers"),
        (keyring.errors.KeyringLocked(), r"refused \(KeyringLocked\)"),
    ],
)
def test_a_keyring_that_does_not_answer_is_explained(error: Exception, message: str) -> None:
    keyring.set_keyring(OneSecret(error))

    with pytest.raises(SecretUnavailable, match=message) as caught:
        resolve("keyring:databases/shop/anna")
    assert "nlock" in caught.value.action


@pytest.mark.parametrize(
    ("place", "library", "extra"),
    [("keyring:a/b", "keyring", "keyring"), ("vault:kv/db1#password", "hvac", "vault")],
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    place: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(SecretUnavailable, match=f"package {library} is not installed") as caught:
        resolve(place)
    assert f"dlpx-remote[{extra}]" in caught.value.action


@pytest.mark.parametrize(
    "text",
    ["keyring:", "keyring:anna", "keyring:/anna", "vault:kv", "vault:kv/db1", "vault:#k", "vault:kv/#k"],
)
def test_a_place_that_cannot_be_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_secret_reference(text)
    assert "keyring:SERVICE/ACCOUNT" in caught.value.action or "vault:MOUNT/PATH#KEY" in caught.value.action


def test_references_are_written_as_they_were_read() -> None:
    for text in ("keyring:databases/anna", "vault:kv/db1#password"):
        assert str(parse_secret_reference(text)) == text
    assert parse_secret_reference("vault:kv/db1#password") == SecretReference("vault", "kv/db1#password")
