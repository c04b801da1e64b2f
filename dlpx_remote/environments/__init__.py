"""Hosts as they are configured and known: the registry, secrets by reference, open connections, ``env test``.

This room knows the state and the transports. It knows nothing of plugins, operations or workflows.
"""
