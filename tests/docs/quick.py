"""The command, without its second of importing: a server that has everything imported, and forks for each.

The pages have some hundred commands; each is run as a process of its own all the same, with the arguments,
environment, directory and streams of the one that was typed.

    python -m tests.docs.quick SOCKET      # serves; prints "ready"
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
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
import array, json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.connect({SOCKET!r})
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
streams = array.array("i", [0, 1, 2]).tobytes()
server.sendmsg([len(asked).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
server.sendall(asked)
answers = server.makefile("r")
worker = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(worker, number))
for code in answers:
    sys.exit(int(code))
sys.exit(70)
"""
"""What takes the command's place; a Python that imports next to nothing."""

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
    from dlpx_remote.cli import application

    application._parser(application.application)  # kept from then on
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, "a process with threads is not forked"
    Path(place).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(place)
    listening.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        client, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _supervise(client)
        client.close()


def _supervise(client: socket.socket) -> NoReturn:
    """Fork the command, and tell the client how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size = array.array("i")
    head, extra, _, _ = client.recvmsg(4, socket.CMSG_LEN(3 * size.itemsize))
    size.frombytes(extra[0][2])
    length, asked = int.from_bytes(head, "big"), b""
    while len(asked) < length:
        asked += client.recv(length - len(asked))
    worker = os.fork()
    if worker == 0:
        _run(client, list(size), *json.loads(asked))
    for each in size:
        os.close(each)
    client.sendall(f"{worker}\n".encode())
    _, status = os.waitpid(worker, 0)
    client.sendall(f"{os.waitstatus_to_exitcode(status) % 256}\n".encode())
    os._exit(0)


def _run(
    client: socket.socket,
    streams: list[int],
    arguments: list[str],
    directory: str,
    environment: dict[str, str],
) -> NoReturn:
    client.close()
    os.setsid()
    # The server is in the background of its shell, which lets such processes ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # Those of the server were made for files.
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    os.environ.clear()
    os.environ.update(environment)
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
