"""A plugin as a careful author writes it: strictly typed.

The type checker reads this file with the rest of the tests. Each ``type: ignore`` marks a mistake that it
must find; where it no longer finds one, the unused comment is an error. The test itself only runs the right
half.
"""

from __future__ import annotations

from typing import Any

from dlpx.virtualization import libs
from dlpx.virtualization.common import PasswordCredentials, RemoteConnection
from dlpx.virtualization.platform import (
    DirectSource,
    Mount,
    MountSpecification,
    OwnershipSpecification,
    Plugin,
    Status,
    VirtualSource,
)
from tests.unit.sdk.backends import RecordingBackend

plugin = Plugin()


@plugin.discovery.repository()
def repositories(source_connection: RemoteConnection) -> list[str]:
    result = libs.run_bash(source_connection, "ls", variables={"A": "1"}, check=True)
    return result.stdout.splitlines()


@plugin.linked.pre_snapshot()
def copy(direct_source: DirectSource, repository: Any, source_config: Any) -> None:
    credentials = libs.retrieve_credentials(direct_source.parameters.credentials)
    if isinstance(credentials, PasswordCredentials):
        libs.run_bash(direct_source.connection, b"copy", {"PASSWORD": credentials.password})
    else:
        libs.run_bash(direct_source.connection, "copy", {"KEY": credentials.private_key})


@plugin.virtual.mount_specification()
def mounts(virtual_source: VirtualSource, repository: Any) -> MountSpecification:
    mount = Mount(virtual_source.connection.environment, "/mnt")
    return MountSpecification([mount, Mount("UNIX_HOST_ENVIRONMENT-1", "/b")], OwnershipSpecification(0, 0))


@plugin.virtual.status()
def status(virtual_source: VirtualSource, repository: Any, source_config: Any) -> Status:
    return Status.ACTIVE


@plugin.upgrade.repository("1.0")
def migrate(old_repository: dict[str, Any]) -> dict[str, Any]:
    return old_repository


def mistakes(connection: RemoteConnection) -> None:
    repositories("db1")  # type: ignore[arg-type]
    libs.run_bash(connection, 5)  # type: ignore[arg-type]
    libs.run_bash(connection, "ls", {"PORT": 5432})  # type: ignore[dict-item]
    libs.run_bash("db1", "ls")  # type: ignore[arg-type]
    plugin.virtual.start("1.0")  # type: ignore[arg-type]
    plugin.virtual.stop(mistakes)  # type: ignore[arg-type]
    plugin.upgrade.repository()  # type: ignore[call-arg]
    OwnershipSpecification("0", 0)  # type: ignore[arg-type]
    Mount(connection, "/mnt")  # type: ignore[arg-type]


def test_a_decorated_function_keeps_its_type_and_can_be_called_directly(
    backend: RecordingBackend, connection: RemoteConnection
) -> None:
    found: list[str] = repositories(connection)
    assert found == []
    active: Status = status(VirtualSource("g", connection, None, []), None, None)
    assert active is Status.ACTIVE
