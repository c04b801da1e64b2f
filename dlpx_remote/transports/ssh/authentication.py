"""Logging in: which credentials are offered, in which order, and never so often that an account is locked.

Order: the key asked for, the agent's keys, default keys, then the password once. At most five public keys
are offered, because OpenSSH ends a connection after six failures (``MaxAuthTries``) and the password must
still get its turn. A password is sent by one method only: trying keyboard-interactive after a refused
password would count as a second failure with PAM. Passwords go to the last host only, never to a jump host.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from dlpx_remote.redaction import REDACTOR
from dlpx_remote.transports.base import AuthenticationFailed, CredentialUnusable
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.session import AuthReply, Session
from dlpx_remote.transports.ssh.target import Hop, SshTarget

MOST_KEYS = 5


def authenticate(session: Session, hop: Hop, target: SshTarget, deadline: Deadline) -> str:
    """Log in.

    Args:
        session: after the handshake, the host key accepted.
        hop: who and where.
        target: the credentials.
        deadline: for everything; time that a person takes to type a secret is added to it.

    Returns:
        What was accepted, for the trace.

    Raises:
        CredentialUnusable: a credential that was asked for by name cannot be used.
        AuthenticationFailed: nothing was accepted.
    """
    with contextlib.closing(_Agent()) as agent:
        return _Login(session, hop, target, deadline, agent=agent).complete()


class _Login:
    """One login: the credentials in their order, and what became of each."""

    def __init__(
        self, session: Session, hop: Hop, target: SshTarget, deadline: Deadline, *, agent: _Agent
    ) -> None:
        self._session = session
        self._hop = hop
        self._target = target
        self._deadline = deadline
        self._agent = agent
        self._offered: list[str] = []
        self._unusable: list[str] = []
        self._password = target.password if hop.last else None

    def complete(self) -> str:
        keys = self._keys()
        upcoming = next(keys, None)  # an unusable key is reported before the host sees any attempt
        self._session.begin_authentication(self._deadline)
        if upcoming is None:
            reply = self._session.offer_nothing(self._hop.user)
        else:
            # Without asking first which methods there are: OpenSSH takes about 10 ms for every answer.
            reply = self._session.offer_key(self._hop.user, upcoming[1])
            if reply.accepted or reply.partial or "publickey" in reply.allowed:
                self._offered.append(upcoming[0])
                upcoming = None if reply.accepted else next(keys, None)
        while not reply.accepted:
            allowed = reply.allowed
            if "publickey" in allowed and upcoming is not None and len(self._offered) < MOST_KEYS:
                label, key = upcoming
                self._offered.append(label)
                reply = self._session.offer_key(self._hop.user, key)
                upcoming = None if reply.accepted else next(keys, None)
            elif self._password is not None and {"password", "keyboard-interactive"} & set(allowed):
                password, self._password = self._password, None
                reply = self._send_password(password, allowed)
            else:
                raise self._refused(allowed)
        return self._offered[-1] if self._offered else "no credential asked for"

    def _send_password(self, ask: Callable[[], str], allowed: tuple[str, ...]) -> AuthReply:
        password = _ask(ask, self._deadline)
        if "password" in allowed:
            self._offered.append("the password")
            return self._session.offer_password(self._hop.user, password)
        self._offered.append("the password (keyboard-interactive)")
        answers = iter([password])

        def answer(_title: str, _instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
            if not prompts:
                return []
            secret = next(answers, None)
            if secret is None or len(prompts) != 1 or prompts[0][1]:
                # Ends the session: an invented answer would count as another wrong password.
                raise paramiko.AuthenticationException("the host asks for more than the password")
            return [secret]

        return self._session.offer_answers(self._hop.user, answer)

    def _refused(self, allowed: tuple[str, ...]) -> AuthenticationFailed:
        name, user = self._hop.name, self._hop.user
        methods = ", ".join(allowed) or "no method"
        if self._offered:
            message = f"{name} refused the login of {user} with {', '.join(self._offered)}."
            action = "Check the user name"
            if any("password" in offer for offer in self._offered):
                action += ", the password (it is not tried again)"
            if any("password" not in offer for offer in self._offered):
                action += f", and that the public key is in ~{user}/.ssh/authorized_keys there"
            action += f". The host accepts: {methods}."
        else:
            message = f"There is no credential to offer for {user} on {name}, which accepts: {methods}."
            action = "Name a key, use an agent, or give a password."
            if not self._hop.last and self._target.password is not None:
                action = "The password is not sent to jump hosts: use a key or an agent there."
        if self._unusable:
            action += " Not usable: " + "; ".join(self._unusable) + "."
        return AuthenticationFailed(message, action, host=self._hop.host, user=user)

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Every key in its order, each once."""
        seen: set[bytes] = set()
        for label, key in self._all_keys():
            public = key.asbytes()
            if public not in seen:
                seen.add(public)
                yield label, key

    def _all_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        target, hop = self._target, self._hop
        if target.key is not None:
            yield (
                f"the key {target.key}",
                load_key(Path(target.key).expanduser(), target.passphrase, hop, self._deadline),
            )
        if target.agent or target.default_keys:
            required = not (target.default_keys or target.key or target.password)
            for key in self._agent.keys(hop, required=required):
                yield f"the agent's {key.get_name()} key {key.comment}".rstrip(), key
        for path in hop.identity_files if target.default_keys else ():
            if not path.exists():
                continue
            try:
                yield f"the key {path}", load_key(path, None, hop, self._deadline)
            except CredentialUnusable as error:
                self._unusable.append(error.message.rstrip("."))


