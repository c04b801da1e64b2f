from __future__ import annotations

from collections.abc import Iterator

import pytest

from dlpx.virtualization.common import RemoteConnection, RemoteEnvironment, RemoteHost, RemoteUser
from dlpx.virtualization.libs.backend import set_backend
from tests.unit.sdk.backends import RecordingBackend


@pytest.fixture
def connection() -> RemoteConnection:
    host = RemoteHost("db1", "UNIX_HOST-1", "/opt/toolkit/bin", "/opt/toolkit/scratch")
    environment = RemoteEnvironment("db1", "UNIX_HOST_ENVIRONMENT-1", host)
    return RemoteConnection(environment, RemoteUser("postgres", "HOST_USER-1"))


@pytest.fixture
def backend() -> Iterator[RecordingBackend]:
    recording = RecordingBackend()
    previous = set_backend(recording)
    yield recording
    set_backend(previous)


@pytest.fixture
def no_backend() -> Iterator[None]:
    previous = set_backend(None)
    yield
    set_backend(previous)
