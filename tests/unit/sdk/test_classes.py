from __future__ import annotations

from typing import Any

import pytest

from dlpx.virtualization.common import (
    Credentials,
    KeyPairCredentials,
    PasswordCredentials,
    RemoteConnection,
    RemoteEnvironment,
    RemoteHost,
    RemoteUser,
)
from dlpx.virtualization.common.exceptions import IncorrectTypeError, PluginRuntimeError
from dlpx.virtualization.platform import (
    DirectSource,
    MigrationType,
    Mount,
    MountSpecification,
    OwenershipSpecification,
    OwnershipSpecification,
    StagedSource,
    Status,
    VirtualSource,
)
from dlpx.virtualization.platform.exceptions import IncorrectReferenceFormatError

HOST = RemoteHost("db1", "UNIX_HOST-1", "/opt/bin", "/opt/scratch")
ENVIRONMENT = RemoteEnvironment("db1", "UNIX_HOST_ENVIRONMENT-1", HOST)
USER = RemoteUser("postgres", "HOST_USER-1")
CONNECTION = RemoteConnection(ENVIRONMENT, USER)


def test_a_connection_holds_environment_host_and_user() -> None:
    connection = RemoteConnection(environment=ENVIRONMENT, user=USER)
    assert connection.environment.name == "db1"
    assert connection.environment.reference == "UNIX_HOST_ENVIRONMENT-1"
    assert connection.environment.host.binary_path == "/opt/bin"
    assert connection.environment.host.scratch_path == "/opt/scratch"
    assert (connection.user.name, connection.user.reference) == ("postgres", "HOST_USER-1")


def test_a_plugin_may_build_a_connection_and_use_it_as_a_key() -> None:
    host = RemoteHost("db1", "UNIX_HOST-1", "/opt/bin", "/opt/scratch")
    environment = RemoteEnvironment("db1", "UNIX_HOST_ENVIRONMENT-1", host)
    built = RemoteConnection(environment, RemoteUser("postgres", "HOST_USER-1"))
    assert built == CONNECTION
    assert {built: "seen"}[CONNECTION] == "seen"


WRONG_PARAMETERS: list[tuple[Any, tuple[Any, ...], str, str, str]] = [
    (RemoteConnection, ("db1", USER), "environment", "str", "RemoteEnvironment"),
    (RemoteConnection, (ENVIRONMENT, None), "user", "NoneType", "RemoteUser"),
    (RemoteEnvironment, (1, "r", HOST), "name", "int", "str"),
    (RemoteEnvironment, ("n", 1, HOST), "reference", "int", "str"),
    (RemoteEnvironment, ("n", "r", "h"), "host", "str", "RemoteHost"),
    (RemoteHost, (1, "r", "b", "s"), "name", "int", "str"),
    (RemoteHost, ("n", 1, "b", "s"), "reference", "int", "str"),
    (RemoteHost, ("n", "r", 1, "s"), "binary_path", "int", "str"),
    (RemoteHost, ("n", "r", "b", 1), "scratch_path", "int", "str"),
    (RemoteUser, (1, "r"), "name", "int", "str"),
    (RemoteUser, ("n", 1), "reference", "int", "str"),
    (Credentials, (1,), "username", "int", "str"),
    (PasswordCredentials, ("u", 1), "password", "int", "str"),
    (PasswordCredentials, (1, "p"), "username", "int", "str"),
    (KeyPairCredentials, ("u", 1, "p"), "private_key", "int", "str"),
    (KeyPairCredentials, ("u", "p", None), "public_key", "NoneType", "str"),
    (Mount, (5, "/m"), "remote_environment", "int", "RemoteEnvironment or str"),
    (Mount, (ENVIRONMENT, 5), "mount_path", "int", "str"),
    (Mount, (ENVIRONMENT, "/m", 5), "shared_path", "int", "str if defined"),
    (OwnershipSpecification, ("0", 0), "uid", "str", "int"),
    (OwnershipSpecification, (True, 0), "uid", "bool", "int"),
    (OwnershipSpecification, (0, False), "gid", "bool", "int"),
    (OwnershipSpecification, (0, None), "gid", "NoneType", "int"),
    (OwnershipSpecification, (-1, 0), "uid", "-1", "0 or more"),
    (OwnershipSpecification, (0, -5), "gid", "-5", "0 or more"),
    (MountSpecification, ("/m",), "mounts", "str", "list of dlpx.virtualization.platform.Mount"),
    (MountSpecification, ([1, "a"],), "mounts", "list of [int, str]", "list of"),
    (MountSpecification, ([], (1, 2)), "ownership_specification", "tuple", "Specification if defined"),
    (DirectSource, ("g", "c", None), "connection", "str", "RemoteConnection"),
    (VirtualSource, ("g", "c", None, []), "connection", "str", "RemoteConnection"),
    (StagedSource, ("g", "c", None, None, CONNECTION), "source_connection", "str", "RemoteConnection"),
    (StagedSource, ("g", CONNECTION, None, None, "c"), "staged_connection", "str", "RemoteConnection"),
]


