"""Where to connect and with what: the caller's target, and the hops it comes to with ``ssh_config`` applied.

Knows files and names only; opens no connection and reads no key. Imports paramiko, which is slow to load,
when a configuration is read.
"""

from __future__ import annotations

import functools
import getpass
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dlpx_remote.errors import InvalidRequest

if TYPE_CHECKING:
    import paramiko

HostKeyPolicy = Literal["strict", "accept-new", "off"]
_LONGEST_CHAIN = 8
_JUMP = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>\d+))?\Z")


@dataclass(frozen=True)
class SshTarget:
    """One account on one host, and how to get in.

    Attributes:
        host: a name, an address, or a ``Host`` of ``ssh_config``.
        user: login name; None takes ``ssh_config``'s, else the current user's.
        port: None takes ``ssh_config``'s, else 22.
        jump: jump hosts as ``user@host:port``, nearest first; empty takes ``ssh_config``'s ``ProxyJump``.
        key: path of a private key to offer; a certificate beside it (``-cert.pub``) is offered with it.
        agent: offer the SSH agent's keys.
        password: gives the password (also for keyboard-interactive) when it is needed.
        passphrase: gives the key's passphrase when it is needed.
        host_key_policy: ``strict`` (known keys only), ``accept-new`` (remember an unknown host's key) or
            ``off``.
        fingerprint: ``SHA256:…`` that the host's key must have; overrides the policy, for the last host
            only.
        known_hosts: the file of known keys that ``accept-new`` writes; None takes ``ssh_config``'s, else
            ``~/.ssh/known_hosts``. The system's file is read too.
        ssh_config: None reads ``~/.ssh/config`` and ``/etc/ssh/ssh_config``.
        default_keys: also offer ``ssh_config``'s ``IdentityFile``, the agent's keys where an agent runs, and
            ``~/.ssh/id_*``.
    """

    host: str
    user: str | None = None
    port: int | None = None
    jump: tuple[str, ...] = ()
    key: str | None = None
    agent: bool = False
    password: Callable[[], str] | None = field(default=None, repr=False)
    passphrase: Callable[[], str] | None = field(default=None, repr=False)
    host_key_policy: HostKeyPolicy = "strict"
    fingerprint: str | None = None
    known_hosts: Path | None = None
    ssh_config: Path | None = None
    default_keys: bool = True


