"""Library calls of a plugin, carried out on connections."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from dlpx_remote.errors import InvalidRequest, NotFound
from dlpx_remote.operations import Dispatcher, LibraryCalls, SuppliedCredentials
from dlpx_remote.plugins.worker import (
    LibraryCall,
    LibraryRefusal,
    Limits,
    PluginFailed,
    PluginUserError,
    Workers,
)
from dlpx_remote.redaction import redact
from dlpx_remote.transports import base
from dlpx_remote.transports.base import CommandResult, ShellFacts, TransportError
from dlpx_remote.transports.privilege import Privilege, PrivilegeRefused
from tests.unit.plugins.worker.support import CONNECTION, HEAD, discovering, make_plugin

Interpreter = Literal["bash", "expect", "powershell"]
CANARY = "correct-horse-canary"


class Host:
    """Connections to a host that notes what it was asked and answers with a function."""

    address = "ann@north.example:22"
    is_open = True

    def __init__(
        self,
        answer: Callable[[str], CommandResult | Exception] = lambda _: CommandResult(0, b"", b""),
        tools: Mapping[str, str] | None = None,
    ) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answer = answer
        self._tools = tools or {}

    def connection(self, environment_reference: str, user_reference: str) -> Host:
        if environment_reference.endswith("-404"):
            raise NotFound(f"There is no environment {environment_reference}.", "See `env list`.")
        self.asked.append({"environment": environment_reference, "user": user_reference})
        return self

    def privilege(self, environment_reference: str, user_reference: str) -> Privilege:
        return Privilege("doas")

    def facts(self) -> ShellFacts:
        return ShellFacts("ann", tools=self._tools)

    def run(self, script: str | bytes, **options: Any) -> CommandResult:
        self.asked.append({"script": script, **options})
        answer = self._answer(script.decode() if isinstance(script, bytes) else script)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def put(self, source: Path, destination: str, **options: Any) -> Any: ...
    def get(self, source: str, destination: Path, **options: Any) -> Any: ...

    def sync(self, source_directory: str, destination: Path, **options: Any) -> Any:
        self.asked.append({"from": source_directory, "to": destination, **options})
        answer = self._answer(source_directory)
        if isinstance(answer, Exception):
            raise answer

    def close(self) -> None: ...


def script(
    function: str = "run_bash", environment: str = "UNIX_HOST_ENVIRONMENT-1", **options: Any
) -> LibraryCall:
    variables = options.pop("variables", {})
    return LibraryCall(function, "virtual.start", environment, "HOST_USER-1", b"script", variables, options)


@pytest.mark.parametrize(
    ("function", "environment", "interpreter"),
    [
        ("run_bash", "UNIX_HOST_ENVIRONMENT-1", "bash"),
        ("run_expect", "UNIX_HOST_ENVIRONMENT-1", "expect"),
        ("run_powershell", "WINDOWS_HOST_ENVIRONMENT-1", "powershell"),
    ],
)
def test_a_script_runs_on_the_connection_that_its_references_name(
    function: str, environment: str, interpreter: Interpreter
) -> None:
    assert interpreter in get_args(Interpreter)
    host = Host(lambda _: CommandResult(7, b"\xffout", b"err"), {"jq": "/usr/bin/jq", "rsync": "/bin/rsync"})
    reply = LibraryCalls(host, Limits(library=999)).handle(
        script(function, environment, variables={"A": b"\x80"}, use_login_shell=True), 12.5
    )
    assert (reply.data, reply.bodies) == ({"exit_code": 7}, (b"\xffout", b"err"))
    where, what = host.asked
    assert where == {"environment": environment, "user": "HOST_USER-1"}
    jq = {} if interpreter == "powershell" else {"DLPX_BIN_JQ": "/usr/bin/jq"}
    assert what == {
        "script": b"script",
        "variables": {"A": b"\x80"} | jq,
        "login_shell": True,
        "interpreter": interpreter,
        "timeout": 12.5,
        "abort": None,
        "max_output": 999,
    }


def test_without_jq_there_is_no_variable_and_a_plugins_own_value_is_kept() -> None:
    for tools, given, expected in (
        ({}, {}, {}),
        ({"jq": "/bin/jq"}, {"DLPX_BIN_JQ": b"mine"}, {"DLPX_BIN_JQ": b"mine"}),
    ):
        host = Host(tools=tools)
        LibraryCalls(host).handle(script(variables=given), 1)
        assert host.asked[1]["variables"] == expected


@pytest.mark.parametrize(
    ("function", "environment", "advice"),
    [
        ("run_powershell", "UNIX_HOST_ENVIRONMENT-1", "which is a Unix host; use libs.run_bash there"),
        ("run_bash", "WINDOWS_HOST_ENVIRONMENT-1", "which is a Windows host; use libs.run_powershell there"),
        (
            "run_expect",
            "WINDOWS_HOST_ENVIRONMENT-1",
            "which is a Windows host; use libs.run_powershell there",
        ),
    ],
)
def test_a_script_for_the_other_kind_of_host_is_refused(function: str, environment: str, advice: str) -> None:
    host = Host()
    with pytest.raises(LibraryRefusal, match=advice) as caught:
        LibraryCalls(host).handle(script(function, environment), 1)
    assert (caught.value.kind, caught.value.id) == ("failed", "wrong_host_type")
    assert host.asked == []


IDS = {
    "InvalidCommand": "invalid_command",
    "NotSent": "session_refused",
    "ConnectFailed": "host_unreachable",
    "NameNotResolved": "host_unreachable",
    "ConnectionRefused": "host_unreachable",
    "ConnectTimeout": "host_unreachable",
    "HandshakeFailed": "host_unreachable",
    "HostKeyError": "host_key_refused",
    "HostKeyUnknown": "host_key_refused",
    "HostKeyChanged": "host_key_refused",
    "HostKeyRevoked": "host_key_refused",
    "AuthenticationFailed": "authentication_failed",
    "CredentialUnusable": "authentication_failed",
    "LoginLost": "host_unreachable",
    "SessionRefused": "session_refused",
    "ShellUnavailable": "shell_unavailable",
    "HomeDirectoryMissing": "home_missing",
    "CommandTimeout": "timeout",
    "CommandAborted": "timeout",
    "OutputTooLarge": "too_large",
    "CommandEnded": "timeout",
    "OutcomeUnknown": "outcome_unknown",
    "OutputLost": "output_lost",
    "TransferFailed": "transport_failed",
    "SyncFailed": "sync_failed",
}


def errors_of_transports(root: type[TransportError] = TransportError) -> list[type[TransportError]]:
    own = [kind for kind in root.__subclasses__() if kind.__module__ == base.__name__]
    return own + [below for kind in own for below in errors_of_transports(kind)]


@pytest.mark.parametrize("kind", errors_of_transports())
def test_every_failure_of_a_transport_has_a_stable_id(kind: type[TransportError]) -> None:
    calls = LibraryCalls(Host(lambda _: kind(f"It broke with {CANARY}.", "Mend it.")))
    with pytest.raises(LibraryRefusal) as caught:
        calls.handle(script(variables={"P": CANARY.encode()}), 1)
    assert caught.value.id == IDS[kind.__name__]
    assert caught.value.message == "libs.run_bash failed: It broke with ********. Mend it."


def test_an_unknown_environment_is_a_library_error() -> None:
    with pytest.raises(
        LibraryRefusal, match=r"There is no environment UNIX_HOST_ENVIRONMENT-404\. See"
    ) as caught:
        LibraryCalls(Host()).handle(script(environment="UNIX_HOST_ENVIRONMENT-404"), 1)
    assert caught.value.id == "connection_unknown"


def test_input_beyond_the_limit_is_refused_variables_included() -> None:
    with pytest.raises(
        LibraryRefusal, match=r"input of libs\.run_bash has 1007 bytes; at most 1000 bytes"
    ) as caught:
        LibraryCalls(Host(), Limits(library=1000)).handle(script(variables={"A": bytes(1000)}), 1)
    assert caught.value.id == "too_large"


def test_variables_are_masked_until_the_worker_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    secret = "only-in-this-test"
    calls = LibraryCalls(Host())
    with caplog.at_level(logging.DEBUG, "dlpx_remote.library"):
        for _ in range(2):
            calls.handle(script(variables={"A": secret.encode()}), 1)
    assert "run_bash on ann@north.example:22: script" in caplog.text
    assert redact(f"a {secret} b") == "a ******** b"
    calls.close()
    assert redact(f"a {secret} b") == f"a {secret} b"
    calls.close()


def test_a_command_is_logged_without_the_values_of_its_variables(caplog: pytest.LogCaptureFixture) -> None:
    call = LibraryCall("run_bash", "o", "UNIX_1", "U", f"echo {CANARY}".encode(), {"A": CANARY.encode()})
    with caplog.at_level(logging.DEBUG, "dlpx_remote.library"):
        LibraryCalls(Host()).handle(call, 1)
    assert "echo ********" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    ("function", "operation", "kind", "id", "message"),
    [
        ("run_sync", "linked.pre_snapshot", "failed", "no_data_set", "needs the data set of a dSource"),
        (
            "upgrade_password",
            "virtual.start",
            "mistake",
            "not_a_migration",
            "in migrations only, not in virtual",
        ),
        (
            "upgrade_password",
            "upgrade.snapshot",
            "failed",
            "no_credential_store",
            "keeps no secrets of its own",
        ),
        ("retrieve_credentials", "virtual.start", "mistake", "unknown_supplier", "it has handed out none"),
        ("format_disk", "virtual.start", "mistake", "unknown_function", "does not know libs.format_disk"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    function: str, operation: str, kind: str, id: str, message: str
) -> None:
    with pytest.raises(LibraryRefusal, match=message) as caught:
        LibraryCalls(Host()).handle(LibraryCall(function, operation, body=b"{}"), 1)
    assert (caught.value.kind, caught.value.id) == (kind, id)


def sync_call(environment: str = "UNIX_HOST_ENVIRONMENT-1") -> LibraryCall:
    options = {
        "source_directory": "/data",
        "rsync_user": "postgres",
        "exclude_paths": ["*.log"],
        "sym_links_to_follow": ["tablespace"],
    }
    return LibraryCall("run_sync", "linked.pre_snapshot", environment, "HOST_USER-1", options=options)


def test_a_directory_is_copied_into_the_data_set_by_the_environments_privilege(tmp_path: Path) -> None:
    host = Host()
    LibraryCalls(host, data_set=tmp_path).handle(sync_call(), 12.5)
    assert host.asked == [
        {"environment": "UNIX_HOST_ENVIRONMENT-1", "user": "HOST_USER-1"},
        {
            "from": "/data",
            "to": tmp_path,
            "rsync_user": "postgres",
            "exclude_paths": ("*.log",),
            "sym_links_to_follow": ("tablespace",),
            "privilege": Privilege("doas"),
            "timeout": 12.5,
            "abort": None,
        },
    ]


@pytest.mark.parametrize(
    ("error", "id"),
    [
        (base.SyncFailed("Not whole.", "Try again."), "sync_failed"),
        (base.ConnectionRefused("Refused."), "host_unreachable"),
        (PrivilegeRefused("not allowed", "Not allowed.", "Add a line."), "privilege_refused"),
        (InvalidRequest("No such path can be."), "invalid_path"),
    ],
)
def test_a_copy_that_fails_is_told_by_a_stable_id(error: Exception, id: str, tmp_path: Path) -> None:
    with pytest.raises(LibraryRefusal, match=r"libs\.run_sync failed") as caught:
        LibraryCalls(Host(lambda _: error), data_set=tmp_path).handle(sync_call(), 1)
    assert (caught.value.kind, caught.value.id) == ("failed", id)


def test_there_is_nothing_to_copy_from_a_windows_host_or_an_unknown_one(tmp_path: Path) -> None:
    calls = LibraryCalls(Host(), data_set=tmp_path)
    for environment, id in (
        ("WINDOWS_HOST_ENVIRONMENT-1", "wrong_host_type"),
        ("UNIX_HOST_ENVIRONMENT-404", "connection_unknown"),
    ):
        with pytest.raises(LibraryRefusal) as caught:
            calls.handle(sync_call(environment), 1)
        assert caught.value.id == id


def test_credentials_are_retrieved_for_an_unmodified_supplier_only() -> None:
    calls = LibraryCalls(Host())
    password = SuppliedCredentials("ann", password=CANARY + "-1")
    keys = SuppliedCredentials("bob", private_key=CANARY + "-2", public_key="public")
    assert CANARY not in repr((password, keys))
    calls.hand_out({"type": "P", "n": 1}, password)
    calls.hand_out({"type": "K"}, keys)

    def retrieve(supplier: object) -> tuple[Mapping[str, Any], tuple[bytes, ...]]:
        call = LibraryCall("retrieve_credentials", "virtual.start", body=json.dumps(supplier).encode())
        reply = calls.handle(call, 1)
        return reply.data, reply.bodies

    assert retrieve({"n": 1, "type": "P"}) == ({"kind": "password"}, (b"ann", f"{CANARY}-1".encode()))
    assert retrieve({"type": "K"}) == ({"kind": "key_pair"}, (b"bob", f"{CANARY}-2".encode(), b"public"))
    assert redact(f"{CANARY}-1 {CANARY}-2") == "******** ********"
    for modified in ({"type": "P", "n": 2}, {"type": "P"}, {}, None):
        with pytest.raises(LibraryRefusal, match=r"in this job, unmodified\.$"):
            retrieve(modified)


PLUGIN = (
    HEAD
    + """
