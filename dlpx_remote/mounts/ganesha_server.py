"""NFS-Ganesha as the engine runs it: its configuration, its message bus, and what keeps it running.

The server outlives the process that started it, because the exports are to stay. A small supervisor starts it
again when it has died, adopts one that it finds running, and is itself started again by the next engine that
needs the server. The bus is the server's own: where no system bus runs it needs one, and nobody else has
business on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

from dlpx_remote.mounts.base import ExportFailed
from dlpx_remote.mounts.locks import exclusive, held

EVERYWHERE = "0.0.0.0"  # noqa: S104 – hosts are to reach it; each export names who may
RUNTIME = Path("/run/dlpx-remote")
"""Where the sockets of message buses are, a directory for each server."""
SUPERVISOR = "dlpx-remote-nfs"
"""What a supervisor's command line has as its program's name."""
_STARTING = 20.0
_STOPPING = 15.0
PACKAGES = "Install nfs-ganesha, nfs-ganesha-vfs and dbus (Debian's dbus-daemon) on the engine's machine."

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
  <policy context="default"><deny own="*"/><deny send_destination="*"/></policy>
  <policy user="root">
    <allow own="*"/><allow send_destination="*"/><allow send_type="method_call"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"""

# Only NFS 4: version 3 would need rpcbind on this machine, and locks a second service with ports of its own.
# Grace and lease are short, so that clients go on soon after a restart; owners are numbers, as data sets are.
_CONFIGURATION = """# Written by the engine; changes are lost.
NFS_CORE_PARAM {{
    Protocols = 4; NFS_Port = {port}; Bind_addr = {address};
    Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false;
}}
NFSv4 {{
    Lease_Lifetime = 15; Grace_Period = 15; Minor_Versions = 0, 1, 2; Only_Numeric_Owners = true;
    RecoveryBackend = fs; RecoveryRoot = "{recovery}";
}}
NFS_KRB5 {{ Active_krb5 = false; }}
LOG {{ Default_Log_Level = WARN; }}
%dir "{exports}"
"""

_SUPERVISOR = r"""
exec 9>"$1/supervisor.lock"
flock -n 9 || exit 0
alive() { # NAME: whether the process of that file is what it should be
    local process
    read -r process <"$directory/$1.pid" 2>/dev/null || return 1
    [ "$(cat "/proc/$process/comm" 2>/dev/null)" = "$1" ]
}
start() { # NAME COMMAND…
    local name=$1
    shift
    "$@" </dev/null >>"$directory/$name.out" 2>&1 9>&- &
    echo $! >"$directory/$name.pid.new" && mv "$directory/$name.pid.new" "$directory/$name.pid"
}
end() { # NAME
    alive "$1" && kill "$(cat "$directory/$1.pid")"
}
directory=$1 socket=$2 pause=0
while [ ! -e "$directory/stop" ]; do
    if ! alive dbus-daemon; then
        end ganesha.nfsd && sleep 1 # it does not find back to a new bus
        rm -f "$socket"
        start dbus-daemon dbus-daemon --config-file="$directory/bus.conf" --nofork --nopidfile
        for _ in 1 2 3 4 5 6 7 8 9 10; do [ -S "$socket" ] || sleep 0.1; done
    fi
    if alive ganesha.nfsd; then
        pause=0
    else
        sleep "$pause"; pause=$((pause < 5 ? pause + 1 : 5)) # one that cannot start is not tried all the time
        [ -e "$directory/stop" ] || start ganesha.nfsd env DBUS_SYSTEM_BUS_ADDRESS="unix:path=$socket" \
        ganesha.nfsd -F -f "$directory/ganesha.conf" -L "$directory/ganesha.log" -p "$directory/lock.pid"
    fi
    sleep 0.3
done
end ganesha.nfsd
for _ in 1 2 3 4 5 6 7 8 9 10; do alive ganesha.nfsd && sleep 0.5; done
alive ganesha.nfsd && kill -KILL "$(cat "$directory/ganesha.nfsd.pid")"
end dbus-daemon
rm -f "$directory/stop"
"""


