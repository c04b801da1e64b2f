"""Data sets, snapshots and clones on the engine's machine. Knows nothing of hosts, plugins or workflows."""
