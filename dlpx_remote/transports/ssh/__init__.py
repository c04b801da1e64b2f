"""SSH: :func:`connect` opens a connection to one account on one host.

Nothing here knows of environments, plugins or jobs.
"""

from dlpx_remote.transports.ssh.connection import SshConnection, connect
from dlpx_remote.transports.ssh.target import HostKeyPolicy, SshTarget
from dlpx_remote.transports.ssh.trace import Trace, TraceEvent

__all__ = ["HostKeyPolicy", "SshConnection", "SshTarget", "Trace", "TraceEvent", "connect"]
