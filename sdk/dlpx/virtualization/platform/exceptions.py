"""Errors of the platform part: what a plugin may raise, and what is wrong with how it is put together."""

from __future__ import annotations

from dlpx.virtualization.common.exceptions import (
    IncorrectTypeError,
    PlatformError,
    PluginRuntimeError,
    TypeDescription,
    describe_actual,
    describe_expected,
)

__all__ = [
    "DecoratorNotCalledError",
    "DecoratorNotFunctionError",
    "IncorrectReferenceFormatError",
    "IncorrectReturnTypeError",
    "IncorrectTypeError",
    "MigrationIdAlreadyUsedError",
    "MigrationIdIncorrectFormatError",
    "MigrationIdIncorrectTypeError",
    "OperationAlreadyDefinedError",
    "OperationNotDefinedError",
    "PlatformError",
    "PluginRuntimeError",
    "UnknownMigrationTypeError",
    "UnknownOperationError",
    "UserError",
]


class UserError(Exception):
    """A plugin raises this to fail its operation with words of its own for the operator.

    Args:
        message: what happened.
        action: what the operator can do about it.
        output: what a script printed, where that helps.

    Attributes:
        message, action, output: as given.
    """

    action: str = ""
    output: str = ""

    def __init__(self, message: str, action: str = "", output: str = "") -> None:
        super().__init__(message, action, output)
        self.action = action
        self.output = output

    @property
    def message(self) -> str:
        # From args, so that a subclass that forgets to call this constructor still has a message.
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return self.message


class IncorrectReturnTypeError(PluginRuntimeError):
    """A plugin operation returned something of the wrong type.

    Args:
        operation: the operation, for example ``virtual.status``.
        actual_type: what came.
        expected_type: what should have come.
    """

    def __init__(self, operation: str, actual_type: TypeDescription, expected_type: TypeDescription) -> None:
        super().__init__(
            f"The object that {operation}() returned was {describe_actual(actual_type)} but should be "
            f"{describe_expected(expected_type)}."
        )


class IncorrectReferenceFormatError(PluginRuntimeError):
    """A reference string does not name a host environment."""

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"Reference '{reference}' is not a correctly formatted host environment reference: it should be "
            "UNIX_HOST_ENVIRONMENT-<number> or WINDOWS_HOST_ENVIRONMENT-<number>."
        )


class OperationAlreadyDefinedError(PlatformError):
    """Two functions were decorated for one operation.

    Args:
        operation: the operation, for example ``virtual.status``.
        first: where the first one is, in words.
        second: where the second one is, in words.
    """

    def __init__(self, operation: str, first: str = "", second: str = "") -> None:
        places = f": first {first}, then {second}" if first and second else ""
        super().__init__(f"An implementation for {operation}() has already been defined{places}.")


class OperationNotDefinedError(PlatformError):
    """An operation is needed that the plugin does not implement."""

    def __init__(self, operation: str) -> None:
        super().__init__(f"An implementation for {operation}() has not been defined.")


class UnknownOperationError(PlatformError, AttributeError):
    """A decorator was used that does not exist.

    It is an AttributeError too, because that is what a plugin sees: an attribute that a group does not have.
    """


class DecoratorNotFunctionError(PlatformError):
    """A decorator was put on something that is not a function.

    Args:
        object_name: what was decorated.
        decorator_name: the operation, for example ``virtual.status``.
    """

    def __init__(self, object_name: str, decorator_name: str) -> None:
        super().__init__(f"The object '{object_name}' decorated by {decorator_name}() is not a function.")


class DecoratorNotCalledError(PlatformError):
    """A decorator was used without its parentheses.

    Args:
        function_name: the function under it.
        usage: how to write it, for example ``@plugin.virtual.status()``.
    """

    def __init__(self, function_name: str, usage: str) -> None:
        super().__init__(f"The decorator of function '{function_name}' lacks its parentheses: write {usage}.")


class MigrationIdIncorrectTypeError(PlatformError):
    """A migration id is not a string."""

    def __init__(self, migration_id: object, function_name: str) -> None:
        super().__init__(
            f"The migration id '{migration_id}' used in the function '{function_name}' should be a string."
        )


class MigrationIdIncorrectFormatError(PlatformError):
    """A migration id does not have the form it should have."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class MigrationIdAlreadyUsedError(PlatformError):
    """Two migrations have the same id."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class UnknownMigrationTypeError(PlatformError):
    """The second argument of an upgrade decorator is no MigrationType."""

    def __init__(self, actual_type: object) -> None:
        super().__init__(
            f"The migration type {actual_type!r} is not known: it should be MigrationType.PLATFORM or "
            "MigrationType.LUA."
        )
