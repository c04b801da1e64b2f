"""Starts the fork server when the first worker is needed, and has it make workers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import dlpx.virtualization.platform.operation_table as sdk_module
import dlpx_remote
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.plugins.worker.errors import WorkersUnavailable
from dlpx_remote.plugins.worker.limits import Limits
from dlpx_remote.plugins.worker.logs import LogCallback
from dlpx_remote.plugins.worker.process import WorkerProcess
from dlpx_remote.plugins.worker.worker import Worker

_START_SECONDS = 60.0
_PROGRAM = (
    "import json, sys; "
    "sys.path.extend(path for path in json.loads(sys.argv[2]) if path not in sys.path); "
    "from dlpx_remote.plugins.worker.inside.forkserver import main; "
    "main(int(sys.argv[1]))"
)


class Workers:
    """The processes that plugin code runs in. One object serves a whole engine; safe for several threads.

    The fork server is started with the first worker. It is started again should it have died.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(
        self,
        plugin: Plugin,
        *,
        job: str,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        on_log: LogCallback | None = None,
    ) -> Worker:
        """A worker for ``plugin``. Its code is imported with the first question to it, not before.

        Args:
            plugin: whose code it runs.
            job: identifies the job in the log.
            limits: what the worker may take.
            on_log: called with each line that the plugin prints or logs, after redaction.

        Raises:
            WorkersUnavailable: no process can be started.
        """
        return Worker(self._fork(), plugin, job, limits, on_log)

    def close(self) -> None:
        """End every worker and the fork server; nothing of them is left in the process table. Idempotent."""
        with self._lock:
            self._closed = True
            self._stop()

    def _fork(self) -> WorkerProcess:
        conversation, workers_conversation = socket.socketpair()
        life, servers_life = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        output_descriptor, workers_output = os.pipe()
        output = os.fdopen(output_descriptor, "rb", buffering=0)
        try:
            descriptors = [workers_conversation.fileno(), servers_life.fileno(), workers_output]
            with self._lock:
                for attempt in (1, 2):
                    control = self._running_server()
                    try:
                        socket.send_fds(control, [b"fork"], descriptors)
                        break
                    except OSError as error:
                        self._stop()
                        if attempt == 2:
                            raise WorkersUnavailable(
                                f"No process for plugin code could be made: {error}."
                            ) from error
        except BaseException:
            conversation.close()
            life.close()
            output.close()
            raise
        finally:
            workers_conversation.close()
            servers_life.close()
            os.close(workers_output)
        return WorkerProcess(conversation, life, output)

    def _running_server(self) -> socket.socket:
        if self._closed:
            raise WorkersUnavailable("The engine has been closed; no plugin code can run any more.")
        if self._control is None:
            self._launch()
        assert self._control is not None  # noqa: S101 - for the type checker
        return self._control

    def _launch(self) -> None:
        control, servers_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with servers_control, tempfile.TemporaryFile() as complaints:
            try:
                self._server = self._spawn(servers_control, complaints)
            except OSError as error:
                control.close()
                raise WorkersUnavailable(
                    f"The process for plugin code could not be started: {error}.",
                    f"Is {sys.executable} still in place?",
                ) from error
            servers_control.close()
            control.settimeout(_START_SECONDS)
            try:
                answer = control.recv(64)
            except OSError:
                answer = b""
            self._control = control
            if answer != b"ready":
                self._stop()
                complaints.seek(0)
                raise WorkersUnavailable(
                    "The process for plugin code ended while it started.",
                    "This is a fault of the installation; installing dlpx-remote afresh may help.",
                    complaints.read(64 * 1024).decode("utf-8", "replace"),
                )
            control.settimeout(None)

    def _spawn(self, control: socket.socket, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
        # -I: neither PYTHON* variables, nor the working directory, nor the user's own site packages
        homes = [str(Path(str(module.__file__)).parents[levels]) for module, levels in _PACKAGES]
        return subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", _PROGRAM, str(control.fileno()), json.dumps(homes)],
            env=_environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            pass_fds=(control.fileno(),),
            start_new_session=True,  # an interrupt from the terminal is for the engine to handle
        )

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            try:
                self._server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None


_PACKAGES = ((dlpx_remote, 1), (sdk_module, 3))


def _environment() -> dict[str, str]:
    """What plugin code may see of the engine's environment: nothing that could hold a secret."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **kept}
