"""Keys of every form, certificates, agents, and the ways to a host that ``ssh_config`` names; a real sshd."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from dlpx_remote.transports.base import (
    AuthenticationFailed,
    ConnectFailed,
    CredentialUnusable,
    Deadlines,
    HandshakeFailed,
)
from dlpx_remote.transports.ssh import TraceEvent, connect
from tests.hosts.sshd import Sshd
from tests.hosts.transports import network
from tests.hosts.transports.conftest import Connect, target_of
from tests.secret_scan import secret

Start = Callable[..., Sshd]

KEYS: dict[str, Callable[[], Any]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ecdsa-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}
FORMS = {
    "OpenSSH": serialization.PrivateFormat.OpenSSH,
    "PKCS8": serialization.PrivateFormat.PKCS8,
}


def _accepted(server: Sshd) -> list[str]:
    """The server's own lines about keys that let somebody in; it may write them after it has answered."""
    return _lines(server, "Accepted publickey", 1)


def _failures(server: Sshd, wanted: int = 0) -> int:
    return len(_lines(server, "Failed publickey", wanted))


def _lines(server: Sshd, words: str, wanted: int) -> list[str]:
    patience = time.monotonic() + 5
    while True:
        found = [line for line in server.log.read_text().splitlines() if line.startswith(words)]
        if len(found) >= wanted or time.monotonic() > patience:
            return found
        time.sleep(0.02)


def _config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config"
    path.write_text(text)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KEYS)
def test_an_encrypted_key_of_any_type_and_form_lets_in(
    kind: str, form: str, sshd: Sshd, tmp_path: Path, open_connection: Connect
) -> None:
    key, passphrase, path = KEYS[kind](), secret("passphrase of a key"), tmp_path / "key"
    hidden = serialization.BestAvailableEncryption(passphrase.encode())
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, FORMS[form], hidden))
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_name("key.pub").write_bytes(public + b"\n")
    sshd.authorize(path)
    assert open_connection(target_of(sshd, key=str(path), passphrase=lambda: passphrase)).is_open


def test_a_key_that_lies_in_no_file_lets_in(sshd: Sshd, open_connection: Connect) -> None:
    text = sshd.user_key.read_text()
    assert open_connection(target_of(sshd, key=None, key_text=lambda: text)).is_open


def test_a_text_that_is_no_key_is_refused_before_the_host_sees_anything(
    sshd: Sshd, open_connection: Connect
) -> None:
    with pytest.raises(CredentialUnusable, match="is no private key that can be read") as caught:
        open_connection(target_of(sshd, key=None, key_text=lambda: "no key at all"))
    assert "no key at all" not in str(caught.value)


@pytest.mark.parametrize("algorithm", ["rsa-sha2-256", "rsa-sha2-512"])
def test_rsa_keys_of_hosts_and_users_sign_with_sha2(
    algorithm: str, start_sshd: Start, open_connection: Connect
) -> None:
    server = start_sshd(
        "PubkeyAcceptedKeyTypes rsa-sha2-512", f"HostKeyAlgorithms {algorithm}", key_types=("rsa",)
    )
    key = server.make_key("rsa", "rsa")
    server.authorize(key)
    assert open_connection(target_of(server, key=str(key))).is_open


