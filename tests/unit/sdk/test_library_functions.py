from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dlpx.virtualization import libs
from dlpx.virtualization.common import KeyPairCredentials, PasswordCredentials, RemoteConnection
from dlpx.virtualization.common.exceptions import PluginRuntimeError
from dlpx.virtualization.libs.backend import CommandOutput, set_backend
from dlpx.virtualization.libs.exceptions import (
    IncorrectArgumentTypeError,
    LibraryError,
    LibraryUnavailableError,
    PluginScriptError,
)
from tests.unit.sdk.backends import RecordingBackend
from tests.unit.sdk.test_classes import CONNECTION

SCRIPT_FUNCTIONS: list[Callable[..., Any]] = [libs.run_bash, libs.run_powershell, libs.run_expect]


@pytest.mark.parametrize("function", SCRIPT_FUNCTIONS)
def test_a_script_reaches_the_backend_as_bytes(
    function: Callable[..., Any], backend: RecordingBackend, connection: RemoteConnection
) -> None:
    backend.output = CommandOutput(3, "größer".encode(), b"why\n")
    result = function(connection, "echo größer", {"A": "ä", "B": b"\xff"})
    name, seen_connection, command, variables = backend.calls[0][:4]
    assert name == function.__name__
    assert seen_connection is connection
    assert command == "echo größer".encode()
    assert variables == {"A": "ä".encode(), "B": b"\xff"}
    assert (result.exit_code, result.stdout, result.stderr) == (3, "größer", "why\n")


@pytest.mark.parametrize("function", SCRIPT_FUNCTIONS)
def test_a_script_may_be_bytes_and_variables_may_be_left_out(
    function: Callable[..., Any], backend: RecordingBackend, connection: RemoteConnection
) -> None:
    function(remote_connection=connection, command=b"\xff\x00raw")
    assert backend.calls[0][2:4] == (b"\xff\x00raw", {})


