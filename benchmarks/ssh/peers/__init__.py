"""The contestants: an adapter each, ours among them (``transport``, ``engine``, ``plugin``).

An adapter uses its library the way the library's own documentation does.
"""

from __future__ import annotations

import importlib

from benchmarks.ssh.peers.base import Peer

PLACES = {
    "transport": ("benchmarks.ssh.peers.our_transport", "OurTransport"),
    "engine": ("benchmarks.ssh.peers.our_engine", "OurEngine"),
    "plugin": ("benchmarks.ssh.peers.our_plugin", "OurPlugin"),
    "asyncssh": ("benchmarks.ssh.peers.async_ssh", "AsyncSsh"),
    "parallel-ssh": ("benchmarks.ssh.peers.parallel_ssh", "ParallelSsh"),
    "fabric": ("benchmarks.ssh.peers.fabric_ssh", "FabricSsh"),
    "pyinfra": ("benchmarks.ssh.peers.pyinfra_ssh", "PyinfraSsh"),
    "paramiko": ("benchmarks.ssh.peers.plain_paramiko", "PlainParamiko"),
    "openssh": ("benchmarks.ssh.peers.open_ssh", "OpenSsh"),
}
"""Module and class by name; imported only in the contestant's own process."""

PATCHED = {"pyinfra"}
"""Those that need gevent's patches of the standard library, as their own command line makes them."""


def load(name: str) -> Peer:
    """Make the adapter; importing it imports its library."""
    if name in PATCHED:
        importlib.import_module("gevent.monkey").patch_all()
    module, adapter = PLACES[name]
    peer: Peer = getattr(importlib.import_module(module), adapter)()
    return peer
