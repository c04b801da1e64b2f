"""Known host keys: finding the entries for a host, judging the key it shows, remembering a new one.

Reads OpenSSH's format (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT") itself: paramiko's reader drops markers, and
the place of an entry is needed for messages. Knows files and bytes; opens no connection.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import hmac
import logging
import os
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlpx_remote.transports.base import HostKeyChanged, HostKeyError, HostKeyRevoked, HostKeyUnknown
from dlpx_remote.transports.ssh.patterns import matches
from dlpx_remote.transports.ssh.target import Hop, HostKeyPolicy

_LOGGER = logging.getLogger("dlpx_remote.transports.ssh")

REVOKED, AUTHORITY = "@revoked", "@cert-authority"


@dataclass(frozen=True)
class KnownKey:
    """One line of a file of known hosts.

    Attributes:
        file, line: where it is.
        marker: ``""``, ``"@revoked"`` or ``"@cert-authority"``.
        kind: key type, for example ``ssh-ed25519``.
        key: the public key as it goes over the wire.
    """

    file: Path
    line: int
    marker: str
    kind: str
    key: bytes

    @property
    def place(self) -> str:
        """``file:line`` for people."""
        return f"{self.file}:{self.line}"


def fingerprint(key: bytes) -> str:
    """``SHA256:…`` of a public key, as ``ssh-keygen -l`` prints it (without padding)."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def known_keys(files: Iterable[Path], name: str) -> list[KnownKey]:
    """The entries for ``name`` (a host name, or ``[host]:port``) in ``files``; missing files have none."""
    return [entry for file in files for entry in _read(file).entries(name)]


@dataclass(frozen=True)
class _Line:
    """A line that could be an entry: its key is decoded when it is asked for."""

    number: int
    marker: str
    patterns: str
    kind: str
    key: str


class _File:
    """A file of known hosts, read once: many connections ask the same one."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._plain: dict[str, list[_Line]] = {}
        self._others: list[_Line] = []
        for number, content in enumerate(text.splitlines(), 1):
            words = content.split()
            if not words or words[0].startswith("#"):
                continue
            marker = words.pop(0) if words[0].startswith("@") else ""
            if len(words) >= 3:
                self._add(_Line(number, marker, words[0], words[1], words[2]))

    def _add(self, line: _Line) -> None:
        if set(line.patterns) & set("|*?!"):
            self._others.append(line)
            return
        for name in set(line.patterns.lower().split(",")):
            self._plain.setdefault(name, []).append(line)

    def entries(self, name: str) -> list[KnownKey]:
        lines = self._plain.get(name.lower(), [])
        lines = [*lines, *(line for line in self._others if _names(line.patterns, name))]
        found = []
        for line in sorted(lines, key=lambda line: line.number):
            with contextlib.suppress(binascii.Error, ValueError):
                key = base64.b64decode(line.key, validate=True)
                found.append(KnownKey(self._path, line.number, line.marker, line.kind, key))
        return found


_FILES: dict[Path, tuple[tuple[int, ...], _File]] = {}
_MOST_FILES = 64
_FILES_LOCK = threading.Lock()


def _read(path: Path) -> _File:
    """The file as it is now; parsed again only when it has changed."""
    try:
        state = os.stat(path)  # noqa: PTH116  twice a file and login
        stamp = (state.st_mtime_ns, state.st_size, state.st_ino, state.st_dev)
        with _FILES_LOCK:
            known = _FILES.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        file = _File(path, path.read_text("utf-8", "replace"))
    except (FileNotFoundError, NotADirectoryError):
        return _File(path, "")
    except OSError as error:
        _LOGGER.warning("The file of known hosts %s cannot be read: %s", path, error.strerror)
        return _File(path, "")
    with _FILES_LOCK:
        if len(_FILES) >= _MOST_FILES:
            _FILES.clear()
        _FILES[path] = (stamp, file)
    return file


def _names(patterns: str, name: str) -> bool:
    """Whether the first field of a line names the host; a match of a ``!pattern`` excludes it."""
    matched = False
    for pattern in patterns.split(","):
        if pattern.startswith("|"):
            matched |= _hashed_matches(pattern, name)
            continue
        negative = pattern.startswith("!")
        if matches(pattern.removeprefix("!"), name):
            if negative:
                return False
            matched = True
    return matched


def _hashed_matches(pattern: str, name: str) -> bool:
    parts = pattern.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt, expected = base64.b64decode(parts[2]), base64.b64decode(parts[3])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), expected)


def _hashed(name: str) -> str:
    salt = os.urandom(20)
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def preferred_algorithms(available: Sequence[str], known: Iterable[KnownKey]) -> list[str]:
    """``available`` signature algorithms with those of known keys first, so that a known key is asked for."""
    kinds = {entry.kind for entry in known if not entry.marker}

    def kind_of(algorithm: str) -> str:
        return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm

    return sorted(available, key=lambda algorithm: kind_of(algorithm) not in kinds)


def has_authority(known: Iterable[KnownKey]) -> bool:
    """Whether a certificate of the host's could be accepted, and is worth asking for."""
    return any(entry.marker == AUTHORITY for entry in known)


