"""Files over SFTP: to a name of its own beside the destination, checked, then renamed over it."""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import paramiko

from dlpx_remote.transports.base import TransferFailed
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.session import Session

STALLED = 60.0
"""Seconds without an answer after which a transfer is given up."""


class Transfer:
    """Copies files over one SFTP channel; made by :func:`opened`."""

    def __init__(self, client: paramiko.SFTPClient, where: dict[str, str]) -> None:
        self._client = client
        self._where = where

    def put(self, source: Path, destination: str, mode: int) -> None:
        """Local ``source`` to ``destination`` on the host.

        Raises:
            TransferFailed: the destination is as it was before.
        """
        folder, name = posixpath.split(destination)
        temporary = posixpath.join(folder, f".{name}.{secrets.token_hex(8)}.part")
        with self._failing(f"{source} could not be copied to {self._where['host']}:{destination}"):
            try:
                with source.open("rb") as local:
                    self._client.open(temporary, "wx").close()
                    self._client.chmod(temporary, 0o600)
                    sent = self._client.putfo(local, temporary, confirm=True).st_size
                    if sent != os.fstat(local.fileno()).st_size:
                        raise OSError(
                            f"the file has {os.fstat(local.fileno()).st_size} bytes, {sent} arrived"
                        )
                self._client.chmod(temporary, mode)
                self._client.posix_rename(temporary, destination)
            except BaseException:
                with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                    self._client.remove(temporary)
                raise

    def get(self, source: str, destination: Path) -> None:
        """``source`` on the host to local ``destination``.

        Raises:
            TransferFailed: the destination is as it was before.
        """
        with self._failing(f"{self._where['host']}:{source} could not be copied to {destination}"):
            descriptor, temporary = tempfile.mkstemp(prefix=f".{destination.name}.", dir=destination.parent)
            try:
                with os.fdopen(descriptor, "wb") as local:
                    size = self._client.stat(source).st_size
                    received = self._client.getfo(source, local)
                    if received != size:
                        raise OSError(f"the file has {size} bytes, {received} arrived")
                Path(temporary).replace(destination)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise TransferFailed(
                f"{what}: nothing came for {STALLED:g} s.", "Try again.", **self._where
            ) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            reason = (
                (error.strerror if isinstance(error, OSError) else None)
                or str(error)
                or "the connection ended"
            )
            raise TransferFailed(
                f"{what}: {reason}.", "Check both paths, permissions and free space.", **self._where
            ) from error


@contextlib.contextmanager
def opened(session: Session, channel: paramiko.Channel, where: dict[str, str]) -> Iterator[Transfer]:
    """SFTP on a fresh channel.

    Raises:
        TransferFailed: the host has no SFTP.
    """
    deadline = Deadline(STALLED)
    session.request(channel, "subsystem", "sftp")
    session.wait_for(channel.event, deadline)
    if channel.closed:
        raise TransferFailed(
            f"{where['host']} offers no SFTP.", "Enable the sftp subsystem in its sshd_config.", **where
        )
    channel.settimeout(STALLED)
    try:
        client = paramiko.SFTPClient(channel)
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise TransferFailed(
            f"SFTP on {where['host']} does not answer as it should: {error}.",
            "Check the sftp subsystem in its sshd_config, and that start-up files print nothing.",
            **where,
        ) from error
    try:
        yield Transfer(client, where)
    finally:
        client.close()