class TestCertificates:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Path:
        """Signs users' keys."""
        path = tmp_path / "authority"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
        return path

    @pytest.fixture
    def server(self, authority: Path, start_sshd: Start) -> Sshd:
        """Trusts the authority."""
        return start_sshd(f"TrustedUserCAKeys {authority}.pub")

    def _sign(self, authority: Path, key: Path, *how: str) -> Path:
        command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "test", *how, f"{key}.pub"]
        subprocess.run(command, check=True)
        return key.with_name(f"{key.name}-cert.pub")

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
    def test_one_for_a_key_of_any_type_lets_in(
        self, kind: str, authority: Path, server: Sshd, open_connection: Connect
    ) -> None:
        key = server.make_key("certified", kind)
        self._sign(authority, key, "-n", server.user)
        assert open_connection(target_of(server, key=str(key))).is_open
        assert "-CERT" in _accepted(server)[0]

    def test_one_from_the_configuration_is_used_for_the_key_it_is_for(
        self, authority: Path, server: Sshd, open_connection: Connect, tmp_path: Path
    ) -> None:
        key = server.make_key("elsewhere")
        moved = self._sign(authority, key, "-n", server.user).rename(tmp_path / "moved.pub")
        config = _config(tmp_path, f"CertificateFile {moved}\n")
        assert open_connection(target_of(server, key=str(key), ssh_config=config)).is_open
        with pytest.raises(AuthenticationFailed):
            connect(target_of(server, key=str(server.make_key("not_its_own")), ssh_config=config))

    @pytest.mark.parametrize("how", [("-n", "nobody"), ("-V", "20200101:20200102")])
    def test_the_key_itself_is_offered_after_one_that_is_not_accepted(
        self, how: tuple[str, ...], authority: Path, server: Sshd, open_connection: Connect
    ) -> None:
        key = server.make_key("half")
        self._sign(authority, key, *how)
        server.authorize(key)
        assert open_connection(target_of(server, key=str(key))).is_open
        assert _failures(server, 1) == 1

    def test_one_in_the_agent_lets_in(
        self, authority: Path, server: Sshd, open_connection: Connect, agent: Path
    ) -> None:
        key = server.make_key("of_agent")
        self._sign(authority, key, "-n", server.user)
        subprocess.run(["ssh-add", "-q", str(key)], check=True, stdin=subprocess.DEVNULL)
        assert open_connection(target_of(server, key=None, agent=True)).is_open

    def test_one_that_cannot_be_read_is_told(self, server: Sshd) -> None:
        key = server.make_key("broken")
        key.with_name("broken-cert.pub").write_text("nonsense")
        with pytest.raises(
            CredentialUnusable, match=r"certificate .*broken-cert\.pub cannot be used"
        ) as caught:
            connect(target_of(server, key=str(key)))
        assert "Renew or remove" in caught.value.action


