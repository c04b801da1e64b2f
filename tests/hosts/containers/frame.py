"""Reads our transport's frame for a WinRM host in a container, which has nothing of ours but the responder.

The same as ``dlpx_remote.transports.winrm.bootstrap.read_frame``; the tests compare the two.
"""

from __future__ import annotations

import base64
from typing import Any


def decode(_bootstrap: str, stdin: bytes) -> Any:
    """Script and variables of a frame; the bootstrap says the token before it runs the script."""
    try:
        from responder import Payload  # type: ignore[import-not-found]  # in the container
    except ImportError:
        from containers.winrm.responder import Payload

    token, *lines = stdin.split(b"\n")
    variables: dict[str, str] = {}
    script = b""
    for line in lines[: lines.index(b".")]:
        name, space, value = line.partition(b" ")
        if space:
            variables[name.decode()] = base64.b64decode(value).decode()
        else:
            script += base64.b64decode(line)
    return Payload(script.decode(), variables, token + b"\n")
