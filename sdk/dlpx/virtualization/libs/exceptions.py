"""Errors of the library functions (``libs.run_bash`` and its like)."""

from __future__ import annotations

from dlpx.virtualization.common.exceptions import (
    PluginRuntimeError,
    TypeDescription,
    describe_actual,
    describe_expected,
)

__all__ = ["IncorrectArgumentTypeError", "LibraryError", "LibraryUnavailableError", "PluginScriptError"]


class LibraryError(Exception):
    """A library call itself failed: host unreachable, time-out, outcome unknown. A plugin may catch it.

    Args:
        id: names the kind of failure, for programs.
        message: a sentence for people.

    Attributes:
        id: as given.
        message: as given.
    """

    def __init__(self, id: int | str, message: str) -> None:
        super().__init__(message)
        self.id = id

    @property
    def message(self) -> str:
        return str(self.args[0])


class PluginScriptError(Exception):
    """A script that was called with ``check=True`` ended with an exit code other than zero.

    Args:
        message: a sentence for people.
        exit_code: the script's own, where known.
        stdout: what the script printed.
        stderr: what the script complained.

    Attributes:
        message, exit_code, stdout, stderr: as given.
    """

    def __init__(
        self, message: str, exit_code: int | None = None, stdout: str = "", stderr: str = ""
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr

    @property
    def message(self) -> str:
        return str(self.args[0])


class IncorrectArgumentTypeError(PluginRuntimeError):
    """A library function was called with an argument of the wrong type.

    Args:
        function: the function called, for example ``run_bash``.
        parameter_name: the argument.
        actual_type: what was passed.
        expected_type: what should have been passed.
        required: False where None is fine too.
    """

    def __init__(
        self,
        function: str,
        parameter_name: str,
        actual_type: TypeDescription,
        expected_type: TypeDescription,
        required: bool = True,
    ) -> None:
        super().__init__(
            f"The function {function}'s argument '{parameter_name}' was {describe_actual(actual_type)} "
            f"but should be {describe_expected(expected_type)}{'' if required else ' if defined'}."
        )


class LibraryUnavailableError(PluginRuntimeError):
    """A library function was called outside an engine, where nobody can answer it."""
