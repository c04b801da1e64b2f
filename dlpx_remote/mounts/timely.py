"""Changing a host in time, or not at all.

A command whose connection is cut may lie in the network, and arrive when nobody waits for it any more: by
then the same place may serve something else. So every change carries the moment, by the host's own clock,
after which it is to do nothing; whoever comes next waits for that moment, and can then rely on what he sees.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from dlpx_remote.mounts.base import MountFailed
from dlpx_remote.transports.base import CommandResult, Connection, NotSent, TransportError
from dlpx_remote.transports.privilege import Privileged, PrivilegeRefused

WINDOW = 10
"""Seconds from sending a command to its start; a host that takes longer is asked again."""
_PATIENCE = 20.0
_TRIES = 3
_LATE = "dlpx-remote: this came too late"
_IN_TIME = """up=; read -r up _ </proc/uptime
if [ "${up%%.*}" -ge UNTIL ] 2>/dev/null; then echo 'LATE' >&2; exit 75; fi
""".replace("LATE", _LATE)


class Clock:
    """A host's seconds since it was started, as far as it has said them."""

    def __init__(self) -> None:
        self._ahead: float | None = None

    def heard(self, said: str) -> None:
        """Take the first word of ``/proc/uptime`` that the host has just answered with."""
        try:
            self._ahead = float(said.split(maxsplit=1)[0]) - time.monotonic()
        except (ValueError, IndexError):
            self._ahead = None

    @property
    def now(self) -> float | None:
        """Its present time, a little less rather than more; None where it is not known."""
        return None if self._ahead is None else time.monotonic() + self._ahead


class Changes:
    """Runs the commands that change a host.

    Args:
        connection: stays the caller's property.
        privileged: runs as root, or as the account.

    Attributes:
        clock: of the host.
        until: after this, by the host's clock, no change begins any more that was asked for here and not
            answered; None where all were.
    """

    def __init__(self, connection: Connection, privileged: Privileged) -> None:
        self._connection = connection
        self._privileged = privileged
        self.clock = Clock()
        self.until: int | None = None

    def run(self, arguments: Sequence[str], *, timeout: float, user: str = "root") -> CommandResult:
        """Run one command, within :data:`WINDOW` from now or not at all.

        Raises:
            MountFailed: the host did not come to it in time, several times.
            Otherwise as :meth:`dlpx_remote.transports.privilege.Privileged.run`.
        """
        for _ in range(_TRIES):
            if self.clock.now is None:
                self.clock.heard(self._connection.run("cat /proc/uptime", timeout=_PATIENCE).stdout_text)
            until = None if self.clock.now is None else int(self.clock.now) + WINDOW
            first = "" if until is None else _IN_TIME.replace("UNTIL", str(until))
            try:
                result = self._privileged.run(arguments, user=user, timeout=timeout, first=first)
            except (PrivilegeRefused, NotSent):
                raise
            except TransportError:
                self.until = until
                raise
            if result.exit_code != 75 or _LATE not in result.stderr_text:
                return result
            self.clock = Clock()
        raise MountFailed(
            f"{self._connection.address} begins with commands more than {WINDOW} s after they are sent.",
            "See what keeps the host or the network so busy, and try again.",
        )
