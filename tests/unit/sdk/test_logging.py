from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from dlpx.virtualization.libs import PlatformHandler
from tests.unit.sdk.backends import RecordingBackend


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    handler = PlatformHandler()
    logger = logging.getLogger("a_plugin.discovery")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.removeHandler(handler)


def test_a_record_reaches_the_backend_with_level_and_logger(
    backend: RecordingBackend, logger: logging.Logger
) -> None:
    logger.debug("found %d clusters", 3)
    logger.warning("one is down")
    assert backend.calls == [
        ("log", logging.DEBUG, "a_plugin.discovery", "found 3 clusters"),
        ("log", logging.WARNING, "a_plugin.discovery", "one is down"),
    ]


def test_an_exception_is_logged_with_its_traceback(backend: RecordingBackend, logger: logging.Logger) -> None:
    try:
        raise ValueError("no port")
    except ValueError:
        logger.exception("cannot read postgresql.conf")
    message = backend.calls[0][3]
    assert message.startswith("cannot read postgresql.conf\nTraceback")
    assert "ValueError: no port" in message


def test_the_plugins_own_formatter_is_used(backend: RecordingBackend) -> None:
    handler = PlatformHandler()
    handler.setFormatter(logging.Formatter("[%(levelname)s] %(message)s"))
    handler.handle(logging.LogRecord("x", logging.INFO, "f.py", 1, "hello", (), None))
    assert backend.calls == [("log", logging.INFO, "x", "[INFO] hello")]


def test_logging_without_an_engine_is_harmless(
    no_backend: None, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.error("nobody listens")
    assert capsys.readouterr().err == ""


def test_a_backend_that_fails_does_not_fail_the_plugin(
    backend: RecordingBackend, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.error = OSError("the engine has gone")
    logger.error("hello")
    assert "the engine has gone" in capsys.readouterr().err