def known_of(hop: Hop) -> list[KnownKey]:
    """The entries for a host. As with OpenSSH, those without its port count where none has the port."""
    known = known_keys(hop.known_hosts, hop.key_name)
    bare = _without_port(hop)
    if bare == hop.key_name:
        return known
    has_keys = any(not entry.marker for entry in known)
    return known + [entry for entry in known_keys(hop.known_hosts, bare) if entry.marker or not has_keys]


def _without_port(hop: Hop) -> str:
    return hop.key_name[1:].rpartition("]:")[0] if hop.key_name.startswith("[") else hop.key_name


def judge(
    hop: Hop,
    kind: str,
    key: bytes,
    policy: HostKeyPolicy,
    pinned: str | None,
    *,
    certificate: bytes | None = None,
) -> str:
    """Accept the key that a host showed, or raise.

    Args:
        hop: the host.
        kind: type of the key shown.
        key: the key shown.
        policy: what to do when it is not known.
        pinned: fingerprint that it must have; overrides the policy.
        certificate: what came with the key, in its wire form.

    Returns:
        Why it was accepted, for the trace.

    Raises:
        HostKeyUnknown: not known, and the policy is strict.
        HostKeyChanged: another key is known or pinned.
        HostKeyRevoked: marked as revoked.
        HostKeyError: the certificate is not good for this host.
    """
    shown = fingerprint(key)
    known = known_of(hop)
    _refuse_revoked(hop, known, key, f"{hop.name} showed the key {shown}, which")
    if pinned is not None:
        if not hmac.compare_digest(_normal(pinned), shown):
            raise HostKeyChanged(
                f"{hop.name} showed the key {shown}, but {_normal(pinned)} is pinned.",
                "Find out why the key changed before you change the pinned fingerprint.",
                host=hop.host,
                user=hop.user,
                fingerprint=shown,
            )
        return f"{shown} is pinned"
    if policy == "off":
        _LOGGER.warning(
            "The host key of %s (%s) is NOT CHECKED: anybody between here and there can read and change "
            "everything. Pin its fingerprint instead.",
            hop.address,
            shown,
        )
        return f"{shown}, not checked"
    if certificate is not None and (accepted := _certified(hop, known, key, certificate)):
        return accepted
    plain = [entry for entry in known if not entry.marker]
    match = next((entry for entry in plain if entry.key == key), None)
    if match:
        return f"{shown} is known from {match.place}"
    if any(not entry.marker for entry in known_keys(hop.known_hosts, hop.key_name)):
        raise _changed(hop, shown, plain)
    if policy == "accept-new":
        return _accept(hop, kind, key)
    raise _unknown(hop, shown, known)


def _refuse_revoked(hop: Hop, known: Sequence[KnownKey], key: bytes, what: str) -> None:
    """Refuse a key that a ``@revoked`` line or the file of ``RevokedHostKeys`` names."""
    place = next((entry.place for entry in known if entry.marker == REVOKED and entry.key == key), None)
    if place is None and hop.revoked_host_keys is not None:
        place = _revoked_in(hop, hop.revoked_host_keys, key)
    if place is not None:
        raise HostKeyRevoked(
            f"{what} is marked as revoked in {place}.",
            "Do not connect: somebody may be using a stolen key. Ask the host's administrator.",
            host=hop.host,
            user=hop.user,
            fingerprint=fingerprint(key),
        )


def _revoked_in(hop: Hop, file: Path, key: bytes) -> str | None:
    """Where ``file``, a list of public keys, names ``key``. A file that cannot be read refuses all keys."""
    try:
        content = file.read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    else:
        if not content.startswith(b"SSHKRL"):
            encoded = base64.b64encode(key)
            lines = content.splitlines()
            numbers = (number for number, line in enumerate(lines, 1) if encoded in line.split())
            return next((f"{file}:{number}" for number in numbers), None)
        reason = "is a binary revocation list (KRL), which is not supported"
    raise HostKeyError(
        f"The key of {hop.name} cannot be accepted: {file}, which RevokedHostKeys names, {reason}.",
        "Make it a readable list of public keys, one a line, or take RevokedHostKeys out of your ssh "
        "configuration.",
        host=hop.host,
        user=hop.user,
        fingerprint=fingerprint(key),
    )


