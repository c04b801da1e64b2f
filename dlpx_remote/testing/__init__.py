"""For the tests of plugins: a throw-away host, a plugin's operations on it, and recordings of its answers.

The fixtures are in :mod:`dlpx_remote.testing.fixtures`, which pytest loads by itself wherever the package is
installed, and what they give is in :mod:`dlpx_remote.testing.operations`. This room calls the engine's Python
API only, like any program.
"""
