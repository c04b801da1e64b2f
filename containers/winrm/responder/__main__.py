"""The host as a program: HTTP, HTTPS and a control port, until it is told to end."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from .control import Control
from .host import WinRMHost
from .programs import plain_payload
from .scenario import BadScenario, Scenario, decoder, load
from .tls import LOOPBACK, Authority

READY = "host is ready"


def main(arguments: list[str] | None = None) -> int:
    """Run the host; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        scenario = load(options.scenario) if options.scenario else Scenario()
        decode = decoder(options.decoder) if options.decoder else plain_payload
    except BadScenario as error:
        print(error, file=sys.stderr)
        return 2
    authority = Authority()
    issuer = Authority("Another authority") if options.certificate == "other-authority" else authority
    names = ["windows.example"] if options.certificate == "wrong-name" else options.name or list(LOOPBACK)
    identity = issuer.server(
        names, expired=options.certificate == "expired", not_yet=options.certificate == "not-yet"
    )
    host = WinRMHost(
        scenario.users,
        rules=scenario.rules,
        decoder=decode,
        quotas=scenario.quotas,
        settings=scenario.settings,
        tls=identity,
        client_authority=authority.certificate,
        plain_too=True,
        address=options.address,
        port=options.https,
        plain_port=options.http,
    )
    for trouble in scenario.troubles:
        host.troubles.add(trouble)
    about = {
        "authority": authority.certificate.decode(),
        "thumbprint": identity.thumbprint,
        "fingerprint": identity.fingerprint,
    }
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    with host, Control(host, about, options.address, options.control) as control:
        print(f"HTTP on {host.plain_port}, HTTPS on {host.port}, control on {control.port}")
        print(READY, flush=True)
        end.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="responder",
        description="A Windows host as WinRM clients meet it, for tests. Users, rules and troubles come from "
        "a scenario file or through the control port. Do not let anyone but tests reach it.",
    )
    parser.add_argument("--address", default="127.0.0.1", help="to listen on (default: %(default)s)")
    parser.add_argument("--http", type=int, default=5985, metavar="PORT", help="0 for a free one")
    parser.add_argument("--https", type=int, default=5986, metavar="PORT", help="0 for a free one")
    parser.add_argument("--control", type=int, default=5980, metavar="PORT", help="0 for a free one")
    parser.add_argument(
        "--scenario", type=Path, metavar="FILE", help="JSON: users, rules, troubles, quotas, settings"
    )
    parser.add_argument(
        "--decoder", metavar="FILE.py:FUNCTION", help="how stdin is read; the default is UTF-8 text"
    )
    parser.add_argument(
        "--certificate",
        default="good",
        choices=["good", "expired", "not-yet", "wrong-name", "other-authority"],
        help="of the HTTPS port",
    )
    parser.add_argument(
        "--name",
        action="append",
        metavar="NAME",
        help="a name or address that the certificate is good for (default: loopback)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