def _certified(hop: Hop, known: Sequence[KnownKey], key: bytes, certificate: bytes) -> str | None:
    """Accept a certificate of a trusted authority; None where the key has to be known by itself."""
    from dlpx_remote.transports.ssh import hostcerts

    try:
        shown = hostcerts.read(certificate)
        signer = hostcerts.authority_key(shown)
        trusted = next((entry for entry in known if entry.marker == AUTHORITY and entry.key == signer), None)
        if trusted is None:
            return None
        authority = fingerprint(signer)
        _refuse_revoked(
            hop, known, signer, f"{hop.name} showed a certificate of the authority {authority}, which"
        )
        hostcerts.check(shown, _without_port(hop), key)
    except hostcerts.CertificateRefused as refused:
        raise HostKeyError(
            f"{hop.name} showed a certificate for its key {fingerprint(key)} which {refused}.",
            "Have the host's certificate renewed by your authority (ssh-keygen -s AUTHORITY -h -I NAME -n "
            f"{_without_port(hop)} KEY.pub), or pin the fingerprint.",
            host=hop.host,
            user=hop.user,
            fingerprint=fingerprint(key),
        ) from refused
    return f"{fingerprint(key)} is certified by {authority}, known from {trusted.place}"


def _normal(pinned: str) -> str:
    text = pinned.strip().rstrip("=")
    return text if text.startswith("SHA256:") else f"SHA256:{text}"


def _changed(hop: Hop, shown: str, plain: Sequence[KnownKey]) -> HostKeyChanged:
    listed = ", ".join(f"{fingerprint(entry.key)} ({entry.kind}, {entry.place})" for entry in plain)
    return HostKeyChanged(
        f"{hop.name} showed the key {shown}, but another one is known: {listed}.",
        "Either the host was installed anew, or somebody is in between. If you know that the new key is "
        f"right, remove the old one: ssh-keygen -R '{hop.key_name}' -f {plain[0].file}",
        host=hop.host,
        user=hop.user,
        fingerprint=shown,
    )


def _unknown(hop: Hop, shown: str, known: Sequence[KnownKey]) -> HostKeyUnknown:
    authority = next((entry for entry in known if entry.marker == AUTHORITY), None)
    note = (
        f" {authority.place} names a certificate authority for it, but it showed no certificate of that one."
        if authority
        else ""
    )
    if hop.configured_check in {"no", "off", "accept-new"}:
        note += f" StrictHostKeyChecking {hop.configured_check} in your ssh configuration is not taken over."
    return HostKeyUnknown(
        f"The key of {hop.name} is not known: it showed {shown}.{note}",
        f"Compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub). If it is right, pin "
        f"that fingerprint, or choose the host key policy accept-new, or add the key to {hop.known_hosts[0]} "
        f"(ssh-keyscan -p {hop.port} {hop.host})."
        if hop.known_hosts
        else "Compare it with the host's own, and pin that fingerprint.",
        host=hop.host,
        user=hop.user,
        fingerprint=shown,
    )


def _accept(hop: Hop, kind: str, key: bytes) -> str:
    shown = fingerprint(key)
    if not hop.known_hosts:
        raise HostKeyError(
            f"The key of {hop.name} cannot be remembered: no file of known hosts is configured.",
            "Set UserKnownHostsFile, or pin the fingerprint.",
            host=hop.host,
            user=hop.user,
            fingerprint=shown,
        )
    file = hop.known_hosts[0]
    try:
        remember(file, hop.key_name, kind, key, hashed=hop.hash_known_hosts)
    except _Conflict as conflict:
        raise _changed(hop, shown, conflict.entries) from None
    except OSError as error:
        raise HostKeyError(
            f"The key of {hop.name} ({shown}) cannot be written to {file}: {error.strerror}.",
            "Make the file writable, or pin the fingerprint.",
            host=hop.host,
            user=hop.user,
            fingerprint=shown,
        ) from error
    _LOGGER.info("Accepted the new host key of %s (%s) into %s", hop.address, shown, file)
    return f"{shown} is new, remembered in {file}"


class _Conflict(Exception):
    """Another process has meanwhile remembered another key."""

    def __init__(self, entries: Sequence[KnownKey]) -> None:
        super().__init__()
        self.entries = entries


def remember(file: Path, name: str, kind: str, key: bytes, *, hashed: bool = False) -> None:
    """Add an entry: under a lock, and atomically, so that no reader ever sees half a file.

    Args:
        file: made when missing.
        name: of the host, as :attr:`Hop.key_name` has it.
        kind: type of the key.
        key: in its wire form.
        hashed: write the name so that it can be checked, but not read (``HashKnownHosts``).

    Raises:
        OSError: the file cannot be written.
    """
    file = file.resolve()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.with_name(file.name + ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        existing = [entry for entry in known_keys([file], name) if not entry.marker]
        if any(entry.key == key for entry in existing):
            return
        if existing:
            raise _Conflict(existing)
        try:
            content, mode = file.read_bytes(), file.stat().st_mode & 0o777
        except FileNotFoundError:
            content, mode = b"", 0o600
        if content and not content.endswith(b"\n"):
            content += b"\n"
        shown = _hashed(name) if hashed else name
        content += f"{shown} {kind} {base64.b64encode(key).decode()}\n".encode()
        descriptor, temporary = tempfile.mkstemp(prefix=file.name + ".", dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as new:
                new.write(content)
                new.flush()
                os.fsync(new.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
