"""Logging in: which credentials are offered, in which order, and never so often that an account is locked.

Order: the key asked for; the agent's keys that ``IdentityFile`` names; those files themselves; the agent's
other keys, unless ``IdentitiesOnly`` is set; the default keys; then the password once. A certificate comes
before its key. At most five are offered, because OpenSSH ends a connection after six failures
(``MaxAuthTries``) and the password must still get its turn. A password is sent by one method only: trying
keyboard-interactive after a refused password would count as a second failure with PAM. Passwords go to the
last host only, never to a jump host. Where a host ends the connection sooner, it is not called again: that is
what gets an address banned.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from paramiko.pkey import PublicBlob

from dlpx_remote.redaction import REDACTOR
from dlpx_remote.transports.base import AuthenticationFailed, CredentialUnusable
from dlpx_remote.transports.ssh.agent import Agent
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.hostcerts import CertificateRefused
from dlpx_remote.transports.ssh.keys import as_key, public_key, public_key_of_file, without_certificate
from dlpx_remote.transports.ssh.session import AuthReply, LoginEnded, Session
from dlpx_remote.transports.ssh.target import Hop, SshTarget

MOST_KEYS = 5

_GIVE = "name a key, use an agent, or give a password"
_FEWER = (
    "name the one key that the host knows, or set IdentityFile and IdentitiesOnly for it in ~/.ssh/config"
)
_ABOUT_LOGIN = frozenset(
    {
        "kbdinteractiveauthentication",
        "passwordauthentication",
        "pkcs11provider",
        "preferredauthentications",
        "pubkeyauthentication",
        "securitykeyprovider",
    }
)


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
    with contextlib.closing(Agent()) as agent:
        return _Login(session, hop, target, deadline, agent=agent).complete()


class _Login:
    """One login: the credentials in their order, and what became of each."""

    def __init__(
        self, session: Session, hop: Hop, target: SshTarget, deadline: Deadline, *, agent: Agent
    ) -> None:
        self._session = session
        self._hop = hop
        self._target = target
        self._deadline = deadline
        self._agent = agent
        self._offered: list[str] = []
        self._unusable: list[str] = []
        self._in_part: list[str] = []
        self._password = target.password if hop.last else None

    def complete(self) -> str:
        keys = self._keys()
        upcoming = next(keys, None)  # an unusable key is reported before the host sees any attempt
        self._session.begin_authentication(self._deadline)
        try:
            reply = None
            if upcoming is not None:
                # A key at once, without asking first: OpenSSH takes about 10 ms for every answer.
                reply = self._offer(*upcoming)
                if reply is not None and not (
                    reply.partial or "publickey" in reply.allowed or reply.accepted
                ):
                    self._offered.clear()  # the host did not look at it, and may want it later
                elif reply is None or not reply.accepted:
                    upcoming = next(keys, None)
            reply = reply or self._session.offer_nothing(self._hop.user)
            while not reply.accepted:
                allowed = reply.allowed
                if "publickey" in allowed and upcoming is not None and len(self._offered) < MOST_KEYS:
                    reply = self._offer(*upcoming) or reply
                    upcoming = None if reply.accepted else next(keys, None)
                elif self._password is not None and {"password", "keyboard-interactive"} & set(allowed):
                    password, self._password = self._password, None
                    reply = self._send_password(password, allowed)
                    self._note_part(reply)
                else:
                    raise self._refused(allowed, more_keys=upcoming is not None)
        except LoginEnded as lost:
            raise self._cut_short(upcoming is not None) from lost
        return " and then ".join([*self._in_part, *self._offered[-1:]]) or "no credential asked for"

    def _offer(self, label: str, key: paramiko.PKey) -> AuthReply | None:
        """Offer one key; None where it cannot sign, and so was not offered."""
        self._offered.append(label)
        try:
            reply = self._session.offer_key(self._hop.user, key)
        except paramiko.SSHException as error:
            if not self._session.is_active():
                raise
            self._offered.pop()
            self._unusable.append(f"{label}: {str(error).rstrip('.!')}")
            return None
        self._note_part(reply)
        return reply

    def _note_part(self, reply: AuthReply) -> None:
        if reply.partial:
            self._in_part.append(self._offered[-1])

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
                asked = ", ".join(repr(prompt.strip()) for prompt, _ in prompts)
                raise paramiko.AuthenticationException(f"the host asks for more than the password: {asked}")
            return [secret]

        return self._session.offer_answers(self._hop.user, answer)

    def _refused(self, allowed: tuple[str, ...], *, more_keys: bool) -> AuthenticationFailed:
        name, user = self._hop.name, self._hop.user
        methods = ", ".join(allowed) or "no method"
        refused = [offer for offer in self._offered if offer not in self._in_part]
        if self._in_part:
            message = f"{name} accepted {', '.join(self._in_part)} for {user}, and asks for more: {methods}."
            action = f"It refused {', '.join(refused)}." if refused else ""
            action += f" Give a second credential: {_GIVE}."
        elif refused:
            message = f"{name} refused the login of {user} with {', '.join(refused)}."
            action = "Check the user name"
            if any("password" in offer for offer in refused):
                action += ", the password (it is not tried again)"
            if any("password" not in offer for offer in refused):
                action += f", and that the public key is in ~{user}/.ssh/authorized_keys there"
            action += f". The host accepts: {methods}."
        else:
            message = f"There is no credential to offer for {user} on {name}, which accepts: {methods}."
            action = f"{_GIVE.capitalize()}."
            if not self._hop.last and self._target.password is not None:
                action = "The password is not sent to jump hosts: use a key or an agent there."
        if more_keys and len(self._offered) >= MOST_KEYS:
            action += f" No more than {MOST_KEYS} keys are offered: {_FEWER}."
        if any(method.startswith("gssapi") for method in allowed):
            action += " Kerberos (gssapi) is not supported."
        return self._failed(message, action)

    def _cut_short(self, keys_left: bool) -> AuthenticationFailed:
        """The host ended the connection before everything was offered (``MaxAuthTries``)."""
        offered = ", ".join(self._offered) or "nothing"
        message = (
            f"{self._hop.name} ended the login of {self._hop.user} after it was offered {offered}: "
            f"{self._session.farewell.rstrip('.')}."
        )
        left = ["the password"] if self._password is not None else []
        left += ["more keys"] if keys_left else []
        action = f"Not offered any more: {' and '.join(left)}. " if left else ""
        return self._failed(message, f"{action}The host allows few attempts (MaxAuthTries): {_FEWER}.")

    def _failed(self, message: str, action: str) -> AuthenticationFailed:
        if self._unusable:
            action += " Not usable: " + "; ".join(self._unusable) + "."
        ways = sorted(set(self._hop.not_honoured) & _ABOUT_LOGIN)
        if ways:
            action += f" Your ssh configuration sets {', '.join(ways)}, which is not honoured."
        return AuthenticationFailed(message, action.strip(), host=self._hop.host, user=self._hop.user)

    # keys

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Every key in its order, each once; before it the certificates for it."""
        seen: set[bytes] = set()
        for label, key in self._all_keys():
            for each_label, each in self._with_certificates(label, key):
                public = each.public_blob.key_blob if each.public_blob else each.asbytes()
                if public not in seen:
                    seen.add(public)
                    yield each_label, each

    def _with_certificates(self, label: str, key: paramiko.PKey) -> Iterator[tuple[str, paramiko.PKey]]:
        if key.public_blob:
            yield f"the certificate of {label}", key
        for path in self._hop.certificate_files:
            try:
                blob = PublicBlob.from_file(str(path.expanduser()))
                fits = public_key(blob.key_blob) == key.asbytes()
            except (OSError, ValueError, CertificateRefused) as error:
                self._note_unusable(f"the certificate {path}: {error}")
                continue
            if fits:
                yield f"the certificate {path}", without_certificate(key, blob)
        yield label, without_certificate(key) if key.public_blob else key

    def _all_keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        target, hop = self._target, self._hop
        if target.key is not None:
            yield (
                f"the key {target.key}",
                load_key(Path(target.key).expanduser(), target.passphrase, hop, self._deadline),
            )
        if target.key_text is not None:
            text = _ask(target.key_text, self._deadline).strip().encode() + b"\n"
            label = f"the key from {target.key_text}"
            yield label, _key_of(text, label, target.passphrase, hop, self._deadline)[0]
        named = self._named()
        ours: tuple[tuple[str, paramiko.AgentKey], ...] = ()
        if target.agent or target.default_keys:
            required = not (target.default_keys or target.key or target.key_text or target.password)
            ours = tuple(
                (f"the agent's {key.get_name()} key {key.comment}".rstrip(), key)
                for key in self._agent.keys(hop, self._deadline, required=required)
            )
        yield from ((label, key) for label, key in ours if key.asbytes() in named.values())
        if hop.identities_chosen:
            yield from self._files({key.asbytes() for _, key in ours}, named)
        if not hop.identities_only:
            yield from ours
        if not hop.identities_chosen:
            yield from self._files(set(), named)

    def _named(self) -> dict[Path, bytes | None]:
        """The public key of each identity file, where that is known without a passphrase."""
        hop = self._hop
        if not (hop.identities_chosen or hop.identities_only):
            return dict.fromkeys(hop.identity_files)
        return {path: public_key_of_file(path) for path in hop.identity_files}

    def _files(
        self, in_agent: set[bytes], named: dict[Path, bytes | None]
    ) -> Iterator[tuple[str, paramiko.PKey]]:
        for path, public in named.items() if self._target.default_keys else ():
            if public in in_agent or not path.exists():
                continue
            try:
                yield f"the key {path}", load_key(path, None, self._hop, self._deadline)
            except CredentialUnusable as error:
                self._note_unusable(error.message.rstrip("."))

    def _note_unusable(self, words: str) -> None:
        if words not in self._unusable:
            self._unusable.append(words)


