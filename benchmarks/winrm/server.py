"""The host that the WinRM benchmark measures against, a process of its own.

Reads a JSON line from stdin (the user's password, and where certificates go), says its ports and then, for
every further line, its counts. Each script is answered at once, so that what is measured is the conversation.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from benchmarks.winrm import USER
from containers.winrm.responder import (
    Authority,
    Invocation,
    Payload,
    Quotas,
    Reply,
    Rule,
    Settings,
    WinRMHost,
)
from dlpx_remote.transports.winrm.bootstrap import read_frame


def _decode(_bootstrap: str, stdin: bytes) -> Payload:
    return Payload(read_frame(stdin)[1].decode())


def _answer(invocation: Invocation) -> Reply:
    """What `hostname` writes; after the token of our bootstrap where the script came over stdin."""
    token = read_frame(invocation.stdin)[0] + "\n" if invocation.stdin else ""
    return Reply(stdout=f"{token}WINHOST\r\n")


def main() -> None:
    """Serve over HTTP and HTTPS until stdin ends."""
    asked = json.loads(sys.stdin.readline())
    authority = Authority()
    authority.write(Path(asked["directory"]) / "authority.pem")
    with ExitStack() as stack:
        hosts = {
            scheme: stack.enter_context(
                WinRMHost(
                    {USER: asked["password"]},
                    rules=[Rule(r"^\s*hostname\s*$", _answer)],
                    decoder=_decode,
                    tls=authority.server() if scheme == "https" else None,
                    # pywinrm's Session leaves nothing open, but keeps its operations counted.
                    quotas=Quotas(shells=1000, operations=1_000_000),
                    settings=Settings(records=0),
                    real_powershell=False,
                )
            )
            for scheme in ("http", "https")
        }
        _say({scheme: host.port for scheme, host in hosts.items()})
        for line in sys.stdin:
            _say(asdict(hosts[line.strip()].counts))


def _say(record: object) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
