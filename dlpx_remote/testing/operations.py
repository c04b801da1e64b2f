"""A plugin's operations, as a test calls them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlpx_remote.authoring import (
    RecordingMismatch,
    Trials,
    TriedOperation,
    played_operations,
    plugin_operations,
    recorded_operations,
)
from dlpx_remote.engine import EnvironmentSpec


class OperationFailed(AssertionError):
    """A plugin operation failed in a test that did not expect it.

    Attributes:
        tried: what happened: calls, log, and the failure in its parts.
    """

    def __init__(self, tried: TriedOperation) -> None:
        failure = tried.failure
        parts = (failure.message, failure.action, failure.output) if failure else ()
        super().__init__("\n".join([f"{tried.operation} of {tried.plugin} failed.", *filter(None, parts)]))
        self.tried = tried


class AnswerMissing(AssertionError):
    """The plugin asked for something that the recording has no answer to; shows the difference."""


class PluginOperations:
    """The operations of one plugin on one host.

    Attributes:
        last: what came of the last one; None before the first.
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self.last: TriedOperation | None = None

    def run(self, operation: str, **arguments: Any) -> Any:
        """Run an operation that must succeed.

        Args:
            operation: for example ``discovery.repository``.
            arguments: by the operation's names, as plain JSON. The connection is filled in, and so is a
                repository or source config of which only one is discovered. A source is
                ``{"parameters": {…}}``, with ``"mounts": ["/path"]`` where they matter.

        Returns:
            The result as plain JSON, checked against the plugin's schema.

        Raises:
            OperationFailed: with what the plugin said.
        """
        tried = self.attempt(operation, **arguments)
        if tried.failure is not None:
            raise OperationFailed(tried)
        return tried.result

    def attempt(self, operation: str, **arguments: Any) -> TriedOperation:
        """Run an operation that may fail; the failure is in the result."""
        try:
            self.last = self._trials.run(operation, arguments)
        except RecordingMismatch as mismatch:
            raise AnswerMissing(f"{mismatch}\n{mismatch.output}") from None
        return self.last


@contextmanager
def on_host(directory: Path, host: EnvironmentSpec, data_set: Path | None) -> Iterator[PluginOperations]:
    """A plugin's operations on a real host."""
    with plugin_operations(directory, host, data_set=data_set) as trials:
        yield PluginOperations(trials)


@contextmanager
def recording(
    directory: Path, host: EnvironmentSpec, data_set: Path | None, file: Path
) -> Iterator[PluginOperations]:
    """The same, and what the host answered is kept in ``file`` at the end."""
    with recorded_operations(directory, host, file, data_set=data_set) as trials:
        yield PluginOperations(trials)


@contextmanager
def playing(directory: Path, file: Path) -> Iterator[PluginOperations]:
    """A plugin's operations against the answers in ``file``."""
    with played_operations(directory, file) as trials:
        yield PluginOperations(trials)
