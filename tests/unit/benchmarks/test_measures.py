"""The list of SSH measures, and the way to ask a contestant that is no peer at all."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from benchmarks.ssh.contestant import Contestant, ContestantFailed
from benchmarks.ssh.delay import delayed
from benchmarks.ssh.measures import TRIALS
from benchmarks.ssh.peers import PLACES


def test_names_of_measures_are_unique() -> None:
    names = [measure.name for trial in TRIALS for measure in trial.measures]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.measures[0].name)
def test_every_target_compares_with_a_contestant_of_its_trial(trial: object) -> None:
    (found,) = [known for known in TRIALS if known is trial]
    assert set(found.contestants) <= set(PLACES)
    for measure in found.measures:
        for target in measure.targets:
            assert target.kind == "value" or target.peer in found.contestants[1:]


def test_a_contestant_that_cannot_be_loaded_says_so() -> None:
    with Contestant("nobody") as contestant, pytest.raises(ContestantFailed, match="nobody"):
        contestant.ask({"measure": "sequential"}, 30)


def test_a_contestant_that_is_gone_has_failed() -> None:
    with Contestant("nobody") as contestant:
        contestant._process.kill()
        contestant._process.wait()
        with pytest.raises(ContestantFailed, match="It ended"):
            contestant.ask({"measure": "sequential"}, 30)


def test_the_long_way_takes_its_time_and_changes_nothing() -> None:
    sent = bytes(range(256)) * 1000
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def echo() -> None:
            end, _ = listener.accept()
            with end:
                while piece := end.recv(65536):
                    end.sendall(piece)

        thread = threading.Thread(target=echo)
        thread.start()
        with (
            delayed("127.0.0.1", listener.getsockname()[1], 0.2) as port,
            socket.create_connection(("127.0.0.1", port), timeout=10) as client,
        ):
            start = time.monotonic()
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            got = b""
            while piece := client.recv(65536):
                got += piece
            assert got == sent
            # A lower bound only: that the delay is there at all.
            assert time.monotonic() - start >= 0.2
        thread.join(10)
