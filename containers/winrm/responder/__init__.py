"""A Windows host as WinRM clients meet it: a WS-Management responder with scripted replies.

In a test's own process::

    from containers.winrm.responder import Reply, WinRMHost

    with WinRMHost({"Administrator": "secret words"}) as host:
        host.when(r"Get-Service", Reply(stdout="Running\\r\\n", exit_code=0))
        client = connect(host.url, "Administrator", "secret words")     # http://127.0.0.1:PORT/wsman
        ...
        assert host.counts.shells_open == 0                             # leaks are visible
        assert host.counts.connections == 1

**Rules** say what commands do. A rule's pattern is searched in the invocation's ``script``: what came over
stdin where the command reads stdin, else the script inside ``-EncodedCommand``, else the command line.
Whether a command reads stdin is seen from its bootstrap (``[Console]::In``, ``OpenStandardInput``,
``$input``) or command line (ending in ``-``), or is said by ``reads_stdin=``. Such a command gets its answer
when a Send with ``End="true"`` has come. What stdin holds is a client's own affair: give the host a
``decoder``, a function from the bootstrap and all of stdin to a :class:`Payload` (script, variables, and what
the bootstrap says before it runs the script), where it is not plain UTF-8 text.
Instead of a :class:`Reply`, a rule may have a function of the :class:`Invocation` that makes one, or a
:class:`Live` program that reads stdin while it writes (for a PowerShell that is kept open). Where no rule
matches and ``pwsh`` is on PATH, PowerShell commands really run.

**Troubles** go wrong on demand: ``host.trouble("fault", "Command", fault="operation-quota")``,
``host.trouble("cut-after", "Receive")``, ``host.trouble("unknown-scheme", "HTTP", times=0)``;
:data:`KINDS` lists them all, :class:`Trouble` says what the arguments mean.

**HTTPS**: ``authority = Authority()``, then ``WinRMHost(users, tls=authority.server())``; clients trust
``authority.certificate``. ``authority.server(expired=True)``, ``authority.server(["other.example"])`` and the
certificate of an authority that the client does not know are the bad ones; ``authority.client(user)`` with
``client_authority=authority.certificate`` lets a client in by its certificate. A :class:`Stranger` is a port
where something else answers.

**Kerberos**: ``Settings(keytab=...)`` takes tickets of the realm of ``KRB5_CONFIG``, which has to be there.

**Counts and conversations**: ``host.counts`` (:class:`Counts`), ``host.exchanges`` (:class:`Exchange`: the
plain envelopes of both directions, also where they were encrypted).

As a program: ``python -m responder --help`` in the folder above; :class:`RemoteHost` offers what a test needs
of it, through its control port. The folder's README says what is like a real Windows host and what is not.
"""

from .faults import BY_NAME as FAULTS
from .faults import Fault
from .host import WinRMHost
from .process import Ended, Process
from .programs import Decoder, Invocation, Live, Payload, Reply, Rule, plain_payload
from .records import Counts, Exchange
from .remote import ControlError, RemoteHost
from .server import Settings
from .shells import Quotas
from .strangers import Stranger
from .tickets import NoTickets
from .tls import Authority, Identity
from .troubles import KINDS, Trouble

__all__ = [
    "FAULTS",
    "KINDS",
    "Authority",
    "ControlError",
    "Counts",
    "Decoder",
    "Ended",
    "Exchange",
    "Fault",
    "Identity",
    "Invocation",
    "Live",
    "NoTickets",
    "Payload",
    "Process",
    "Quotas",
    "RemoteHost",
    "Reply",
    "Rule",
    "Settings",
    "Stranger",
    "Trouble",
    "WinRMHost",
    "plain_payload",
]
