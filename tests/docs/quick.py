"""The command, without its second of importing: a server that has everything imported, and forks for each.

The pages have some hundred commands; each is run as a process of its own all the same, with the arguments,
environment, directory and streams of the one that was typed.

    python -m tests.docs.quick SOCKET      # serves; prints "ready"
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import NoReturn

SOCKET = "/run/dlpx-remote-quick"
CLIENT = f"""\
#!{sys.executable} -IS
import _signal, _socket, posix, sys
asked = [word.encode("utf-8", "surrogateescape") for word in (posix.getcwd(), *sys.argv[1:])]
asked = b"\\0".join([b"%d" % len(asked), *asked, *(b"%b=%b" % one for one in posix.environ.items())])
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
server.connect({SOCKET!r})
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
server.sendmsg([len(asked).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
server.sendall(asked)
worker = int(server.recv(16))
for number in (_signal.SIGINT, _signal.SIGTERM):
    _signal.signal(number, lambda number, _: posix.kill(worker, number))
sys.exit(int(server.recv(16) or 70))
"""
"""What takes the command's place; a Python that imports nothing that is not built in."""

_WANTED = (
    "dlpx_remote.cli.application",
    "dlpx_remote.engine",
    "dlpx_remote.authoring",
    "dlpx_remote.jobs.durable",
    "dlpx_remote.demo.single",
    "dlpx_remote.transports.winrm",
    "dbos",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    # What those import late, for commands that need it.
    "dlpx_remote.engine_jobs",
    "dlpx_remote.plugins.formats",
    "dlpx_remote.transports.ssh",
    "idna.core",
    "invoke.program",
    "jeepney.io.blocking",
    "jsonschema.validators",
    "nacl.signing",
    "paramiko.client",
    "pyflakes.checker",
    "rich.progress",
    "rich.table",
    "rich.tree",
    "typer._adapters",
    "unicodedata",
    "unittest.mock",
)


def serve(place: str) -> NoReturn:
    """Answer clients until the process is ended."""
    for name in _WANTED:
        importlib.import_module(name)
    from sqlalchemy.orm import configure_mappers

    from dlpx_remote.cli import application

    configure_mappers()  # else every process does so for itself
    application._parser(application.application)  # kept from then on
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, "a process with threads is not forked"
    Path(place).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(place)
    listening.listen(64)
    print("ready", flush=True)
    waiting: dict[int, tuple[int, socket.socket]] = {}
    events = select.epoll()
    events.register(listening, select.EPOLLIN)
    while True:
        for number, _ in events.poll():
            if number in waiting:
                events.unregister(number)
                _tell(number, *waiting.pop(number))
            else:
                client, _ = listening.accept()
                worker = _start(client)
                client.sendall(b"%d" % worker)
                ends = os.pidfd_open(worker)
                waiting[ends] = worker, client
                events.register(ends, select.EPOLLIN)


def _start(client: socket.socket) -> int:
    """Fork the command that a client asks for; its process."""
    head, streams, _, _ = socket.recv_fds(client, 4, 3)
    length, asked = int.from_bytes(head, "big"), b""
    while len(asked) < length:
        asked += client.recv(length - len(asked))
    worker = os.fork()
    if worker == 0:
        _run(streams, [os.fsdecode(word) for word in asked.split(b"\0")])
    for each in streams:
        os.close(each)
    return worker


def _tell(ends: int, worker: int, client: socket.socket) -> None:
    """Tell the client how its command has ended."""
    os.close(ends)
    _, status = os.waitpid(worker, 0)
    with client, contextlib.suppress(BrokenPipeError):  # who asked may have been killed meanwhile
        client.sendall(b"%d" % (os.waitstatus_to_exitcode(status) % 256))


def _run(streams: list[int], asked: list[str]) -> NoReturn:
    count = int(asked[0])
    directory, *arguments = asked[1 : count + 1]
    os.setsid()
    # The server is in the background of its shell, which lets such processes ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 1024)  # also what other commands of the server have open
    # Those of the server were made for files.
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    os.environ.clear()
    os.environ.update({name: text for name, _, text in (word.partition("=") for word in asked[count + 1 :])})
    os.chdir(directory)
    sys.argv = ["dlpx-remote", *arguments]
    from dlpx_remote.cli import main

    code: object = 70
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        for each in (sys.stdout, sys.stderr):
            each.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    serve(sys.argv[1])
