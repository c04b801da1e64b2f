"""The worker process: sets itself up for one plugin and then answers the engine, one request at a time.

It knows the protocol and nothing of the SDK: an *adapter* loads the plugin, says what it implements and calls
its functions. The messages that the engine sends are ``start``, ``inspect``, ``call`` and ``reply``; the
messages that a worker sends are ``inspection``, ``result``, ``failed``, ``library`` and ``log``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from dlpx_remote.plugins.worker.inside import failures, folders
from dlpx_remote.plugins.worker.limits import EXIT_NO_MEMORY, Limits, size_in_words
from dlpx_remote.plugins.worker.protocol import Frame, FrameDecoder, FrameTooLarge, receive, send

ADAPTER = "dlpx_remote.plugins.worker.inside.adapter"
"""The module whose ``make_adapter`` knows the SDK; another SDK would bring another."""

EXIT_BROKEN = 70
_SMALL = 64 * 1024
_START = 64 * 1024 * 1024


class Adapter(Protocol):
    """What the worker needs of an SDK.

    ``operator_error`` is the exception whose message, action and output a plugin's author wrote for the
            operator.
    """

    @property
    def operator_error(self) -> type[BaseException]: ...

    def inspect(self) -> dict[str, Any]:
        """``{"operations": […], "problems": […]}`` as the engine's ``Inspection`` has them."""
        ...

    def call(self, operation: str, arguments: dict[str, Any], migration: tuple[str, str] | None) -> Any:
        """Call the plugin's function; arguments and result are plain JSON.

        Args:
            operation: as in the table of operations.
            arguments: by the table's names.
            migration: type and id of the migration, for ``upgrade`` operations.
        """
        ...


class Conversation:
    """The worker's end of the conversation; safe to use from several threads of the plugin."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._process = os.getpid()
        self._decoder = FrameDecoder(self._limit)
        self._sending = threading.Lock()
        self._asking = threading.Lock()
        self._operation_runs = False
        self.limits = Limits()

    def _limit(self, kind: str) -> int:
        if kind == "start":
            return _START
        return self.limits.library + _SMALL if kind == "reply" else self.limits.operation

    def next_request(self) -> Frame | None:
        """The engine's next request; None when the engine is gone."""
        return receive(self._connection, self._decoder)

    def ask(
        self, function: str, data: Mapping[str, Any], bodies: Sequence[bytes] = ()
    ) -> tuple[Mapping[str, Any], tuple[bytes, ...]]:
        """Have the engine carry out a library call.

        Returns:
            The reply's data and bodies.

        Raises:
            failures.LibraryRefused: the call could not be carried out, or is too large.
        """
        size = sum(len(body) for body in bodies)
        if size > self.limits.library:
            raise failures.LibraryRefused(
                "too_large",
                f"The input of libs.{function} has {size_in_words(size)}; "
                f"at most {size_in_words(self.limits.library)} are possible.",
            )
        with self._asking:
            if os.getpid() != self._process or not self._operation_runs:
                raise failures.LibraryRefused(
                    "mistake",
                    f"libs.{function} was called when no operation was running: from a process that the "
                    "plugin forked, from a thread that outlived its operation, or while it was imported.",
                )
            self._send(Frame("library", {"function": function, **data}, tuple(bodies)))
            reply = receive(self._connection, self._decoder)
        if reply is None:
            os._exit(EXIT_BROKEN)  # the engine is gone, and nobody is left to tell
        if "refused" in reply.data:
            raise failures.LibraryRefused(
                reply.data["refused"], reply.bodies[0].decode(), reply.data.get("id")
            )
        return reply.data, reply.bodies

    def log(self, level: int, logger: str, message: str) -> None:
        """Hand a log record to the engine; one that cannot be handed over is lost."""
        text = failures.shortened(message, self.limits.exception).encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError, MemoryError):
            if os.getpid() == self._process:
                self._send(Frame("log", {"level": level, "logger": logger}, (text,)))

    @contextlib.contextmanager
    def operation(self) -> Any:
        """Library calls are possible inside; leaving it waits for those of the plugin's other threads."""
        self._operation_runs = True
        try:
            yield
        finally:
            with self._asking:
                self._operation_runs = False

    def answer(self, frame: Frame) -> None:
        """Send the answer to the last request."""
        if os.getpid() != self._process:
            os._exit(EXIT_BROKEN)  # a forked child of the plugin came back from the operation
        self._send(frame)

    def _send(self, frame: Frame) -> None:
        with self._sending:
            send(self._connection, frame)


def main(connection: socket.socket) -> NoReturn:
    """Answer the engine until it is gone."""
    _reset_signals()
    _open_standard_streams()
    conversation = Conversation(connection)
    os.register_at_fork(after_in_child=connection.close)
    start = conversation.next_request()
    if start is None:
        os._exit(0)
    conversation.limits = Limits.from_dict(start.data["limits"])
    _limit_process(conversation.limits)
    _enter(Path(start.data["source_directory"]))
    make_adapter = importlib.import_module(ADAPTER).make_adapter
    adapter: Adapter = make_adapter(start.data, json.loads(start.bodies[0]), conversation)
    while True:
        request = conversation.next_request()
        if request is None:
            os._exit(0)
        _serve(conversation, adapter, request)


def _serve(conversation: Conversation, adapter: Adapter, request: Frame) -> None:
    limits = conversation.limits
    answer: Frame
    try:
        answer = _answer_to(conversation, adapter, request)
    except BaseException as error:  # a plugin may raise anything, SystemExit and KeyboardInterrupt included
        answer = failures.frame(error, limits.exception, adapter.operator_error)
    _flush()
    try:
        conversation.answer(answer)
    except FrameTooLarge:
        conversation.answer(failures.frame(failures.OutputTooLarge(0, limits.operation), limits.exception))
    except MemoryError:
        os._exit(EXIT_NO_MEMORY)


def _answer_to(conversation: Conversation, adapter: Adapter, request: Frame) -> Frame:
    limit = conversation.limits.operation
    if request.kind == "inspect":
        return Frame("inspection", {}, (json.dumps(adapter.inspect()).encode(),))
    arguments = json.loads(request.bodies[0])
    with conversation.operation():
        migration = request.data["migration"]
        result = adapter.call(
            request.data["operation"], arguments, None if migration is None else tuple(migration)
        )
    return Frame("result", {}, (_encoded(result, limit),))


def _encoded(result: Any, limit: int) -> bytes:
    try:
        encoded = json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        found = f"a value that JSON cannot hold ({failures.text_of(error)})"
        raise failures.WrongResult(found, "plain values: text, numbers, lists and dicts") from None
    if len(encoded) > limit:
        raise failures.OutputTooLarge(len(encoded), limit)
    return encoded


def _reset_signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _open_standard_streams() -> None:
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = open(  # noqa: SIM115
            number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _limit_process(limits: Limits) -> None:
    if limits.memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _enter(source_directory: Path) -> None:
    os.chdir(source_directory)
    sys.path.insert(0, str(source_directory))
    sys.argv = [""]
    sys.dont_write_bytecode = True  # the plugin's directory stays as it is
    folders.install(source_directory)


def _flush() -> None:
    """Bring out what was printed before the answer, so that the log has it under the right operation."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
