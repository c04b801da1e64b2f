from __future__ import annotations

import pickle

from dlpx.virtualization.common.exceptions import IncorrectTypeError, PlatformError, PluginRuntimeError
from dlpx.virtualization.libs.exceptions import IncorrectArgumentTypeError, LibraryError, PluginScriptError
from dlpx.virtualization.platform import Status
from dlpx.virtualization.platform.exceptions import (
    IncorrectReturnTypeError,
    OperationAlreadyDefinedError,
    OperationNotDefinedError,
    UserError,
)


def test_a_user_error_has_three_parts() -> None:
    error = UserError("It failed.", "Try again.", "exit 1")
    assert (error.message, error.action, error.output) == ("It failed.", "Try again.", "exit 1")
    assert error.args == ("It failed.", "Try again.", "exit 1")
    assert str(error) == "It failed."


def test_action_and_output_of_a_user_error_may_be_left_out() -> None:
    error = UserError(message="It failed.")
    assert (error.message, error.action, error.output) == ("It failed.", "", "")


def test_a_subclass_of_user_error_that_forgets_its_parents_constructor_still_reads_well() -> None:
    class Forgetful(UserError):
        def __init__(self, message: str) -> None:
            self.mine = True

    error = Forgetful("No port.")
    assert (error.message, error.action, error.output, str(error)) == ("No port.", "", "", "No port.")


def test_a_subclass_of_user_error_may_define_action_and_output_itself() -> None:
    class Fixed(UserError):
        def __init__(self, message: str) -> None:
            super().__init__(message)
            self.action = "Call the operator."

    assert Fixed("No port.").action == "Call the operator."


def test_a_user_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(UserError("a", "b", "c")))
    assert (error.message, error.action, error.output) == ("a", "b", "c")


def test_every_error_has_its_text_as_message() -> None:
    errors: list[PlatformError | PluginRuntimeError | LibraryError | PluginScriptError] = [
        PlatformError("wrong"),
        PluginRuntimeError("wrong"),
        LibraryError(15, "wrong"),
        PluginScriptError("wrong"),
    ]
    for error in errors:
        assert error.message == str(error) == "wrong"


def test_a_script_error_may_be_built_from_a_message_alone() -> None:
    error = PluginScriptError("It failed.")
    assert (error.exit_code, error.stdout, error.stderr) == (None, "", "")


def test_a_wrong_return_type_names_operation_found_and_expected() -> None:
    one = IncorrectReturnTypeError("virtual.status", str, Status)
    assert one.message == (
        "The object that virtual.status() returned was of type str but should be of type "
        "dlpx.virtualization.platform.Status."
    )
    several = IncorrectReturnTypeError("discovery.repository", [int, str, int], [Status])
    assert "a list of [int, str]" in several.message
    assert "a list of dlpx.virtualization.platform.Status" in several.message


def test_an_undefined_operation_is_named() -> None:
    assert "virtual.configure()" in OperationNotDefinedError("virtual.configure").message
    assert "virtual.configure()" in OperationAlreadyDefinedError("virtual.configure").message


def test_a_dict_of_wrong_types_is_described_without_its_values() -> None:
    error = IncorrectArgumentTypeError("run_bash", "variables", {(str, int), (bytes, str)}, {str: str}, False)
    assert error.message == (
        "The function run_bash's argument 'variables' was a dict of {bytes: str, str: int} but should be "
        "a dict of str to str if defined."
    )


def test_one_of_several_types_is_described() -> None:
    error = IncorrectTypeError(Status, "colour", int, [str, bytes])
    assert error.message == "Status's parameter 'colour' was of type int but should be of type str or bytes."
