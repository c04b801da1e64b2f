"""The "remote shell" that rsync is given: hands its stdin and stdout to the engine, and waits for the end.

rsync starts it as a program of its own, with the number of an inherited socket and the command that is to run
on the host. The engine runs that command over the connection that it has already; nothing here logs in
anywhere. Only the standard library.
"""

from __future__ import annotations

import json
import socket
import sys


def main() -> int:
    """Returns the exit code of the command on the host."""
    engine = socket.socket(fileno=int(sys.argv[1]))
    socket.send_fds(engine, [json.dumps(sys.argv[2:]).encode()], [0, 1])
    code = engine.recv(1)
    return code[0] if code else 255


if __name__ == "__main__":
    sys.exit(main())
