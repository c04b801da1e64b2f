"""An NFS server without any code of ours, so that the virtual machine is tested by itself."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dlpx_remote.demo.loopback import free_port

_START_LIMIT = 30.0
_GANESHA = """
NFS_CORE_PARAM {{
    Protocols = 4; Bind_addr = 127.0.0.1; NFS_Port = {port};
    Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false;
}}
NFSV4 {{ Grace_Period = 5; RecoveryBackend = fs; RecoveryRoot = "{recovery}"; }}
EXPORT {{
    Export_Id = 1; Path = "{directory}"; Pseudo = "/export"; Protocols = 4; Transports = TCP;
    Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }}
}}
"""


@contextmanager
def ganesha(served: Path, place: Path) -> Iterator[int]:
    """Serve the directory as ``/export`` on loopback for the ``with`` block; the port.

    Args:
        served: what to serve.
        place: an empty directory for the server's own files.
    """
    port = free_port("127.0.0.1")
    socket = place / "bus"
    (place / "recovery").mkdir()
    (place / "ganesha.conf").write_text(
        _GANESHA.format(port=port, directory=served, recovery=place / "recovery")
    )
    bus = ["dbus-daemon", "--session", f"--address=unix:path={socket}", "--nofork", "--nopidfile"]
    files = {"-f": place / "ganesha.conf", "-L": place / "log", "-p": place / "pid"}
    server = ["ganesha.nfsd", "-F", *(str(word) for option in files.items() for word in option)]
    with ExitStack() as processes:
        _start(processes, bus)
        _wait_for(socket.exists, "the message bus")
        _start(processes, server, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={socket}")
        _wait_for(lambda: _shows(port), "the NFS server")
        yield port


def _start(processes: ExitStack, command: list[str], **environment: str) -> None:
    process = subprocess.Popen(command, env={**os.environ, **environment})
    processes.callback(process.wait)
    processes.callback(process.kill)


def _shows(port: int) -> bool:
    url = f"nfs://127.0.0.1/export?version=4&nfsport={port}"
    return subprocess.run(["nfs-ls", url], capture_output=True, timeout=20, check=False).returncode == 0


def _wait_for(holds: object, what: str) -> None:
    assert callable(holds)
    deadline = time.monotonic() + _START_LIMIT
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come up"
        time.sleep(0.05)
