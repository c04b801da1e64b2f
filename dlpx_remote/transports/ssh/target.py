"""Where to connect and with what: the caller's target, and the hops it comes to with ``ssh_config`` applied.

Knows files and names only; opens no connection and reads no key. Imports paramiko, which is slow to load,
when a configuration is read.
"""

from __future__ import annotations

import functools
import getpass
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.transports.ssh import ssh_config

if TYPE_CHECKING:
    import paramiko

HostKeyPolicy = Literal["strict", "accept-new", "off"]
_LOGGER = logging.getLogger("dlpx_remote.transports.ssh")
_LONGEST_CHAIN = 8
_PERSON = ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "SSH_AUTH_SOCK")
"""Variables that say who and where the person is, for ``~`` and ``getpass.getuser``, and the agent."""
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
        key_text: gives the text of a private key to offer, whose place its ``str`` says.
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
    key_text: Callable[[], str] | None = field(default=None, repr=False)
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
        identities_chosen: the configuration names ``identity_files``; they are not the default ones.
        identities_only: offer no key of the agent that is not among them.
        certificate_files: certificates for any of the keys, besides those that lie beside them.
        identity_agent: what the configuration says about where the SSH agent listens.
        hash_known_hosts: write names into files of known keys as hashes.
        revoked_host_keys: a file of keys that no host may show.
        proxy_command: a command whose standard input and output lead to the host, instead of a connection.
        configured_check: what the configuration says about unknown keys; it is not acted on, but spoken of.
        not_honoured: options that are set, and that ``ssh`` would act on, but we do not.
    """

    name: str
    host: str
    port: int
    user: str
    key_name: str
    known_hosts: tuple[Path, ...]
    identity_files: tuple[Path, ...]
    last: bool
    identities_chosen: bool = False
    identities_only: bool = False
    certificate_files: tuple[Path, ...] = ()
    identity_agent: str | None = None
    hash_known_hosts: bool = False
    revoked_host_keys: Path | None = None
    proxy_command: str | None = None
    configured_check: str = ""
    not_honoured: tuple[str, ...] = ()

    @property
    def where(self) -> dict[str, str]:
        """Host and user, as every error of the transport carries them."""
        return {"host": self.host, "user": self.user}

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
    config = ssh_config.read(target.ssh_config)
    person = tuple(os.environ.get(name) for name in _PERSON)
    wanted = _Wanted(target.host, target.user, target.port, target.jump, target.known_hosts)
    work_out = _worked_out if ssh_config.is_steady(config) else _worked_out.__wrapped__
    return list(work_out(config, person, wanted))


class _Wanted(NamedTuple):
    """What of a target its hops depend on."""

    host: str
    user: str | None
    port: int | None
    jump: tuple[str, ...]
    known_hosts: Path | None


@functools.lru_cache(maxsize=1024)
def _worked_out(
    config: paramiko.SSHConfig, _person: tuple[str | None, ...], wanted: _Wanted
) -> tuple[Hop, ...]:
    """What a configuration comes to for one target and person: the same for all connections there."""
    host, user, port, jump, known_hosts = wanted
    chain = _chain(config, host, user, port, jump=jump, known_hosts=known_hosts)
    return (*chain[:-1], replace(chain[-1], last=True))


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
    found = ssh_config.look_up(config, name, user, port)
    if not jump and (proxy := found.text("proxyjump") or "none").lower() != "none":
        jump = tuple(part.strip() for part in proxy.split(","))
    hop = _hop(found, name, user, port, known_hosts=known_hosts)
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
        before += through if place == 0 else [replace(through[-1], proxy_command=None)]
    return [*before, replace(hop, proxy_command=None) if jump else hop]


def _hop(
    found: ssh_config.Settings, name: str, user: str | None, port: int | None, *, known_hosts: Path | None
) -> Hop:
    host, port = found.text("hostname") or name, port or int(found.text("port") or 22)
    identities = found.paths("identityfile")
    revoked = found.paths("revokedhostkeys")
    hop = Hop(
        name=name,
        host=host,
        port=port,
        user=user or found.text("user") or getpass.getuser(),
        key_name=_key_name(found.text("hostkeyalias"), host, port),
        known_hosts=_known_hosts(
            known_hosts, found.text("userknownhostsfile"), found.text("globalknownhostsfile")
        ),
        identity_files=identities if found.options.get("identityfile") else _default_identities(),
        last=False,
        identities_chosen=bool(identities),
        identities_only=found.on("identitiesonly"),
        certificate_files=found.paths("certificatefile"),
        identity_agent=found.text("identityagent"),
        hash_known_hosts=found.on("hashknownhosts"),
        revoked_host_keys=revoked[0] if revoked else None,
        proxy_command=found.text("proxycommand"),
        configured_check=(found.text("stricthostkeychecking") or "").lower(),
        not_honoured=found.not_honoured,
    )
    _tell(hop)
    return hop


@functools.lru_cache(maxsize=4096)
def _tell_once(name: str, options: tuple[str, ...]) -> None:
    level = logging.INFO if set(options) <= ssh_config.ALGORITHMS else logging.WARNING
    _LOGGER.log(level, "The ssh configuration of %s sets %s; that is not honoured.", name, ", ".join(options))


def _tell(hop: Hop) -> None:
    if hop.not_honoured:
        _tell_once(hop.name, hop.not_honoured)


def _key_name(alias: str | None, host: str, port: int) -> str:
    if alias:
        return alias
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def _known_hosts(given: Path | None, user: str | None, system: str | None) -> tuple[Path, ...]:
    words = [*(user or "~/.ssh/known_hosts").split(), *(system or "/etc/ssh/ssh_known_hosts").split()]
    paths = [*([given] if given else []), *(Path(word) for word in words)]
    return tuple(path.expanduser() for path in paths if str(path).lower() not in {"none", "/dev/null"})


def _default_identities() -> tuple[Path, ...]:
    folder = Path("~/.ssh").expanduser()
    return tuple(folder / name for name in ("id_ed25519", "id_ecdsa", "id_rsa"))
