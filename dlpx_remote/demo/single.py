"""One throw-away host on loopback, as an environment that can be used at once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dlpx_remote.demo.host import Keeping
from dlpx_remote.demo.loopback import loopback_hosts, require_sshd
from dlpx_remote.engine import Authentication, EnvironmentSpec


@contextmanager
def throw_away_host(
    *, install_missing: bool = False, say: Callable[[str], None] = lambda _: None
) -> Iterator[EnvironmentSpec]:
    """An SSH server of its own for the current user, ended with the ``with`` block.

    Args:
        install_missing: as root on Debian or Ubuntu, install OpenSSH's server where it is missing.
        say: told what takes long.

    Raises:
        DemoUnavailable: there is no server, or it does not come up; says what to do.
    """
    sshd = require_sshd(install_missing, "A throw-away host is a server of your own on loopback.", say)
    with (
        tempfile.TemporaryDirectory(prefix="dlpx-remote-host-") as place,
        loopback_hosts(1, Path(place), Keeping(wanted=False), sshd) as made,
    ):
        host = made.hosts[0]
        yield EnvironmentSpec(
            name="throw-away",
            host=host.address,
            port=host.port,
            user=host.user,
            authentication=Authentication(key=str(made.key)),
            fingerprint=host.fingerprint,
        )
