"""An NFS-Ganesha that somebody else runs: the engine adds its exports to it, and neither starts nor ends it.

Its configuration has to include the directory of the engine's exports, so that they come back with the server
under their numbers; everything else in the configuration, and all other exports, are its owner's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from dlpx_remote.mounts.base import ExportFailed
from dlpx_remote.mounts.ganesha_server import PACKAGES, found

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
CONFIGURATION = Path("/etc/ganesha/ganesha.conf")
_DIRECTORY = "dlpx-remote.d"
_RESTARTING = 20.0
_NUMERIC = re.compile(r"^[^#]*\bOnly_Numeric_Owners\s*=\s*(true|yes|1)\b", re.IGNORECASE | re.MULTILINE)


class SystemGanesha:
    """The same to the exporter as :class:`dlpx_remote.mounts.ganesha_server.GaneshaServer`.

    Args:
        directory: for the engine's own notes.
        port: where the server listens.
        bus: address of the message bus on which it listens.
        configuration: its configuration file; the engine's exports are in a directory beside it.
    """

    kind = "system-ganesha"
    shared = True
    """Others have exports of it too, whose numbers are not to be taken."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 2049,
        bus: str = SYSTEM_BUS,
        configuration: Path = CONFIGURATION,
    ) -> None:
        self.directory = directory
        self.port = port
        self.bus = bus
        self.exports = configuration.parent / _DIRECTORY
        self.hint = "See its log (Debian: /var/log/ganesha/ganesha.log)."
        self._configuration = configuration

    def check(self) -> None:
        """See that exports would outlive the server.

        Raises:
            ExportFailed: its configuration does not include them.
        """
        if not self._includes():
            raise ExportFailed(
                f"{self._configuration} does not include {self.exports}: exports would be lost when the NFS "
                "server restarts, and hosts with them.",
                f'Make that directory, add the line %dir "{self.exports}" to {self._configuration}, and '
                "restart the server.",
            )

    def ensure(self, answers: Callable[[], bool]) -> None:
        """Wait for a server that is being restarted.

        Raises:
            ExportFailed: it does not come back.
        """
        until = time.monotonic() + _RESTARTING
        while not answers():
            if time.monotonic() > until:
                raise ExportFailed(
                    f"The system's NFS-Ganesha does not answer on its message bus ({self.bus}).",
                    "Start it: systemctl start nfs-ganesha; or have the engine run its own: "
                    "dlpx-remote nfs configure --kind ganesha",
                )
            time.sleep(0.2)

    def stop(self) -> None:
        """Nothing: it is not the engine's."""

    def remaining(self, *, gone: bool) -> str | None:
        """What to do about a server that does not answer and may still serve; None where it has ended.

        Args:
            gone: whether its bus says that it is not there.
        """
        return None if gone else "See that its message bus runs, and restart both."

    def missing(self) -> tuple[str, ...]:
        """What the machine lacks to run the server, or the server to serve data sets; a sentence each."""
        if found("ganesha.nfsd") is None:
            return (f"ganesha.nfsd cannot be found. {PACKAGES}",)
        if not self._includes():
            return (
                f"{self._configuration} does not include the engine's exports: add the line %dir "
                f'"{self.exports}" to it.',
            )
        if not _NUMERIC.search(self._configuration.read_text(encoding="utf-8", errors="replace")):
            return (
                f"{self._configuration} does not say Only_Numeric_Owners = true in NFSv4: hosts may see "
                "other owners than the data sets have.",
            )
        return ()

    def _includes(self) -> bool:
        try:
            text = self._configuration.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        line = rf"^\s*%dir\s+\"?{re.escape(str(self.exports))}/?\"?\s*$"
        return self.exports.is_dir() and re.search(line, text, re.MULTILINE) is not None
