"""What the pages name and the machine to throw away has not: a Windows host, Vault, a webhook's receiver.

    python -m tests.docs.servers      # in that machine; prints "ready" and serves until it is ended

The Windows host is the responder of ``containers/winrm``; Vault answers as its documentation says; the
receiver takes everything. Their certificates are of an authority that the machine trusts from then on.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from containers.winrm.responder import Authority, Invocation, Reply, WinRMHost
from containers.winrm.responder.tls import context as tls_context
from tests.docs.given import WORD
from tests.docs.markdown import ROOT
from tests.hosts.winrm.windows import begun, decode

_TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")
_ANSWERS = ROOT / "examples" / "windows_files" / "tests" / "windows_answers.json"
_HOME = "C:\\Users\\Administrator"
_FACTS = (
    "operating_system=Windows Server 2022 Datacenter",
    "kernel=Windows 10.0.20348",
    "architecture=AMD64",
    "hostname=WIN1",
    "user=WIN1\\Administrator",
    f"home={_HOME}",
    "shell=PowerShell 5.1.20348.2849",
)


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Vault(_Receiver):
    def do_GET(self) -> None:
        found = {"data": {"data": {"password": WORD}, "metadata": {"version": 2}}}
        allowed = self.headers.get("X-Vault-Token") == WORD
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(found if allowed else {"errors": ["permission denied"]}).encode())


def _directories(invocation: Invocation) -> Reply:
    root = invocation.variables.get("DLPX_ROOT") or f"{_HOME}\\.dlpx-remote"
    return Reply(stdout="\r\n".join([root, root, f"{root}\\scratch", ""]))


def main() -> None:
    """Serve until the process is ended."""
    authority = Authority("Authority of the pages")
    with _TRUSTED.open("ab") as trusted:
        trusted.write(authority.certificate)
    windows = WinRMHost(
        {"Administrator": WORD},
        decoder=decode,
        tls=authority.server(["win1.example.com"]),
        plain_too=True,
        address="0.0.0.0",
        port=5986,
        plain_port=5985,
    )
    windows.when("", begun(Reply(stdout="")))
    for one in json.loads(_ANSWERS.read_text("utf-8")):
        windows.when(one["pattern"], begun(Reply(stdout=one["stdout"])))
    windows.when("Get-Service", begun(Reply(stdout="Running  WinRM\r\n")))
    windows.when("CurrentVersion", begun(Reply(stdout="\r\n".join([*_FACTS, ""]))))
    windows.when("function Make", begun(_directories))
    receiver = ThreadingHTTPServer(("0.0.0.0", 443), _Receiver)
    identity = authority.server(["ops.example.com"])
    receiver.socket = tls_context(identity, None).wrap_socket(receiver.socket, server_side=True)
    vault = ThreadingHTTPServer(("0.0.0.0", 8200), _Vault)
    for server in (receiver, vault):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with windows:
        print("ready", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