def test_the_callers_variables_are_left_as_they_were(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    variables = {"A": "text"}
    libs.run_bash(connection, "true", variables)
    assert variables == {"A": "text"}
    assert backend.calls[0][3] is not variables


def test_a_plugin_may_trim_the_output_in_place(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    backend.output = CommandOutput(0, b"value\n", b"")
    result = libs.run_bash(connection, "true")
    result.stdout = result.stdout.strip()
    assert result.stdout == "value"


def test_output_that_is_not_utf8_is_still_text(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    backend.output = CommandOutput(0, b"a\xffb", b"")
    assert libs.run_bash(connection, "true").stdout == "a\ufffdb"


@given(text=some.text(alphabet=some.characters(exclude_categories=["Cs"])))
def test_every_text_arrives_as_its_utf8(text: str) -> None:

    recording = RecordingBackend(output=CommandOutput(0, text.encode(), b""))
    previous = set_backend(recording)
    try:
        result = libs.run_bash(CONNECTION, text, {"VALUE": text})
    finally:
        set_backend(previous)
    assert recording.calls[0][2:4] == (text.encode(), {"VALUE": text.encode()})
    assert result.stdout == text


def test_a_file_name_that_is_not_utf8_leaves_as_the_bytes_it_was(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    libs.run_bash(connection, "ls " + b"/data/\xe9t\xe9".decode("utf-8", "surrogateescape"))
    assert backend.calls[0][2] == b"ls /data/\xe9t\xe9"


@pytest.mark.parametrize(("given", "passed"), [(True, True), (False, False), (None, False)])
def test_use_login_shell_is_passed_on(
    given: Any, passed: bool, backend: RecordingBackend, connection: RemoteConnection
) -> None:
    libs.run_bash(connection, "true", use_login_shell=given)
    assert backend.calls[0][4] is passed


@pytest.mark.parametrize("function", SCRIPT_FUNCTIONS)
def test_check_raises_with_exit_code_and_both_streams(
    function: Callable[..., Any], backend: RecordingBackend, connection: RemoteConnection
) -> None:
    backend.output = CommandOutput(7, b"half done", b"disk full")
    with pytest.raises(PluginScriptError) as raised:
        function(connection, "false", check=True)
    error = raised.value
    assert (error.exit_code, error.stdout, error.stderr) == (7, "half done", "disk full")
    assert error.message == str(error)
    for fact in ("exit code 7", "half done", "disk full"):
        assert fact in error.message


def test_check_is_content_with_exit_code_zero(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    backend.output = CommandOutput(0, b"done", b"a warning")
    assert libs.run_bash(connection, "true", check=True).stdout == "done"


def test_a_huge_output_does_not_make_a_huge_error(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    backend.output = CommandOutput(1, b"start" + b"x" * 1_000_000 + b"end", b"")
    with pytest.raises(PluginScriptError) as raised:
        libs.run_bash(connection, "false", check=True)
    assert len(raised.value.message) < 20_000
    assert "start" in raised.value.message
    assert "end" in raised.value.message
    assert len(raised.value.stdout) == 1_000_008


@pytest.mark.parametrize("function", SCRIPT_FUNCTIONS)
@pytest.mark.parametrize(
    ("arguments", "argument", "found", "expected"),
    [
        (
            {"remote_connection": "db1"},
            "remote_connection",
            "str",
            "dlpx.virtualization.common.RemoteConnection",
        ),
        ({"command": 5}, "command", "int", "str"),
        ({"command": None}, "command", "NoneType", "str"),
        ({"variables": "A=1"}, "variables", "str", "dict of str to str"),
        ({"variables": {"A": 1}}, "variables", "dict of {str: int}", "dict of str to str"),
        ({"variables": {1: "a"}}, "variables", "dict of {int: str}", "dict of str to str"),
    ],
)
def test_a_wrong_argument_is_named_with_found_and_expected_type(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    argument: str,
    found: str,
    expected: str,
    backend: RecordingBackend,
    connection: RemoteConnection,
) -> None:
    with pytest.raises(IncorrectArgumentTypeError) as raised:
        function(**{"remote_connection": connection, "command": "true", **arguments})
    for fact in (function.__name__, f"'{argument}'", found, expected):
        assert fact in raised.value.message
    assert backend.calls == []


def test_an_error_about_variables_does_not_show_their_values(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    wrong: Any = {"PASSWORD": "hunter2", "PORT": 5432}
    with pytest.raises(IncorrectArgumentTypeError) as raised:
        libs.run_bash(connection, "true", wrong)
    assert "hunter2" not in str(raised.value)


def test_a_login_shell_that_is_not_a_bool_is_refused(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    wrong: Any = "yes"
    with pytest.raises(
        IncorrectArgumentTypeError, match=r"run_bash.*'use_login_shell'.*str.*bool if defined"
    ):
        libs.run_bash(connection, "true", use_login_shell=wrong)


def test_run_sync_passes_text_and_tuples(backend: RecordingBackend, connection: RemoteConnection) -> None:
    libs.run_sync(connection, b"/data", "rsync", ["/data/log", "/data/tmp"], [b"/data/link"])
    libs.run_sync(connection, "/data")
    assert backend.calls == [
        ("run_sync", connection, "/data", "rsync", ("/data/log", "/data/tmp"), ("/data/link",)),
        ("run_sync", connection, "/data", None, (), ()),
    ]


@pytest.mark.parametrize(
    ("arguments", "argument", "found", "expected"),
    [
        ({"remote_connection": None}, "remote_connection", "NoneType", "RemoteConnection"),
        ({"source_directory": 1}, "source_directory", "int", "str"),
        ({"rsync_user": 1}, "rsync_user", "int", "str if defined"),
        ({"exclude_paths": "/a"}, "exclude_paths", "str", "list of str if defined"),
        ({"exclude_paths": [1]}, "exclude_paths", "list of [int]", "list of str"),
        ({"sym_links_to_follow": ("/a",)}, "sym_links_to_follow", "tuple", "list of str"),
        ({"sym_links_to_follow": [None]}, "sym_links_to_follow", "list of [NoneType]", "list of str"),
    ],
)
def test_run_sync_names_a_wrong_argument(
    arguments: dict[str, Any],
    argument: str,
    found: str,
    expected: str,
    backend: RecordingBackend,
    connection: RemoteConnection,
) -> None:
    function: Callable[..., Any] = libs.run_sync
    with pytest.raises(IncorrectArgumentTypeError) as raised:
        function(**{"remote_connection": connection, "source_directory": "/data", **arguments})
    for fact in ("run_sync", f"'{argument}'", found, expected):
        assert fact in raised.value.message


@pytest.mark.parametrize(
    "credentials", [PasswordCredentials("u", "secret"), KeyPairCredentials("u", "private", "public")]
)
def test_credentials_come_back_as_the_backend_gives_them(
    credentials: PasswordCredentials | KeyPairCredentials, backend: RecordingBackend
) -> None:
    backend.credentials = credentials
    supplier = {"type": "NamedPasswordCredential", "password": "reference-7"}
    assert libs.retrieve_credentials(supplier) is credentials
    assert backend.calls == [("retrieve_credentials", supplier)]


def test_a_credentials_supplier_is_a_dict(backend: RecordingBackend) -> None:
    wrong: Any = "secret"
    with pytest.raises(
        IncorrectArgumentTypeError, match=r"retrieve_credentials.*'credentials_supplier'.*str.*dict"
    ):
        libs.retrieve_credentials(wrong)


def test_a_password_is_upgraded_to_a_supplier(backend: RecordingBackend) -> None:
    assert libs.upgrade_password("secret", username="scott") == {"type": "NamedPasswordCredential"}
    libs.upgrade_password("secret")
    assert backend.calls == [("upgrade_password", "secret", "scott"), ("upgrade_password", "secret", None)]


@pytest.mark.parametrize(("arguments", "argument"), [((b"secret",), "password"), (("secret", 5), "username")])
def test_upgrade_password_names_a_wrong_argument(
    arguments: tuple[Any, ...], argument: str, backend: RecordingBackend
) -> None:
    with pytest.raises(IncorrectArgumentTypeError, match=f"upgrade_password.*'{argument}'"):
        libs.upgrade_password(*arguments)


def test_what_the_backend_raises_reaches_the_plugin(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    backend.error = LibraryError("HostUnreachable", "db1 does not answer.")
    with pytest.raises(LibraryError) as raised:
        libs.run_bash(connection, "true")
    assert raised.value.message == "db1 does not answer."
    assert raised.value.id == "HostUnreachable"


def test_without_an_engine_a_call_says_where_it_works_and_how_to_try_the_plugin(
    no_backend: None, connection: RemoteConnection
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: libs.run_bash(connection, "true"),
        lambda: libs.run_powershell(connection, "exit"),
        lambda: libs.run_expect(connection, "exit"),
        lambda: libs.run_sync(connection, "/data"),
        lambda: libs.retrieve_credentials({}),
        lambda: libs.upgrade_password("secret"),
    ]
    for call in calls:
        with pytest.raises(LibraryUnavailableError) as raised:
            call()
        message = str(raised.value)
        assert "only works while an engine runs the plugin" in message
        assert "dlpx-remote discover --plugin" in message
        assert "secret" not in message
    assert issubclass(LibraryUnavailableError, PluginRuntimeError)
