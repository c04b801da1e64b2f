"""The fork server: one small process with everything a worker needs imported, which forks workers on request.

It talks to the engine over sockets that keep message boundaries (``SOCK_SEQPACKET``). On the control socket a
request is the one message ``fork`` with three descriptors: the worker's end of its conversation with the
engine, this process's end of a socket about the worker's life, and a pipe for whatever the worker prints. On
the life socket this process says ``{"pid": …}``, and once the worker is gone ``{"exit": code}`` or
``{"signal": number}``; the engine says ``T`` (ask the worker to end) or ``K`` (end it), and closing it means
``K``.

Nothing outlives the engine: when the control socket ends, all workers are ended and this process exits. A
worker's processes are found by its process group and session; one that left its session and lost its parent
becomes a child of this process, which is a subreaper, and is ended with the next worker that ends.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from dlpx_remote.plugins.worker.inside import process

READY = b"ready"
FORK = b"fork"
TERMINATE = b"T"
KILL = b"K"
_DESCRIPTORS = 3
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CONVERSATION = 100
"""Number of the worker's descriptor to the engine: far from those that careless code closes."""
_LAST_ROUNDS = 200


@dataclass
class _Child:
    pid: int
    life: socket.socket
    ended: bool = False


def main(control_descriptor: int) -> NoReturn:
    """Serve until the engine is gone; then end every worker and exit."""
    control = socket.socket(fileno=control_descriptor)
    control.set_inheritable(False)
    _process_control(_PR_SET_CHILD_SUBREAPER, 1)
    server = ForkServer(control)
    importlib.import_module(process.ADAPTER)  # what every worker would import by itself otherwise
    gc.collect()
    gc.freeze()  # what is imported stays shared with the workers instead of being copied by their collector
    control.send(READY)
    try:
        server.serve()
    finally:
        server.end_everything()
        os._exit(0)


class ForkServer:
    """The loop; one thread, so that forking is safe."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pid = os.getpid()
        self._children: dict[int, _Child] = {}
        self._selector = selectors.PollSelector()  # no descriptor of its own that a worker could inherit
        self._wakeup, wakeup_writer = socket.socketpair()
        for end in (self._wakeup, wakeup_writer):
            end.setblocking(False)
        self._wakeup_writer = wakeup_writer
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup_writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(control, selectors.EVENT_READ, None)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Fork, signal and reap until the control socket ends."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    if not self._take_request():
                        return
                elif key.fileobj is self._wakeup:
                    with contextlib.suppress(BlockingIOError):
                        self._wakeup.recv(4096)
                    self._reap()
                else:
                    self._take_order(key.data)

    def end_everything(self) -> None:
        """End the workers and all that descends from them; bounded, in case something cannot be ended."""
        signal.set_wakeup_fd(-1)
        for child in self._children.values():
            self._forget_life(child)  # that it was killed here would only mislead
        for _ in range(_LAST_ROUNDS):
            self._reap()
            for child in list(self._children.values()):
                _end_session(child.pid)
            descendants = _children_of(os.getpid())
            for pid in descendants:
                _send(pid, signal.SIGKILL)
            if not descendants:
                return
            time.sleep(0.005)

    def _take_request(self) -> bool:
        try:
            message, ancillary, _, _ = self._control.recvmsg(64, socket.CMSG_SPACE(_DESCRIPTORS * 4))
        except ConnectionError:
            return False
        if not message:
            return False
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        conversation, life_descriptor, output = descriptors
        life = socket.socket(fileno=life_descriptor)
        try:
            pid = os.fork()
        except OSError as error:
            with contextlib.suppress(OSError):
                life.send(json.dumps({"refused": str(error)}).encode())
            life.close()
        else:
            if pid == 0:
                self._become_worker(conversation, output, life)
            child = _Child(pid, life)
            self._children[pid] = child
            self._selector.register(life, selectors.EVENT_READ, child)
            with contextlib.suppress(OSError):
                life.send(json.dumps({"pid": pid}).encode())
        os.close(conversation)
        os.close(output)
        return True

    def _become_worker(self, conversation: int, output: int, life: socket.socket) -> NoReturn:
        """In the forked child: leave everything of this process behind and run as a worker."""
        try:
            os.setsid()
            _process_control(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._pid:  # it died before the line above took effect
                os._exit(process.EXIT_BROKEN)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for end in (self._control, self._wakeup, self._wakeup_writer, life):
                end.detach()
            for child in self._children.values():
                child.life.detach()
            _keep_only(conversation, output)
            process.main(socket.socket(fileno=_CONVERSATION))
        except BaseException:  # whatever happens, a forked child must not go on as a fork server
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(process.EXIT_BROKEN)

    def _take_order(self, child: _Child) -> None:
        try:
            order = child.life.recv(16)
        except ConnectionError:
            order = b""
        if order == TERMINATE:
            _send(-child.pid, signal.SIGTERM)
            return
        _end_session(child.pid)
        if not order:
            self._forget_life(child)

    def _reap(self) -> None:
        """Collect what ended; end what a worker left behind before its number is free again."""
        some_worker_ended = False
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            child = self._children.pop(found.si_pid, None)
            if child is not None:
                some_worker_ended = True
                _end_session(child.pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(found.si_pid, 0)
            if child is not None:
                kind = "exit" if found.si_code == os.CLD_EXITED else "signal"
                with contextlib.suppress(OSError):
                    child.life.send(json.dumps({kind: found.si_status}).encode())
                self._forget_life(child)
        if some_worker_ended:
            self._end_orphans()

    def _forget_life(self, child: _Child) -> None:
        if not child.ended:
            child.ended = True
            self._selector.unregister(child.life)
            child.life.close()

    def _end_orphans(self) -> None:
        """End processes that were left to this one and belong to the session of no living worker."""
        for pid in _children_of(os.getpid()):
            if pid in self._children:
                continue
            with contextlib.suppress(OSError):
                if os.getsid(pid) not in self._children:
                    _send(pid, signal.SIGKILL)


def _keep_only(conversation: int, output: int) -> None:
    """Nothing on 0, the output on 1 and 2, the conversation on its number, and no other descriptor."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    if conversation != _CONVERSATION:
        os.dup2(conversation, _CONVERSATION)
    os.set_inheritable(_CONVERSATION, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.closerange(3, _CONVERSATION)
    os.closerange(_CONVERSATION + 1, os.sysconf("SC_OPEN_MAX"))


def _end_session(leader: int) -> None:
    """Kill a worker that is not collected yet, its process group, and the rest of its session."""
    _send(leader, signal.SIGKILL)  # it may not have become a group leader yet
    _send(-leader, signal.SIGKILL)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            if os.getsid(pid) == leader:
                _send(pid, signal.SIGKILL)


def _children_of(parent: int) -> list[int]:
    """The direct children of this process's only thread."""
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _process_control(option: int, value: int) -> None:
    """prctl(2); where it does not exist the closing sockets alone end the processes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
