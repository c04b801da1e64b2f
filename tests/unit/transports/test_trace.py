"""What a trace tells, what it costs where nobody listens, and the figures that come from it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dlpx_remote.redaction import MASK, REDACTOR
from dlpx_remote.transports.base import ConnectFailed
from dlpx_remote.transports.ssh import trace as trace_module
from dlpx_remote.transports.ssh.figures import Figures
from dlpx_remote.transports.ssh.trace import Stage, TraceEvent, Tracer

ADDRESS = "joe@db1:22"


@pytest.fixture
def quiet() -> Iterator[None]:
    """Nobody reads the debug log."""
    logger = logging.getLogger("dlpx_remote")
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)


def test_a_stage_reports_its_start_and_its_end_with_what_it_found() -> None:
    events: list[TraceEvent] = []
    with Tracer(events.append).stage("run", ADDRESS) as detail:
        detail.text, detail.sent, detail.received = "exit code 0", 12, 34
    assert [(event.stage, event.state, event.address) for event in events] == [
        ("run", "started", ADDRESS),
        ("run", "complete", ADDRESS),
    ]
    assert (events[1].detail, events[1].sent, events[1].received) == ("exit code 0", 12, 34)
    assert events[1].duration > 0


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ConnectFailed("It did not answer.", "Look at it."), "It did not answer."),
        (ValueError("odd"), "odd"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_a_stage_that_is_left_by_an_error_failed(error: BaseException, detail: str) -> None:
    events: list[TraceEvent] = []
    with pytest.raises(type(error)), Tracer(events.append).stage("auth", ADDRESS):
        raise error
    assert (events[-1].state, events[-1].detail) == ("failed", detail)


def test_no_secret_is_in_an_event(caplog: pytest.LogCaptureFixture) -> None:
    events: list[TraceEvent] = []
    with REDACTOR.variables(["hunter2-x"]), caplog.at_level(logging.DEBUG):
        with Tracer(events.append).stage("run", ADDRESS) as detail:
            detail.text = "it is hunter2-x"
        with pytest.raises(ValueError, match="hunter2-x"), Tracer(events.append).stage("run", ADDRESS):
            raise ValueError("hunter2-x is wrong")
    assert [event.detail for event in events if event.detail] == [f"it is {MASK}", f"{MASK} is wrong"]
    assert "hunter2-x" not in caplog.text


def test_a_hook_that_fails_is_told_of_once_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_event: TraceEvent) -> None:
        raise RuntimeError("the hook is broken")

    tracer = Tracer(fails)
    for _ in range(3):
        with tracer.stage("run", ADDRESS):
            done = True
    assert done
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        "A trace hook failed at the stage 'run'; going on."
    ]
    assert "the hook is broken" in caplog.text


def test_the_log_has_one_line_a_stage_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG, "dlpx_remote.transports.ssh"),
        Tracer(None).stage("run", ADDRESS) as detail,
    ):
        detail.text, detail.sent = "exit code 3", 9
    [record] = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.getMessage().startswith(f"{ADDRESS} run complete in 0.")
    assert record.getMessage().endswith(", 9 bytes sent, 0 received: exit code 3")


@pytest.mark.usefixtures("quiet")
def test_nothing_is_made_or_formatted_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("somebody did work for nobody")

    for name in ("TraceEvent", "redact", "in_words", "_Stage"):
        monkeypatch.setattr(trace_module, name, never)
    with Tracer(None).stage("run", ADDRESS) as detail:
        detail.text = "not read"
    with pytest.raises(ValueError, match="passes"), Tracer(None).stage("run", ADDRESS):
        raise ValueError("passes")


def _tell(figures: Figures, stage: Stage, seconds: float, *, ok: bool = True, **bytes_moved: int) -> None:
    figures(TraceEvent(stage, "started", ADDRESS))
    figures(TraceEvent(stage, "complete" if ok else "failed", ADDRESS, "", seconds, **bytes_moved))


def test_figures_add_up_what_happened_at_each_address() -> None:
    figures = Figures()
    for stage, seconds in (("resolve", 0.001), ("connect", 0.002), ("handshake", 0.01), ("auth", 0.02)):
        _tell(figures, stage, seconds)  # type: ignore[arg-type]
    _tell(figures, "run", 0.5, sent=1500, received=10)
    _tell(figures, "run", 0.25, ok=False)
    _tell(figures, "transfer", 1.0, received=3_000_000)
    figures(TraceEvent("auth", "failed", "a@gate:22", "refused", 0.1))
    gate, host = figures.take()
    assert (host.connections, host.of("run").complete, host.of("run").failed) == (1, 1, 1)
    assert (host.sent, host.received) == (1500, 3_000_010)
    assert host.connect_seconds == pytest.approx(0.033)
    assert host.in_words() == (
        "joe@db1:22: connected in 0.033 s (login 0.020 s), 2 commands in 0.750 s (1 failed), "
        "1 transfer in 1.000 s, 1.5 kB sent, 3.0 MB received"
    )
    assert gate.in_words() == "a@gate:22: not connected in 0.100 s (login 0.100 s)"
    assert figures.take() == []


def test_figures_of_many_threads_lose_nothing() -> None:
    figures = Figures()
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda _: _tell(figures, "run", 0.001, sent=1), range(400)):
            pass
    [host] = figures.take()
    assert (host.of("run").complete, host.sent) == (400, 400)