class TestTheAgent:
    @pytest.fixture
    def strangers(self, agent: Path, tmp_path: Path) -> None:
        """Eight keys in the agent that no host knows."""
        for number in range(8):
            path = tmp_path / f"stranger{number}"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
            subprocess.run(["ssh-add", "-q", str(path)], check=True, stdin=subprocess.DEVNULL)

    @pytest.mark.usefixtures("strangers")
    @pytest.mark.parametrize("only", ["IdentitiesOnly yes\n", ""])
    def test_the_key_that_the_configuration_names_comes_first(
        self, only: str, start_sshd: Start, tmp_path: Path, open_connection: Connect
    ) -> None:
        server = start_sshd("MaxAuthTries 1")
        subprocess.run(["ssh-add", "-q", str(server.user_key)], check=True, stdin=subprocess.DEVNULL)
        server.user_key.rename(tmp_path / "only the agent has it")
        config = _config(tmp_path, f"IdentityFile {server.user_key}.pub\n{only}")
        target = target_of(server, key=None, default_keys=True, ssh_config=config)
        assert open_connection(target).is_open
        assert _failures(server) == 0

    @pytest.mark.usefixtures("strangers")
    def test_a_named_file_comes_before_the_agent_s_other_keys(
        self, start_sshd: Start, tmp_path: Path, open_connection: Connect
    ) -> None:
        server = start_sshd("MaxAuthTries 1")
        config = _config(tmp_path, f"IdentityFile {server.user_key}\n")
        target = target_of(server, key=None, default_keys=True, ssh_config=config)
        assert open_connection(target).is_open

    @pytest.mark.usefixtures("strangers")
    def test_identities_only_offers_none_of_its_other_keys(self, start_sshd: Start, tmp_path: Path) -> None:
        server = start_sshd()
        config = _config(tmp_path, f"IdentitiesOnly yes\nIdentityFile {server.make_key('refused')}\n")
        with pytest.raises(AuthenticationFailed):
            connect(target_of(server, key=None, default_keys=True, ssh_config=config))
        assert _failures(server, 1) == 1

    def test_another_one_can_be_named(
        self,
        agent: Path,
        sshd: Sshd,
        tmp_path: Path,
        open_connection: Connect,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        subprocess.run(["ssh-add", "-q", str(sshd.user_key)], check=True, stdin=subprocess.DEVNULL)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nobody"))
        config = _config(tmp_path, f"IdentityAgent {agent}\n")
        assert open_connection(target_of(sshd, key=None, agent=True, ssh_config=config)).is_open
        config.write_text("IdentityAgent none\n")
        with pytest.raises(CredentialUnusable, match="IdentityAgent is none"):
            connect(target_of(sshd, key=None, agent=True, ssh_config=config))

    def test_a_key_that_it_refuses_to_sign_with_is_told_and_the_next_one_tried(
        self, agent: Path, sshd: Sshd, open_connection: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody is there to confirm it."""
        subprocess.run(["ssh-add", "-q", "-c", str(sshd.user_key)], check=True, stdin=subprocess.DEVNULL)
        with pytest.raises(AuthenticationFailed, match="no credential to offer") as caught:
            connect(target_of(sshd, key=None, agent=True))
        assert "cannot be used for signing" in caught.value.action
        second = sshd.make_key("second_of_agent")
        sshd.authorize(second)
        subprocess.run(["ssh-add", "-q", str(second)], check=True, stdin=subprocess.DEVNULL)
        assert open_connection(target_of(sshd, key=None, agent=True)).is_open

    def test_one_that_never_answers_ends_with_the_deadline(
        self, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "silent"))
            listener.listen()
            monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "silent"))
            began = time.monotonic()
            with pytest.raises(ConnectFailed):
                connect(target_of(sshd, key=None, agent=True), deadlines=Deadlines(connect=1.0))
        assert time.monotonic() - began < 20  # hangs are what is looked for


class TestWaysThrough:
    def test_a_proxy_command_leads_to_the_host_and_ends_with_the_connection(
        self, sshd: Sshd, tmp_path: Path, open_connection: Connect
    ) -> None:
        script = tmp_path / "through.py"
        script.write_text(
            "import os, socket, sys, threading\n"
            "far = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
            "def out():\n"
            "    while data := far.recv(65536): os.write(1, data)\n"
            "threading.Thread(target=out, daemon=True).start()\n"
            "while data := os.read(0, 65536): far.sendall(data)\n"
        )
        config = _config(tmp_path, f"ProxyCommand python3 {script} %h %p\n")
        events: list[TraceEvent] = []
        connection = open_connection(target_of(sshd, ssh_config=config), trace=events.append)
        assert connection.run("head -c 3000000 /dev/zero").stdout == b"\0" * 3_000_000
        assert any(str(script) in event.detail for event in events if event.stage == "connect")
        assert _running(str(script))
        connection.close()
        assert not _running(str(script))

    def test_one_that_fails_is_told_with_its_words(self, sshd: Sshd, tmp_path: Path) -> None:
        config = _config(tmp_path, "ProxyCommand echo no way to %h >&2; exit 7\n")
        with pytest.raises(HandshakeFailed, match="ProxyCommand") as caught:
            connect(target_of(sshd, ssh_config=config))
        assert f"said: no way to {sshd.address}" in caught.value.message
        assert "by hand" in caught.value.action

    def test_one_that_says_nothing_ends_with_the_deadline(self, sshd: Sshd, tmp_path: Path) -> None:
        config = _config(tmp_path, "ProxyCommand sleep 4711\n")
        with pytest.raises(ConnectFailed):
            connect(target_of(sshd, ssh_config=config), deadlines=Deadlines(connect=1.0))
        assert not _running("sleep\0004711")

    def test_jump_hosts_of_the_configuration_are_followed(
        self, start_sshd: Start, tmp_path: Path, open_connection: Connect
    ) -> None:
        outer, inner, last = start_sshd(), start_sshd(), start_sshd()
        known = tmp_path / "known"
        known.write_text("".join(server.known_hosts.read_text() for server in (outer, inner, last)))
        blocks = [
            f"Host {name}\n  HostName {server.address}\n  Port {server.port}\n  User {server.user}\n"
            f"  IdentityFile {server.user_key}\n  IdentitiesOnly yes\n"
            for name, server in (("outer", outer), ("inner", inner), ("last", last))
        ]
        text = f"{blocks[0]}{blocks[1]}  ProxyJump outer\n{blocks[2]}  ProxyJump inner\n"
        target = target_of(
            last,
            host="last",
            port=None,
            user=None,
            key=None,
            default_keys=True,
            known_hosts=known,
            ssh_config=_config(tmp_path, text),
        )
        seen = open_connection(target).run("echo $SSH_CONNECTION").stdout_text.split()
        assert seen[3] == str(last.port)
        assert [len(_accepted(server)) for server in (outer, inner, last)] == [1, 1, 1]

    def test_a_stalled_jump_host_ends_with_the_deadline(self, sshd: Sshd) -> None:
        with network.server(network.silent) as port, pytest.raises(ConnectFailed, match="within 1 s"):
            connect(
                target_of(sshd, jump=(f"{sshd.user}@127.0.0.1:{port}",)), deadlines=Deadlines(connect=1.0)
            )


def _running(words: str) -> bool:
    """Whether a process of this machine has ``words`` among its arguments."""
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words in arguments.read_text(errors="replace"):
                return True
        except OSError:
            continue
    return False