def _ask(secret: Callable[[], str], deadline: Deadline) -> str:
    began = time.monotonic()
    value = secret()
    deadline.extend(time.monotonic() - began)
    REDACTOR.register(value)
    return value


# keys


class _Agent:
    """The running SSH agent, asked only when its turn comes."""

    def __init__(self) -> None:
        self._agent: paramiko.Agent | None = None

    def keys(self, hop: Hop, *, required: bool) -> tuple[paramiko.AgentKey, ...]:
        place = os.environ.get("SSH_AUTH_SOCK")
        problem = ""
        if not place:
            problem = "There is no SSH agent: SSH_AUTH_SOCK is not set."
        else:
            try:
                self._agent = paramiko.Agent()
                keys = self._agent.get_keys()
                if keys:
                    return keys
                problem = f"The SSH agent at {place} holds no key."
            except (paramiko.SSHException, OSError) as error:
                problem = f"The SSH agent at {place} does not answer: {error}."
        if required:
            raise CredentialUnusable(
                problem, "Start an agent and add the key with ssh-add.", host=hop.host, user=hop.user
            )
        return ()

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()


_CLASSES: tuple[tuple[type, type[paramiko.PKey]], ...] = (
    (ed25519.Ed25519PrivateKey, paramiko.Ed25519Key),
    (ec.EllipticCurvePrivateKey, paramiko.ECDSAKey),
    (rsa.RSAPrivateKey, paramiko.RSAKey),
)


def load_key(path: Path, passphrase: Callable[[], str] | None, hop: Hop, deadline: Deadline) -> paramiko.PKey:
    """Read a private key (OpenSSH or PEM form) and the certificate beside it.

    A key without a passphrase is kept, and read again only when its file or certificate has changed: many
    hosts are reached with one key. A key with a passphrase is read, and the passphrase asked for, every time.

    Raises:
        CredentialUnusable: no such file, not readable, no private key, passphrase missing or wrong.
    """
    certificate = path.with_name(path.name + "-cert.pub")
    stamp = (_stamp(path), _stamp(certificate))
    with _KEPT_LOCK:
        kept = _KEPT.get(path)
    if kept is not None and kept[0] == stamp:
        return kept[1]
    key, protected = _read_key(path, certificate, passphrase, hop, deadline)
    if not protected:
        with _KEPT_LOCK:
            if len(_KEPT) >= _MOST_KEPT:
                _KEPT.clear()
            _KEPT[path] = (stamp, key)
    return key


_KEPT: dict[Path, tuple[object, paramiko.PKey]] = {}
_KEPT_LOCK = threading.Lock()
_MOST_KEPT = 16


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does; None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino, state.st_dev)


def _read_key(
    path: Path, certificate: Path, passphrase: Callable[[], str] | None, hop: Hop, deadline: Deadline
) -> tuple[paramiko.PKey, bool]:
    """The key with its certificate, and whether a passphrase protects it."""

    def unusable(message: str, action: str = "") -> CredentialUnusable:
        return CredentialUnusable(message, action, host=hop.host, user=hop.user)

    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise unusable(f"There is no key file {path}.", "Check the path.") from error
    except OSError as error:
        raise unusable(
            f"The key file {path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error
    secret: str | None = None
    try:
        private = _load(data, None)
        if private is None:
            if passphrase is None:
                raise unusable(
                    f"The key {path} is protected by a passphrase, and none was given.",
                    "Give the passphrase, or load the key into an SSH agent with ssh-add.",
                )
            secret = _ask(passphrase, deadline)
            try:
                private = _load(data, secret.encode())
            except ValueError as error:
                raise unusable(f"The passphrase for the key {path} is wrong.", "Check it.") from error
    except ValueError as error:
        hint = " It looks like a public key." if data.startswith((b"ssh-", b"ecdsa-")) else ""
        raise unusable(
            f"{path} is no private key that can be read.{hint}", "Name the private key file."
        ) from error
    for kind, wrapper in _CLASSES:
        if isinstance(private, kind):
            key = wrapper.from_private_key(io.StringIO(data.decode("ascii", "replace")), password=secret)
            break
    else:
        raise unusable(
            f"The key {path} has a type that is not supported.", "Use an Ed25519, ECDSA or RSA key."
        )
    if certificate.exists():
        try:
            key.load_certificate(str(certificate))
        except (ValueError, paramiko.SSHException, OSError) as error:
            raise unusable(
                f"The certificate {certificate} cannot be used: {error}.", "Renew or remove it."
            ) from error
    return key, secret is not None


def _load(data: bytes, passphrase: bytes | None) -> object | None:
    """The private key, or None when it wants a passphrase.

    Raises:
        ValueError: it cannot be read, or the passphrase is wrong.
    """
    loader = (
        serialization.load_ssh_private_key
        if b"BEGIN OPENSSH PRIVATE KEY" in data
        else serialization.load_pem_private_key
    )
    try:
        return loader(data, password=passphrase)
    except TypeError:  # cryptography's way to say that a passphrase is missing
        return None
    except Exception as error:
        raise ValueError(str(error)) from error