class GaneshaServer:
    """The server of one engine.

    Attributes:
        kind: of the exporter that uses it.
        shared: whether others export by it, too.
        exports: where the files of the exports are.
        hint: where to look when it refuses something.

    Args:
        directory: for its files.
        address: to listen on.
        port: to listen on.
    """

    kind = "ganesha"
    shared = False

    def __init__(self, directory: Path, *, address: str = EVERYWHERE, port: int = 2049) -> None:
        self.directory = directory
        self.exports = directory / "exports"
        self.port = port
        self.hint = f"See {directory / 'ganesha.log'}."
        self._address = address
        # A socket's path has at most 107 characters, which a state directory may exceed.
        digest = hashlib.sha256(os.fsencode(directory.absolute())).hexdigest()[:16]
        self._runtime = RUNTIME / digest
        self._socket = self._runtime / "bus"
        self._lock = directory / "server.lock"

    @property
    def bus(self) -> str:
        """Address of the message bus on which the server listens."""
        return f"unix:path={self._socket}"

    def check(self) -> None:
        """Nothing to see: its configuration is the engine's own."""

    def ensure(self, answers: Callable[[], bool]) -> None:
        """See that the server runs and is supervised.

        Args:
            answers: called until it says that the server answers.

        Raises:
            ExportFailed: it does not start; says why. Nothing of it is left running.
        """
        with exclusive(self._lock):
            if not self.supervised():
                self._start()
            until = time.monotonic() + _STARTING
            while not answers():
                if time.monotonic() > until:
                    words = self._last_words()
                    self._end()
                    raise ExportFailed(
                        f"The NFS server does not start: {words}",
                        f"See {self.directory / 'ganesha.log'}; whether another server has port {self.port} "
                        "(ss -ltnp); and whether this machine may mount.",
                    )
                time.sleep(0.05)

    def stop(self) -> None:
        """End the server and its supervisor; nothing is exported any more. Idempotent."""
        if self.directory.exists():
            with exclusive(self._lock):
                self._end()

    def _end(self) -> None:
        until = time.monotonic() + _STOPPING
        if self.supervised():
            (self.directory / "stop").touch()
            while self.supervised() and time.monotonic() < until:
                time.sleep(0.05)
        for name in ("ganesha.nfsd", "dbus-daemon"):
            while (process := self.process(name)) is not None and time.monotonic() < until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                time.sleep(0.02)
        shutil.rmtree(self._runtime, ignore_errors=True)

    def process(self, name: str = "ganesha.nfsd") -> int | None:
        """Number of a running process of the server; None where it does not run."""
        try:
            process = int((self.directory / f"{name}.pid").read_text(encoding="ascii"))
            running = Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return process if running == name else None

    def remaining(self, *, gone: bool) -> str | None:  # noqa: ARG002 – the process itself can be looked for
        """What to do about a server that does not answer and may still serve; None where it has ended.

        Args:
            gone: whether its bus says that it is not there.
        """
        process = self.process()
        return None if process is None else f"End its process {process}; it is started again by itself."

    def missing(self) -> tuple[str, ...]:
        """What this machine lacks to run the server, a sentence each."""
        lacks = [name for name in ("ganesha.nfsd", "dbus-daemon", "flock") if found(name) is None]
        if lacks:
            return (f"{', '.join(lacks)} cannot be found. {PACKAGES}",)
        if os.geteuid() != 0:
            return ("The engine has to run as root to start the NFS server.",)
        return ()

    def _start(self) -> None:
        missing = self.missing()
        if missing:
            raise ExportFailed("The NFS server cannot be started.", " ".join(missing))
        recovery = self.directory / "recovery"
        for directory in (self.exports, recovery):
            directory.mkdir(parents=True, exist_ok=True)
        self._runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.directory / "stop").unlink(missing_ok=True)
        (self.directory / "bus.conf").write_text(
            _BUS.format(socket=escape(str(self._socket))), encoding="utf-8"
        )
        configuration = _CONFIGURATION.format(
            port=self.port,
            address=self._address,
            recovery=recovery,
            exports=self.exports,
        )
        (self.directory / "ganesha.conf").write_text(configuration, encoding="utf-8")
        environment = {"PATH": f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"}
        subprocess.Popen(
            ["bash", "-c", _SUPERVISOR, SUPERVISOR, str(self.directory), str(self._socket)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment,
            cwd="/",
        )

    def supervised(self) -> bool:
        """Whether somebody looks after it."""
        return held(self.directory / "supervisor.lock")

    def _last_words(self) -> str:
        for name in ("ganesha.nfsd.out", "ganesha.log", "dbus-daemon.out"):
            with contextlib.suppress(OSError):
                lines = (self.directory / name).read_text(encoding="utf-8", errors="replace").splitlines()
                serious = [line for line in lines if "FATAL" in line or "CRIT" in line or "rror" in line]
                if serious:
                    return serious[-1][-300:]
        return "it says nothing."


def found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
