"""How a host and the NFS server reach each other: what the host itself can say of it, and what follows."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from dlpx_remote.mounts.base import MountFailed, Reach
from dlpx_remote.transports.base import Connection

_ASK = """
printf '%s\\n' "${SSH_CONNECTION-}" "$(cat /proc/sys/kernel/random/boot_id)" "$(readlink /proc/self/ns/mnt)"
"""
_PATIENCE = 20.0


@dataclass(frozen=True)
class Reached:
    """What the server and a host are to each other.

    Attributes:
        here: the host is the engine's own machine, and has the same mount table.
        server: the server's address as the host sees it.
        clients: under which the server sees the host.
    """

    here: bool
    server: str
    clients: tuple[str, ...]


def reached(connection: Connection, reach: Reach) -> Reached:
    """Ask a host how it is reached.

    Raises:
        MountFailed: the addresses cannot be found out, and have to be configured.
        TransportError: the host could not be asked.
    """
    said = connection.run(_ASK, timeout=_PATIENCE).stdout_text.split("\n")
    words, identity = said[0].split(), tuple(said[1:3])
    if all(identity) and identity == _own_identity():
        return Reached(True, "127.0.0.1", ())
    server = reach.server or (words[0] if len(words) == 4 else "")
    clients = reach.clients or _addresses(reach.address) or ((words[2],) if len(words) == 4 else ())
    if not server or not clients:
        raise MountFailed(
            f"It is not known how {reach.name} and the NFS server reach each other: the host's session names "
            "no addresses.",
            "Configure the server's address as the host sees it, and the host's as the server sees it.",
        )
    return Reached(False, server, tuple(_plain(client) for client in clients))


def source_name(server: str, path: str) -> str:
    """An NFS source as mount(8) wants it: an IPv6 address in brackets."""
    return f"[{server}]:{path}" if ":" in server else f"{server}:{path}"


def _own_identity() -> tuple[str, str]:
    """Of this machine's present run, and of this process's mount table."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, os.readlink("/proc/self/ns/mnt")  # noqa: PTH115 – no path
    except OSError:
        return "", ""


def _addresses(host: str) -> tuple[str, ...]:
    """All addresses of a name; none where it has none."""
    if not host:
        return ()
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return tuple(dict.fromkeys(str(each[4][0]) for each in found))
    except OSError:
        return ()


def _plain(client: str) -> str:
    """Without a scope, and IPv4 as such."""
    address, _, _scope = client.partition("%")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return client
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)