from dlpx.virtualization.libs.exceptions import LibraryError, PluginScriptError
from dlpx.virtualization.common.exceptions import PluginRuntimeError
def tried(call):
    try:
        return repr(call())
    except (LibraryError, PluginRuntimeError) as error:
        return f"{type(error).__name__} {getattr(error, 'id', '')}: {error}"
@plugin.discovery.repository()
def discover(source_connection):
    c = source_connection
    calls = [
        lambda: libs.run_bash(c, "echo", {"A": "b"}),
        lambda: libs.run_expect(c, "spawn"),
        lambda: libs.run_powershell(c, "dir"),
        lambda: libs.run_sync(c, "/data", "root", ["a"], ["b"]),
        lambda: libs.retrieve_credentials({"mine": 1}),
        lambda: libs.retrieve_credentials({"mine": {1, 2}}),
        lambda: libs.upgrade_password("p"),
        lambda: libs.run_bash(c, "down"),
    ]
    return [RepositoryDefinition(name=tried(call)) for call in calls]
"""
)


def test_a_plugin_sees_results_and_errors_as_the_sdk_has_them(workers: Workers, tmp_path: Path) -> None:
    def answer(text: str) -> CommandResult | Exception:
        return base.ConnectionRefused("Refused.") if text == "down" else CommandResult(0, text.encode(), b"")

    with Dispatcher(workers, make_plugin(tmp_path, PLUGIN), LibraryCalls(Host(answer)), job="job") as made:
        found = [one["name"] for one in made.run("discovery.repository", source_connection=CONNECTION)]
    assert "stdout='echo'" in found[0]
    assert "stdout='spawn'" in found[1]
    assert found[2].startswith("LibraryError wrong_host_type: libs.run_powershell was called for UNIX_")
    assert found[3].startswith("LibraryError no_data_set: libs.run_sync needs the data set")
    assert found[4].startswith(
        "PluginRuntimeError : libs.retrieve_credentials takes only a credentials supplier"
    )
    assert found[5].startswith(
        "PluginRuntimeError : libs.retrieve_credentials takes a credentials supplier as"
    )
    assert found[6].startswith("PluginRuntimeError : libs.upgrade_password can be called in migrations only")
    assert found[7] == "LibraryError host_unreachable: libs.run_bash failed: Refused."


def test_a_failed_script_that_nobody_catches_fails_the_operation_with_its_output(
    workers: Workers, tmp_path: Path
) -> None:
    plugin = discovering(tmp_path, "libs.run_bash(source_connection, 'x', check=True)")
    library = LibraryCalls(Host(lambda _: CommandResult(3, b"half done", b"no such disk")))
    with Dispatcher(workers, plugin, library, job="job") as made, pytest.raises(PluginFailed) as caught:
        made.run("discovery.repository", source_connection=CONNECTION)
    assert "PluginScriptError" in caught.value.message
    assert "exit code 3" in caught.value.message
    assert "no such disk" in caught.value.output


def test_variables_of_an_earlier_script_are_masked_in_a_later_error(workers: Workers, tmp_path: Path) -> None:
    body = f"""
        libs.run_bash(source_connection, "set", {{"PASSWORD": "{CANARY}"}})
        shown = libs.run_bash(source_connection, "show").stdout
        print(shown)
        raise UserError(shown, shown, shown)
    """
    library = LibraryCalls(Host(lambda _: CommandResult(0, f"it is {CANARY}".encode(), b"")))
    lines: list[str] = []
    with (
        Dispatcher(
            workers,
            discovering(tmp_path, body),
            library,
            job="job",
            on_log=lambda line: lines.append(line.message),
        ) as made,
        pytest.raises(PluginUserError) as caught,
    ):
        made.run("discovery.repository", source_connection=CONNECTION)
    error = caught.value
    assert {error.message, error.action, error.output, *lines} == {"it is ********"}
