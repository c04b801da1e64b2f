"""A directory of the engine's machine, served over NFS, mounted on a host, and owned by the right user there.

Knows nothing of plugins, workflows or how the directory came to be.
"""
