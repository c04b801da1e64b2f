"""What ends a demo, apart from the hosts that it makes."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from dlpx_remote.demo import full
from dlpx_remote.demo.tour import Choices, Run, Say, Terminated, play


class _Deaf:
    """What a signal's handler raises while this is being finalized is lost."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        os.kill(os.getpid(), self._number)
        for _ in range(1000):  # the handler runs between two of these
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_request_to_end_is_not_lost_where_python_cannot_pass_it_on(
    monkeypatch: pytest.MonkeyPatch, number: int, error: type[BaseException]
) -> None:
    directories: list[Path] = []

    def tour(directory: Path, _install: bool, run: Run, _say: Say) -> int:
        directories.append(directory)
        deaf = _Deaf(number)
        del deaf
        return run(["discover"])

    def run(line: Sequence[str]) -> int:
        raise AssertionError(f"it went on with {line}")

    monkeypatch.setattr(full, "play", tour)
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(error):
        play(Choices(full=True), run, lambda _line: None)
    assert not directories[0].exists()
    assert handlers == [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
