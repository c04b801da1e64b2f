"""The SSH agent: found where the environment or ``IdentityAgent`` says, and asked within the deadline."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, cast

import paramiko
from paramiko.agent import AgentSSH
from paramiko.pkey import PublicBlob

from dlpx_remote.transports.base import CredentialUnusable
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.target import Hop


class Agent:
    """The running SSH agent, asked only when its turn comes."""

    def __init__(self) -> None:
        self._agent: _Client | None = None

    def keys(self, hop: Hop, deadline: Deadline, *, required: bool) -> tuple[paramiko.AgentKey, ...]:
        """Its keys; a certificate that it holds is offered as one.

        Args:
            hop: the host, whose configuration may name another agent.
            deadline: for the agent's answers.
            required: where there is no key, raise; else it does not matter.

        Raises:
            CredentialUnusable: there is no agent, or no key in it.
        """
        place = agent_place(hop.identity_agent)
        problem = ""
        if not place:
            problem = "There is no SSH agent: SSH_AUTH_SOCK is not set."
            if hop.identity_agent is not None:
                problem = f"There is no SSH agent: IdentityAgent is {hop.identity_agent} for {hop.name}."
        else:
            try:
                self._agent = _Client(place, deadline.remaining())
                keys = self._agent.get_keys()
                if keys:
                    return keys
                problem = f"The SSH agent at {place} holds no key."
            except (paramiko.SSHException, OSError) as error:
                problem = f"The SSH agent at {place} does not answer: {error}."
        if required:
            raise CredentialUnusable(
                problem, "Start an agent and add the key with ssh-add.", host=hop.host, user=hop.user
            )
        return ()

    def close(self) -> None:
        """End the connection to it. Idempotent."""
        if self._agent is not None:
            self._agent.close()


class _Client(AgentSSH):
    """A connection to one agent; paramiko's own knows only ``SSH_AUTH_SOCK``, and waits for ever."""

    def __init__(self, place: str, seconds: float | None) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(seconds)
            connection.connect(place)
            cast(Any, self)._connect(connection)
        except BaseException:
            connection.close()
            raise
        for key in self.get_keys():
            if "-cert-v01@" in key.name:
                cast(Any, key).public_blob = PublicBlob(type_=key.name, blob=key.blob)

    def close(self) -> None:
        cast(Any, self)._close()


def agent_place(configured: str | None) -> str:
    """Where the agent listens; empty for none (ssh_config(5), ``IdentityAgent``)."""
    if configured is None or configured == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    if configured.lower() == "none":
        return ""
    if configured.startswith("$"):
        return os.environ.get(configured.strip("${}"), "")
    return str(Path(configured).expanduser())
