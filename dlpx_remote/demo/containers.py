"""Throw-away hosts as containers of the image in ``containers/ssh``."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dlpx_remote.demo.host import (
    MAKE_TREES,
    DemoHost,
    DemoHosts,
    DemoUnavailable,
    Keeping,
    fingerprint,
    make_key,
)
from dlpx_remote.demo.share import image_recipe, shared

_USER = "engine"
_HOME = "HOME=/home/engine"
_PORT = "127.0.0.1::22"  # on whatever port of loopback is free
_START_LIMIT = 60.0
_ANSWER_LIMIT = 5.0

Say = Callable[[str], None]


def engine_answers() -> bool:
    """Whether a Docker engine on this machine answers within five seconds."""
    if shutil.which("docker") is None:
        return False
    if not os.environ.get("DOCKER_HOST", "unix://").startswith("unix://"):
        return False  # ports published on another machine's loopback are of no use here
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            check=False,
            timeout=_ANSWER_LIMIT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def containers(number: int, directory: Path, keep: Keeping, say: Say) -> Iterator[DemoHosts]:
    """Start ``number`` containers, and remove them at the end unless they are kept.

    Args:
        number: how many hosts.
        directory: an empty directory for the client's key.
        keep: asked at the end.
        say: told what takes long.

    Raises:
        DemoUnavailable: the image cannot be built, or a container does not come up.
    """
    if not (shared("containers/ssh") / "build.py").is_file():
        raise DemoUnavailable("The recipe of the SSH image is missing from this installation.")
    recipe = image_recipe()
    key = directory / "client_key"
    public = make_key(key)
    # Named before they exist, so that whatever interrupts the start, the end knows what to remove.
    network = f"dlpx-remote-demo-{secrets.token_hex(4)}"
    names = [f"{network}-{position}" for position in range(1, number + 1)]
    try:
        try:
            image = recipe.build(say)
            _docker("network", "create", network)
            for name in names:
                _docker("run", "--detach", "--name", name, "--network", network, "--publish", _PORT, image)
            hosts = []
            for position, container in enumerate(names, start=1):
                _wait_for(container, recipe.READY)
                recipe.admit(container, {}, {_USER: public})
                _docker("exec", "--user", _USER, "--env", _HOME, container, "sh", "-c", MAKE_TREES)
                hosts.append(
                    DemoHost(
                        f"demo{position}",
                        _USER,
                        "127.0.0.1",
                        _published_port(container),
                        fingerprint(recipe.host_key(container)),
                    )
                )
        except recipe.ImageError as error:
            raise DemoUnavailable(f"The containers cannot be used: {error}") from error
        what = f"{number} containers" if number > 1 else "a container"
        yield DemoHosts(
            f"{what} of the image {image}, with PostgreSQL and sshd",
            tuple(hosts),
            key,
            (f"docker rm --force --volumes {' '.join(names)}", f"docker network rm {network}"),
        )
    finally:
        if not keep:
            _docker("rm", "--force", "--volumes", *names, check=False)
            _docker("network", "rm", network, check=False)


def _wait_for(container: str, line: str) -> None:
    until = time.monotonic() + _START_LIMIT
    while line not in _docker("logs", container):
        if _docker("inspect", "--format", "{{.State.Running}}", container) != "true":
            raise DemoUnavailable(
                "A container ended while it was starting.", "See its own words below.", _logs(container)
            )
        if time.monotonic() > until:
            raise DemoUnavailable(
                f"A container was not ready within {_START_LIMIT:.0f} s.",
                "See its own words below.",
                _logs(container),
            )
        time.sleep(0.1)


def _logs(container: str) -> str:
    done = subprocess.run(
        ["docker", "logs", "--tail", "20", container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def _published_port(container: str) -> int:
    return int(_docker("port", container, "22/tcp").splitlines()[0].rpartition(":")[2])


def _docker(*arguments: str, check: bool = True) -> str:
    # A session of its own: Ctrl-C at the terminal must not cut off what Docker is doing.
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, start_new_session=True
    )
    if check and done.returncode:
        raise DemoUnavailable(
            f"docker {arguments[0]} failed.", "See Docker's own words below.", done.stderr.strip()
        )
    return done.stdout.strip()
