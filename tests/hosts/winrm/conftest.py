"""A Windows host per test: over HTTP and HTTPS, with Basic and NTLM."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.faults.leftovers import wait_until_empty
from tests.hosts.winrm.windows import Windows, windows
from tests.secret_scan import secret

MATRIX = [("http", "basic"), ("http", "ntlm"), ("https", "basic"), ("https", "ntlm")]

WindowsFactory = Callable[..., AbstractContextManager[Windows]]


@pytest.fixture(scope="session")
def password() -> str:
    """Of the hosts' user."""
    return secret("password of a WinRM user")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_until_empty(lambda: [repr(thread) for thread in set(threading.enumerate()) - before])


@pytest.fixture
def windows_with(tmp_path: Path, password: str) -> WindowsFactory:
    """``windows_with(scheme="https")``: a host for a ``with`` block."""

    def make(**options: Any) -> AbstractContextManager[Windows]:
        return windows(tmp_path, password, **options)

    return make


@pytest.fixture(params=MATRIX, ids=["-".join(each) for each in MATRIX])
def every_windows(request: pytest.FixtureRequest, windows_with: WindowsFactory) -> Iterator[Windows]:
    """Each combination of scheme and login."""
    scheme, authentication = request.param
    with windows_with(scheme=scheme, authentication=authentication) as host:
        yield host


@pytest.fixture
def host(windows_with: WindowsFactory) -> Iterator[Windows]:
    """HTTP with NTLM: encrypted messages."""
    with windows_with() as host:
        yield host