@pytest.mark.parametrize(("owner", "arguments", "parameter", "found", "expected"), WRONG_PARAMETERS)
def test_a_parameter_of_the_wrong_type_is_named(
    owner: Any, arguments: tuple[Any, ...], parameter: str, found: str, expected: str
) -> None:
    with pytest.raises(IncorrectTypeError) as raised:
        owner(*arguments)
    for fact in (owner.__name__, f"'{parameter}'", found, expected):
        assert fact in raised.value.message
    assert isinstance(raised.value, PluginRuntimeError)


def test_credentials_do_not_show_their_secrets() -> None:
    shown = f"{PasswordCredentials('scott', 'tiger')} {KeyPairCredentials('scott', 'private', 'public')!r}"
    assert "scott" in shown
    for secret in ("tiger", "private", "public"):
        assert secret not in shown


def test_credentials_hold_what_was_given() -> None:
    assert PasswordCredentials(username="u", password="p").password == "p"
    pair = KeyPairCredentials(username="u", private_key="k", public_key="")
    assert (pair.username, pair.private_key, pair.public_key) == ("u", "k", "")
    assert isinstance(pair, Credentials)


def test_a_mount_takes_an_environment_or_its_reference() -> None:
    assert Mount(ENVIRONMENT, "/mnt/data").remote_environment is ENVIRONMENT
    by_reference = Mount("WINDOWS_HOST_ENVIRONMENT-12", "C:\\data", shared_path="logs")
    assert by_reference.remote_environment.reference == "WINDOWS_HOST_ENVIRONMENT-12"
    assert (by_reference.mount_path, by_reference.shared_path) == ("C:\\data", "logs")
    assert Mount(ENVIRONMENT, "/mnt/data").shared_path is None


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "db1",
        "UNIX_HOST_ENVIRONMENT-",
        "UNIX_HOST_ENVIRONMENT-1\n",
        "unix_host_environment-1",
        "UNIX_HOST-1",
    ],
)
def test_a_mount_refuses_a_string_that_is_no_environment_reference(reference: str) -> None:
    with pytest.raises(IncorrectReferenceFormatError, match="UNIX_HOST_ENVIRONMENT-<number>"):
        Mount(reference, "/mnt/data")


def test_a_mount_specification_keeps_mounts_and_ownership() -> None:
    mount = Mount(ENVIRONMENT, "/mnt/data")
    ownership = OwnershipSpecification(uid=0, gid=1000)
    specification = MountSpecification([mount], ownership)
    assert specification.mounts == [mount]
    assert specification.ownership_specification is ownership
    assert MountSpecification(mounts=[mount]).ownership_specification is None


def test_the_misspelt_name_of_the_ownership_specification_is_the_same_class() -> None:
    assert OwenershipSpecification is OwnershipSpecification


def test_sources_hold_what_was_given() -> None:
    mount = Mount(ENVIRONMENT, "/mnt/data")
    direct = DirectSource(guid="g-1", connection=CONNECTION, parameters="p")
    assert (direct.guid, direct.connection, direct.parameters) == ("g-1", CONNECTION, "p")
    staged = StagedSource(
        guid="g-2",
        source_connection=CONNECTION,
        parameters="p",
        mount=mount,
        staged_connection=CONNECTION,
    )
    assert (staged.mount, staged.mounts, staged.staged_connection) == (mount, None, CONNECTION)
    virtual = VirtualSource(guid="g-3", connection=CONNECTION, parameters="p", mounts=[mount])
    assert virtual.mounts == [mount]


def test_plugins_may_hang_attributes_of_their_own_on_values() -> None:
    values: list[Any] = [
        CONNECTION,
        ENVIRONMENT,
        DirectSource("g", CONNECTION, None),
        StagedSource("g", CONNECTION, None, None, CONNECTION),
        VirtualSource("g", CONNECTION, None, []),
        Mount(ENVIRONMENT, "/m"),
    ]
    for value in values:
        value.my_own = "kept"
        assert value.my_own == "kept"


def test_the_operators_parameters_stay_out_of_a_sources_repr() -> None:
    sources = [
        DirectSource("g", CONNECTION, {"password": "hunter2"}),
        StagedSource("g", CONNECTION, {"password": "hunter2"}, None, CONNECTION),
        VirtualSource("g", CONNECTION, {"password": "hunter2"}, []),
    ]
    for source in sources:
        assert "hunter2" not in repr(source)
        assert "UNIX_HOST_ENVIRONMENT-1" in repr(source)


def test_status_and_migration_type_have_two_values_each() -> None:
    assert [status.name for status in Status] == ["ACTIVE", "INACTIVE"]
    assert [kind.name for kind in MigrationType] == ["PLATFORM", "LUA"]
