"""Five hosts that cannot be reached, each in its own way, for a discovery among hosts that can."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.ssh.hosts import Host

SILENT = "127.77.250.1"
"""An address that accepts connections and says nothing."""


@contextmanager
def dead_hosts(alive: Host, directory: Path) -> Iterator[dict[str, Host]]:
    """By the name of the error that each must end with.

    Args:
        alive: a host that answers, for those that go wrong later.
        directory: where a key may be written.
    """
    stranger = directory / "stranger"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    with socket.create_server((SILENT, 0)) as silent, socket.socket() as bound:
        bound.bind((SILENT, 0))  # nothing listens there
        yield {
            "ConnectTimeout": replace(alive, host=SILENT, port=silent.getsockname()[1]),
            "ConnectionRefused": replace(alive, host=SILENT, port=bound.getsockname()[1]),
            "NameNotResolved": replace(alive, host="nowhere.invalid"),
            "HostKeyChanged": replace(alive, fingerprint="SHA256:" + "A" * 43),
            "AuthenticationFailed": replace(alive, key=str(stranger)),
        }