def _ask(secret: Callable[[], str], deadline: Deadline) -> str:
    began = time.monotonic()
    value = secret()
    deadline.extend(time.monotonic() - began)
    REDACTOR.register(value)
    return value


# keys


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
    key, protected = _key_of(data, f"the key {path}", passphrase, hop, deadline)
    if certificate.exists():
        try:
            key.load_certificate(str(certificate))
        except (ValueError, paramiko.SSHException, OSError) as error:
            raise unusable(
                f"The certificate {certificate} cannot be used: {error}.", "Renew or remove it."
            ) from error
    return key, protected


def _key_of(
    data: bytes, label: str, passphrase: Callable[[], str] | None, hop: Hop, deadline: Deadline
) -> tuple[paramiko.PKey, bool]:
    """The key in ``data``, which messages call ``label``, and whether a passphrase protects it."""

    def unusable(message: str, action: str = "") -> CredentialUnusable:
        return CredentialUnusable(message, action, host=hop.host, user=hop.user)

    secret: str | None = None
    what = f"{label[0].upper()}{label[1:]}"
    try:
        private = _load(data, None)
        if private is None:
            if passphrase is None:
                raise unusable(
                    f"{what} is protected by a passphrase, and none was given.",
                    "Give the passphrase, or load the key into an SSH agent with ssh-add.",
                )
            secret = _ask(passphrase, deadline)
            try:
                private = _load(data, secret.encode())
            except ValueError as error:
                raise unusable(f"The passphrase for {label} is wrong.", "Check it.") from error
    except ValueError as error:
        hint = " It looks like a public key." if data.startswith((b"ssh-", b"ecdsa-")) else ""
        raise unusable(
            f"{what.removeprefix('The key ')} is no private key that can be read.{hint}",
            "Name the private key file.",
        ) from error
    key = as_key(private)
    if key is None:
        raise unusable(f"{what} has a type that is not supported.", "Use an Ed25519, ECDSA or RSA key.")
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
