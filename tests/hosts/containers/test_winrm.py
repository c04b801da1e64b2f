"""The WinRM test host in a container is the one that runs in a test's own process."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import requests
from winrm.protocol import Protocol

from containers.winrm import build
from containers.winrm.responder import Reply
from dlpx_remote.transports.base import Deadlines
from dlpx_remote.transports.winrm import WinrmTarget, connect
from dlpx_remote.transports.winrm.bootstrap import frame, read_frame
from tests.hosts.containers.frame import decode
from tests.hosts.docker_engine import DockerEngine
from tests.hosts.winrm_host import WinRMContainer, winrm_container


@pytest.fixture(scope="module")
def image(engine_of_docker: DockerEngine) -> str:
    return build.build()


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[WinRMContainer]:
    with tempfile.TemporaryDirectory() as directory, winrm_container(image, Path(directory)) as container:
        yield container


@pytest.fixture(scope="module")
def framed(image: str) -> Iterator[WinRMContainer]:
    """A host that reads what our transport sends."""
    with (
        tempfile.TemporaryDirectory() as directory,
        winrm_container(image, Path(directory), decoder=Path(__file__).with_name("frame.py")) as container,
    ):
        yield container


def protocol(container: WinRMContainer, scheme: str) -> Protocol:
    """A client; ``ssl`` for HTTPS."""
    secure = scheme in {"ssl", "ntlm over https"}
    options: dict[str, Any] = {
        "transport": "ntlm" if scheme.startswith("ntlm") else scheme,
        "username": container.user,
        "password": container.password,
        "ca_trust_path": str(container.authority),
        "proxy": None,
    }
    port = container.https if secure else container.http
    return Protocol(f"{'https' if secure else 'http'}://{container.address}:{port}/wsman", **options)


@pytest.mark.parametrize("scheme", ["basic", "ntlm", "ssl", "ntlm over https"])
def test_a_client_runs_a_command(container: WinRMContainer, scheme: str) -> None:
    client = protocol(container, scheme)
    container.host.when("^Get-Disk$", Reply(stdout="C:", stderr=b"\xff", exit_code=4), times=1)
    before = container.host.counts
    shell = client.open_shell(codepage=65001)
    command = client.run_command(shell, "powershell", ["-"])
    client.send_command_input(shell, command, "Get-Disk", end=True)
    assert client.get_command_output(shell, command) == (b"C:", b"\xff", 4)
    client.cleanup_command(shell, command)
    client.close_shell(shell)
    after = container.host.counts
    assert after.commands - before.commands == 1
    assert (after.connections - before.connections, after.shells_open, after.commands_open) == (1, 0, 0)
    assert b"<rsp:ExitCode>4</rsp:ExitCode>" in container.host.exchanges[-3].reply


def test_troubles_happen(container: WinRMContainer) -> None:
    container.host.trouble("status", "HTTP", status=503)
    reply = requests.post(f"http://{container.address}:{container.http}/wsman", data=b"x", timeout=5)
    assert reply.status_code == 503


def test_the_certificate_can_be_a_bad_one(image: str, tmp_path: Path) -> None:
    with (
        winrm_container(image, tmp_path, "--certificate=expired") as container,
        pytest.raises(requests.exceptions.SSLError, match="certificate has expired"),
    ):
        protocol(container, "ssl").open_shell()


def test_stdin_is_read_by_the_decoder_that_is_given(image: str, tmp_path: Path) -> None:
    decoder = tmp_path / "backwards.py"
    decoder.write_text(
        "from responder import Payload\n\n\ndef decode(bootstrap, stdin):\n"
        "    return Payload(stdin.decode()[::-1])\n"
    )
    decoder.chmod(0o644)
    with winrm_container(image, tmp_path, decoder=decoder) as container:
        container.host.when("^Get-Disk$", Reply(exit_code=3))
        client = protocol(container, "basic")
        shell = client.open_shell()
        command = client.run_command(shell, "powershell", ["-"])
        client.send_command_input(shell, command, "ksiD-teG", end=True)
        assert client.get_command_output(shell, command)[2] == 3


@pytest.mark.parametrize(("scheme", "login"), [("http", "ntlm"), ("https", "basic"), ("https", "ntlm")])
def test_our_transport_runs_scripts_in_a_container(
    framed: WinRMContainer, scheme: Literal["http", "https"], login: Literal["basic", "ntlm"]
) -> None:
    framed.host.when("^Get-Disk$", Reply(stdout="Ä:\r\n", stderr="no", exit_code=5))
    target = WinrmTarget(
        host=framed.address,
        user=framed.user,
        scheme=scheme,
        port=framed.https if scheme == "https" else framed.http,
        authentication=login,
        password=lambda: framed.password,
        ca_file=framed.authority if scheme == "https" else None,
    )
    patient = Deadlines(connect=90)  # the machine may be building an image meanwhile
    with connect(target, deadlines=patient) as connection:
        result = connection.run("Get-Disk", interpreter="powershell", variables={"A": "b"})
    assert (result.stdout, result.stderr, result.exit_code) == (b"\xc3\x84:\r\n", b"no", 5)
    counts = framed.host.counts
    assert (counts.shells_open, counts.commands_open) == (0, 0)


def test_the_decoder_for_containers_reads_frames_as_the_transport_does() -> None:
    sent = frame("token", b"'x'\n" * 50_000, {"A": b"b", "C": b""})
    token, script, variables = read_frame(sent)
    decoded = decode("", sent)
    assert (decoded.script.encode(), decoded.said) == (script, f"{token}\n".encode())
    assert decoded.variables == {name: value.decode() for name, value in variables.items()}


def test_it_ends_at_once_when_asked(image: str, tmp_path: Path) -> None:
    with winrm_container(image, tmp_path) as container:
        subprocess.run(["docker", "stop", "--time", "30", container.container], check=True)
        code = subprocess.run(
            ["docker", "inspect", "--format", "{{.State.ExitCode}}", container.container],
            capture_output=True,
            text=True,
            check=True,
        )
    assert code.stdout.strip() == "0"


def test_the_image_is_reused(image: str) -> None:
    lines: list[str] = []
    assert build.build(lines.append) == image
    assert lines == []
