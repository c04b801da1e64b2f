"""One fork server for all tests of a module."""

from tests.unit.plugins.worker.conftest import workers

__all__ = ["workers"]
