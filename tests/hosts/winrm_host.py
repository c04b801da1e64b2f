"""WinRM test hosts in containers: the image of ``containers/winrm``, with a user of the test's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from containers.winrm import build
from containers.winrm.responder import RemoteHost
from tests.secret_scan import secret

USER = "Administrator"


@dataclass(frozen=True, eq=False)
class WinRMContainer:
    """A running host.

    Attributes:
        container: its id.
        address: where it answers.
        http, https: its ports.
        authority: file with the certificate that clients have to trust.
        user, password: the way in.
        host: rules, troubles and counts.
    """

    container: str
    address: str
    http: int
    https: int
    authority: Path
    user: str
    password: str = field(repr=False)
    host: RemoteHost


@contextmanager
def winrm_container(
    image: str, directory: Path, *options: str, decoder: Path | None = None
) -> Iterator[WinRMContainer]:
    """A host for the ``with`` block.

    Args:
        image: name of the built image.
        directory: empty; the authority's certificate goes there.
        options: of the program, such as ``--certificate=expired``.
        decoder: a Python file whose function ``decode`` says how stdin is read; it may import ``responder``
            and the standard library.
    """
    # As for the SSH hosts: read when the library is imported.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    os.environ["TESTCONTAINERS_CONNECTION_MODE"] = "docker_host"
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    ready = LogMessageWaitStrategy(build.READY).with_poll_interval(timedelta(milliseconds=50))
    container = DockerContainer(image).waiting_for(ready.with_startup_timeout(timedelta(seconds=60)))
    for port in (build.HTTP, build.HTTPS, build.CONTROL):
        container.ports[f"{port}/tcp"] = ("127.0.0.1",)  # type: ignore[assignment]  # loopback only
    if decoder is not None:
        container.with_volume_mapping(str(decoder), "/opt/winrm/decoder.py", "ro")
        options = (*options, "--decoder=/opt/winrm/decoder.py:decode")
    if options:
        container.with_command(list(options))
    with container:
        host = RemoteHost(f"http://127.0.0.1:{container.get_exposed_port(build.CONTROL)}")
        password = secret("password of a WinRM user")
        host.add_user(USER, password)
        authority = directory / "authority.pem"
        authority.write_bytes(host.authority)
        yield WinRMContainer(
            container=container.get_container_id(),
            address="127.0.0.1",
            http=int(container.get_exposed_port(build.HTTP)),
            https=int(container.get_exposed_port(build.HTTPS)),
            authority=authority,
            user=USER,
            password=password,
            host=host,
        )
