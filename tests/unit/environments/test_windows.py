"""What may be said of a Windows environment, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlpx_remote.environments.model import (
    Authentication,
    EnvironmentSpec,
    HostType,
    SecretReference,
    WindowsAccess,
)
from dlpx_remote.environments.registry import Registry
from dlpx_remote.environments.validation import check_spec
from dlpx_remote.environments.windows import check_windows_directory, winrm_target
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.store import Store

PASSWORD = Authentication(password_from=SecretReference("env", "PASSWORD"))
CERTIFICATE = Authentication(certificate="client.pem", key="client.key")
SPEC = EnvironmentSpec(
    "win1", "win1.example.com", user="Administrator", host_type=HostType.WINDOWS, authentication=PASSWORD
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"user": r"EXAMPLE\anna"},
        {"user": "anna@example.com"},
        {"windows": WindowsAccess("http")},
        {"windows": WindowsAccess("http", "basic", unencrypted=True)},
        {"windows": WindowsAccess(login="kerberos"), "authentication": Authentication()},
        {"windows": WindowsAccess(login="certificate"), "authentication": CERTIFICATE},
        {"windows": WindowsAccess(ca_file="ca.pem")},
        {"host_key": "off"},
        {"fingerprint": "AB " * 19 + "AB"},
        {"fingerprint": "0" * 64},
        {"directory": "D:\\engine\\dlpx remote"},
    ],
)
def test_what_can_be(changes: dict[str, Any]) -> None:
    check_spec(replace(SPEC, **changes))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"user": None}, "needs a user"),
        ({"jump": ("me@gate",)}, "reached directly"),
        ({"host_key": "accept-new"}, "not a way to check the certificate"),
        ({"fingerprint": "SHA256:" + "a" * 43}, "not a certificate's thumbprint"),
        ({"privilege": "doas"}, "no ways to other privileges"),
        ({"directory": "/var/opt/engine"}, "not an absolute path on a Windows host"),
        ({"directory": "C:\\"}, "not an absolute path on a Windows host"),
        ({"directory": "C:\\a\\..\\b"}, "not an absolute path on a Windows host"),
        ({"authentication": Authentication()}, "NTLM needs a password"),
        ({"authentication": replace(PASSWORD, agent=True)}, "neither an SSH agent"),
        ({"authentication": replace(PASSWORD, key="id")}, "only where users log in by certificate"),
        ({"windows": WindowsAccess("http", "basic")}, "so that everybody on the network can read"),
        ({"windows": WindowsAccess("http", ca_file="ca.pem")}, "no meaning over HTTP"),
        ({"windows": WindowsAccess("http"), "fingerprint": "0" * 40}, "no meaning over HTTP"),
        ({"windows": WindowsAccess(login="certificate")}, "needs the client's certificate and its key"),
        ({"windows": WindowsAccess(login="digest")}, "not a way to log in over WinRM"),  # type: ignore[arg-type]
        ({"windows": WindowsAccess(scheme="ftp")}, "not a way to WinRM"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(InvalidRequest, match=part) as caught:
        check_spec(replace(SPEC, **changes))
    assert caught.value.action


@pytest.mark.parametrize(
    "changes", [{"windows": WindowsAccess()}, {"authentication": replace(PASSWORD, certificate="c.pem")}]
)
def test_what_is_about_windows_is_refused_elsewhere(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="about Windows hosts"):
        check_spec(replace(SPEC, host_type=HostType.UNIX, **changes))


@pytest.mark.parametrize("directory", ["C:\\a", "c:\\ProgramData\\dlpx-remote\\", "D:\\über uns"])
def test_a_windows_directory(directory: str) -> None:
    check_windows_directory(directory)


def test_everything_said_reaches_the_transport_and_the_state(tmp_path: Path) -> None:
    spec = replace(
        SPEC,
        port=15986,
        fingerprint="0" * 40,
        authentication=CERTIFICATE,
        windows=WindowsAccess(login="certificate", ca_file="ca.pem"),
    )
    store = Store(tmp_path)
    registry = Registry(store)
    environment = registry.add(spec)
    assert environment.reference.startswith("WINDOWS_HOST_ENVIRONMENT-")
    target = winrm_target(environment, environment.primary_user, None)
    with pytest.raises(InvalidRequest, match="neither an SSH agent"):
        registry.add_user("win1", "anna", Authentication(agent=True), False)
    store.close()
    here = Path.cwd()
    assert target.url == "https://win1.example.com:15986/wsman"
    assert (target.certificate, target.key) == (here / "client.pem", here / "client.key")
    assert (target.ca_file, target.thumbprint, target.verify) == (here / "ca.pem", "0" * 40, True)
    assert target.authentication == "certificate"
