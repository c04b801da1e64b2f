"""One plugin in one worker process: ask what it implements, call its operations, answer its library calls."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.plugins.worker.errors import (
    OperationAborted,
    OperationMissing,
    OperationTimeout,
    PluginError,
    PluginFailed,
    PluginUserError,
    TooLarge,
    WorkerDied,
    WrongResult,
)
from dlpx_remote.plugins.worker.inspection import Inspection
from dlpx_remote.plugins.worker.library import LibraryCall, LibraryHandler, LibraryRefusal
from dlpx_remote.plugins.worker.limits import EXIT_NO_MEMORY, KIB, MIB, Limits, size_in_words
from dlpx_remote.plugins.worker.logs import LogCallback, PluginLog
from dlpx_remote.plugins.worker.process import ConversationBroken, WorkerProcess
from dlpx_remote.plugins.worker.protocol import Frame, FrameTooLarge, ProtocolError

_SLACK = 64 * KIB
_INSPECTION = 16 * MIB
_MESSAGE = 2 * KIB
_AUTHOR = "The output has the plugin's stack trace; its author can tell more."


class Worker:
    """A plugin's code, in a process of its own. Made by ``Workers.start``; one thread at a time may use it.

    After ``WorkerDied``, ``OperationTimeout``, ``OperationAborted`` and any error that is not the plugin's,
    the process is gone (:attr:`alive` is False) and a new worker is needed.
    """

    def __init__(
        self, process: WorkerProcess, plugin: Plugin, job: str, limits: Limits, on_log: LogCallback | None
    ) -> None:
        self._process = process
        self._plugin = plugin
        self._limits = limits
        self._log = PluginLog(plugin.config.name, job, limits.log, on_log)
        self._lock = threading.RLock()
        self._inspection: Inspection | None = None
        self._started = False
        self._aborted = False
        self._operation = ""
        process.on_output = self._log.printed
        process.limit = self._limit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process's number; None when it could not be made."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False when the process is gone."""
        return self._process.ending is None

    def close(self) -> None:
        """End the process and everything it started. Idempotent."""
        with self._lock:
            self._process.close()
            self._log.end()

    def abort(self) -> None:
        """End the process in the middle of its operation, from another thread. Waits for nothing."""
        self._aborted = True
        self._process.ask_to_end()

    def inspect(self, timeout: float | None = None) -> Inspection:
        """What the plugin implements; imports its code when that was not done before.

        Args:
            timeout: seconds; None takes the limits'.

        Raises:
            OperationTimeout, WorkerDied: importing the plugin did not come to an end. That it raises is no
                error here, but a problem in the inspection.
        """
        with self._lock:
            if self._inspection is None:
                frame = self._ask(Frame("inspect"), "", timeout, None)
                try:
                    self._inspection = Inspection.from_dict(json.loads(frame.bodies[0]))
                except (LookupError, TypeError, ValueError) as error:
                    raise self._broken("it sent a malformed inspection") from error
            return self._inspection

    def call(
        self,
        operation_name: str,
        arguments: Mapping[str, Any],
        *,
        library: LibraryHandler,
        timeout: float | None = None,
        migration: tuple[str, str] | None = None,
    ) -> Any:
        """Call the plugin's function for an operation.

        Args:
            operation_name: for example ``discovery.repository``.
            arguments: plain JSON by the names in the table of operations.
            library: answers the plugin's library calls, from the calling thread.
            timeout: seconds, library calls included; None takes the limits'.
            migration: type and id of the migration, for ``upgrade`` operations.

        Returns:
            The result as plain JSON; its type was checked, its values were not.

        Raises:
            PluginUserError, PluginFailed, WrongResult, OperationMissing, TooLarge: the plugin's doing; the
                worker can go on.
            OperationTimeout, WorkerDied: the worker is gone.
        """
        body = json.dumps(arguments).encode()
        if len(body) > self._limits.operation:
            raise TooLarge(
                f"The arguments of {operation_name} have {size_in_words(len(body))}, "
                f"at most {size_in_words(self._limits.operation)} are possible.",
                plugin=self._name,
                operation=operation_name,
            )
        request = Frame("call", {"operation": operation_name, "migration": migration}, (body,))
        with self._lock:
            frame = self._ask(request, operation_name, timeout, library)
            try:
                return json.loads(frame.bodies[0])
            except (LookupError, ValueError, RecursionError) as error:
                raise self._broken("it sent a malformed result") from error

    @property
    def _name(self) -> str:
        return self._plugin.config.name

    def _limit(self, kind: str) -> int:
        if kind == "library":
            return self._limits.library + _SLACK
        if kind in ("failed", "log"):
            return self._limits.exception + _SLACK
        return _INSPECTION if kind == "inspection" else self._limits.operation

    def _ask(
        self, request: Frame, operation: str, timeout: float | None, library: LibraryHandler | None
    ) -> Frame:
        """Send a request and converse until its answer comes; the process is ended when anything else
        happens.
        """
        seconds = self._limits.timeout if timeout is None else timeout
        deadline = time.monotonic() + seconds
        self._operation = operation
        self._log.begin(operation)
        try:
            if not self.alive:
                raise self._broken("it had ended before")
            if not self._started:
                self._started = True
                self._process.send(self._start_frame(), deadline)
            self._process.send(request, deadline)
            answer = self._converse(deadline, library)
            self._process.drain_output()
        except TimeoutError as error:
            self._process.end(self._limits.grace)
            raise OperationTimeout(
                f"{self._subject} did not come to an end within {seconds:g} seconds; its process was ended.",
                "If it needs more time, allow a longer time-out; otherwise the plugin hangs.",
                plugin=self._name,
                operation=operation,
            ) from error
        except (ConversationBroken, ProtocolError) as error:
            if self._aborted:
                self._process.end()
                raise OperationAborted(
                    f"{self._subject} was cancelled; its process was ended.",
                    plugin=self._name,
                    operation=operation,
                ) from error
            raise self._broken(str(error), error) from error
        except PluginError:
            raise
        except BaseException:
            self._process.end()
            raise
        finally:
            self._log.end()
        if answer.kind == "failed":
            raise self._failure(answer)
        return answer

    def _converse(self, deadline: float, library: LibraryHandler | None) -> Frame:
        while True:
            frame = self._process.receive(deadline)
            if frame.kind in ("result", "inspection", "failed"):
                return frame
            if frame.kind == "log":
                self._take_log(frame)
            elif frame.kind == "library" and library is not None:
                self._process.drain_output()
                self._process.send(self._reply(frame, library, deadline), deadline)
            else:
                raise ProtocolError(f"it sent a {frame.kind!r} message, which has no place here")

    def _start_frame(self) -> Frame:
        config = self._plugin.config
        data = {
            "plugin_type": config.plugin_type.value,
            "entry_point": config.entry_point,
            "source_directory": str(config.source_directory),
            "limits": self._limits.to_dict(),
        }
        return Frame("start", data, (json.dumps(dict(self._plugin.schema.definitions)).encode(),))

    def _take_log(self, frame: Frame) -> None:
        level, logger = frame.data.get("level"), frame.data.get("logger")
        if not isinstance(level, int) or not isinstance(logger, str) or len(frame.bodies) != 1:
            raise ProtocolError("it sent a malformed log record")
        self._log.logged(level, logger, frame.bodies[0].decode("utf-8", "replace"))

    def _reply(self, frame: Frame, library: LibraryHandler, deadline: float) -> Frame:
        try:
            data, names = frame.data, frame.data["variables"]
            call = LibraryCall(
                function=data["function"],
                operation=self._operation,
                environment=data["environment"],
                user=data["user"],
                body=frame.bodies[0],
                variables=dict(zip(names, frame.bodies[1:], strict=True)),
                options=dict(data["options"]),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise ProtocolError("it sent a malformed library call") from error
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            reply = library.handle(call, left)
        except LibraryRefusal as refusal:
            return Frame(
                "reply",
                {"refused": refusal.kind, "id": refusal.id},
                (refusal.message.encode("utf-8", "replace"),),
            )
        return Frame("reply", reply.data, reply.bodies)

    @property
    def _subject(self) -> str:
        if not self._operation:
            return f"Importing the plugin {self._name}"
        return f"{self._operation} of the plugin {self._name}"

    def _broken(self, reason: str, error: Exception | None = None) -> PluginError:
        """The error for a worker that is of no use any more; it is ended here if it has not ended itself."""
        if isinstance(error, FrameTooLarge) and error.kind == "result":
            self._process.end()
            return self._too_large(error.size, error.limit)
        was_alive = self.alive
        if was_alive and isinstance(error, ConversationBroken):
            self._process.wait_for_end(0.5)
            was_alive = self.alive
        ending = self._process.end()
        if not was_alive and ending.exit_code == EXIT_NO_MEMORY:
            return self._no_memory("MemoryError", "")
        how = f"broke off ({reason}) and was ended" if was_alive else str(ending)
        action = {
            "KILL": "Perhaps this machine ran out of memory; its kernel log would say so.",
            "SEGV": "A crash like this comes from native code or very deep recursion in the plugin.",
        }.get(
            ending.signal or "",
            "The plugin must not end or disturb its process; the log has what it printed.",
        )
        return WorkerDied(
            f"{self._subject} failed: its process {how}.",
            action,
            plugin=self._name,
            operation=self._operation,
            exit_code=None if was_alive else ending.exit_code,
            signal=None if was_alive else ending.signal,
        )

    def _too_large(self, size: int, limit: int) -> TooLarge:
        had = f"has {size_in_words(size)}" if size else "is too large"
        return TooLarge(
            f"The result of {self._subject} {had}; at most {size_in_words(limit)} are possible.",
            "The plugin must return less.",
            plugin=self._name,
            operation=self._operation,
        )

    def _no_memory(self, kind: str, output: str) -> PluginFailed:
        limit = self._limits.memory
        allowed = "" if limit is None else f": its process may use {size_in_words(limit)}"
        return PluginFailed(
            f"{self._subject} ran out of memory{allowed}.",
            _AUTHOR,
            output,
            plugin=self._name,
            operation=self._operation,
            kind=kind,
        )

    def _failure(self, frame: Frame) -> PluginError:
        """The error that a worker's ``failed`` message stands for."""
        reason = frame.data.get("reason")
        kind = str(frame.data.get("type", ""))
        text, action, output = (
            *(body.decode("utf-8", "replace") for body in frame.bodies[:3]),
            *[""] * (3 - len(frame.bodies[:3])),
        )
        names = {"plugin": self._name, "operation": self._operation}
        if reason == "operator_error":
            return PluginUserError(text or f"{self._subject} failed.", action, output, **names)
        if reason == "wrong_result":
            return WrongResult(
                f"{self._subject} returned {text[:_MESSAGE]}, but must return {action}.",
                "This is a fault of the plugin.",
                **names,
            )
        if reason == "too_large":
            return self._too_large(int(frame.data["size"]), int(frame.data["limit"]))
        if reason == "missing":
            return OperationMissing(
                f"The plugin {self._name} does not implement {self._operation}.",
                "Add a function with that decorator to the plugin.",
                **names,
            )
        if reason == "import":
            return PluginFailed(
                f"The plugin {self._name} cannot be imported: {_one_line(kind, text)}",
                f"Correct the plugin; its entry point is {self._plugin.config.entry_point}.",
                output,
                **names,
                kind=kind,
            )
        if reason == "no_memory":
            return self._no_memory(kind, output)
        return PluginFailed(
            f"{self._subject} failed: {_one_line(kind, text)}", _AUTHOR, output, **names, kind=kind
        )


def _one_line(kind: str, text: str) -> str:
    """``ValueError: what happened``, short enough for a sentence; the stack trace has all of it."""
    lines = text.strip().splitlines()
    first = lines[0].strip() if lines else ""
    if len(first) > _MESSAGE:
        first = first[:_MESSAGE] + "…"
    return f"{kind}: {first}" if first else f"{kind}."