@dataclass(frozen=True)
class Hop:
    """One connection of a chain, with nothing left to look up but its address.

    Attributes:
        name: as the caller or configuration wrote it, for messages.
        host: what is resolved and connected to.
        port: the port connected to.
        user: login name.
        key_name: the name its host key is filed under in ``known_hosts``.
        known_hosts: files of known keys; new ones are written to the first.
        identity_files: private keys that the configuration names, or the default ones.
        last: True for the target itself, False for a jump host.
    """

    name: str
    host: str
    port: int
    user: str
    key_name: str
    known_hosts: tuple[Path, ...]
    identity_files: tuple[Path, ...]
    last: bool

    @property
    def address(self) -> str:
        """``user@host:port`` for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


def hops(target: SshTarget) -> list[Hop]:
    """The chain of connections to the target, jump hosts first.

    Raises:
        InvalidRequest: the configuration file is missing or broken, a jump host cannot be understood, or jump
            hosts lead in a circle.
    """
    config = _read_config(target.ssh_config)
    chain = _chain(
        config, target.host, target.user, target.port, jump=target.jump, known_hosts=target.known_hosts
    )
    last = chain[-1]
    return [*chain[:-1], Hop(**{**vars(last), "last": True})]


def _chain(
    config: paramiko.SSHConfig,
    name: str,
    user: str | None,
    port: int | None,
    *,
    jump: tuple[str, ...] = (),
    known_hosts: Path | None,
    depth: int = 0,
) -> list[Hop]:
    if depth > _LONGEST_CHAIN:
        raise InvalidRequest(
            f"The jump hosts of {name} lead in a circle.", "Check ProxyJump in your ssh configuration."
        )
    import paramiko

    try:
        found = config.lookup(name)
        port = port or int(found.get("port", "22"))
    except (paramiko.SSHException, ValueError, KeyError) as error:
        raise InvalidRequest(
            f"The ssh configuration for {name} cannot be understood: {error}.",
            "Correct your ssh configuration.",
        ) from error
    hop = Hop(
        name=name,
        host=found.get("hostname", name),
        port=port,
        user=user or found.get("user") or getpass.getuser(),
        key_name=_key_name(found.get("hostkeyalias"), found.get("hostname", name), port),
        known_hosts=_known_hosts(
            known_hosts, found.get("userknownhostsfile"), found.get("globalknownhostsfile")
        ),
        identity_files=_identity_files(found.get("identityfile")),
        last=False,
    )
    if not jump and (proxy := found.get("proxyjump", "none")).lower() != "none":
        jump = tuple(part.strip() for part in proxy.split(","))
    if not jump and found.get("proxycommand"):
        raise InvalidRequest(
            f"The ssh configuration reaches {name} through a ProxyCommand, which is not supported.",
            "Use ProxyJump, or name the jump hosts.",
        )
    before: list[Hop] = []
    for place, entry in enumerate(jump):
        parts = _JUMP.match(entry.removeprefix("ssh://").rstrip("/"))
        if parts is None:
            raise InvalidRequest(
                f"The jump host {entry!r} cannot be understood.", "Write it as user@host:port."
            )
        through = _chain(
            config,
            parts["host"].strip("[]"),
            parts["user"],
            int(parts["port"]) if parts["port"] else None,
            known_hosts=known_hosts,
            depth=depth + 1,
        )
        # Only the first may itself need other hosts; the others are reached through the one before.
        before += through if place == 0 else through[-1:]
    return [*before, hop]


def _read_config(path: Path | None) -> paramiko.SSHConfig:
    paths = [path] if path else [Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")]
    texts: list[tuple[Path, str]] = []
    for file in paths:
        try:
            texts.append((file, "\n".join(_with_includes(file, 0))))
        except FileNotFoundError as error:
            if path is None:
                continue
            raise InvalidRequest(f"There is no ssh configuration file {file}.") from error
        except OSError as error:
            raise InvalidRequest(
                f"The ssh configuration file {file} cannot be read: {error.strerror}."
            ) from error
    return _parsed(tuple(texts))


@functools.lru_cache(maxsize=8)
def _parsed(texts: tuple[tuple[Path, str], ...]) -> paramiko.SSHConfig:
    """The configuration that these texts make; looking something up does not change it."""
    import paramiko

    config = paramiko.SSHConfig()
    for file, text in texts:
        try:
            config.parse(io.StringIO(text))
        except (paramiko.SSHException, ValueError) as error:
            raise InvalidRequest(
                f"The ssh configuration file {file} cannot be understood: {error}."
            ) from error
    return config


def _with_includes(file: Path, depth: int) -> list[str]:
    """The lines of ``file`` with what ``Include`` names in its place (ssh_config(5)); paramiko ignores it."""
    lines: list[str] = []
    for line in file.read_text("utf-8", "replace").splitlines():
        words = line.replace("=", " ", 1).split()
        if not words or words[0].lower() != "include" or depth >= _LONGEST_CHAIN:
            lines.append(line)
            continue
        for pattern in words[1:]:
            place = Path(pattern.strip('"')).expanduser()
            base = Path("/etc/ssh") if file.is_relative_to("/etc/ssh") else Path("~/.ssh").expanduser()
            place = base / place
            for included in sorted(place.parent.glob(place.name)):
                if included.is_file():
                    lines += _with_includes(included, depth + 1)
    return lines


def _key_name(alias: str | None, host: str, port: int) -> str:
    if alias:
        return alias
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def _known_hosts(given: Path | None, user: str | None, system: str | None) -> tuple[Path, ...]:
    own = [given] if given else [Path(word) for word in (user or "~/.ssh/known_hosts").split()]
    others = [Path(word) for word in (system or "/etc/ssh/ssh_known_hosts").split()]
    if given:
        others.insert(0, Path("~/.ssh/known_hosts"))
    return tuple(
        path.expanduser() for path in [*own, *others] if str(path).lower() not in {"none", "/dev/null"}
    )


def _identity_files(configured: list[str] | str | None) -> tuple[Path, ...]:
    if configured:
        names = [configured] if isinstance(configured, str) else configured
        return tuple(Path(name).expanduser() for name in names if name.lower() != "none")
    folder = Path("~/.ssh").expanduser()
    return tuple(folder / name for name in ("id_ed25519", "id_ecdsa", "id_rsa"))
