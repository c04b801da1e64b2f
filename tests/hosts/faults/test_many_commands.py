"""Very many commands from many threads on one connection: each gives its own result, none fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from dlpx_remote.transports.ssh import connect
from tests.hosts.faults.conftest import Reach, ServerFactory

THREADS = 32


def test_every_one_of_very_many_commands_gives_its_own_result(
    server_with: ServerFactory, reach: Reach, pytestconfig: pytest.Config
) -> None:
    count = 10_000 if pytestconfig.option.all_faults else 1_000
    script = 'printf "out %s" "$NUMBER"; printf "err %s" "$NUMBER" >&2; exit $((NUMBER % 7))'
    server = server_with()
    with connect(reach(server)) as connection:

        def run(number: int) -> str:
            result = connection.run(script, variables={"NUMBER": str(number)})
            return f"{result.exit_code} {result.stdout_text} {result.stderr_text}"

        with ThreadPoolExecutor(THREADS) as pool:
            said = list(pool.map(run, range(count)))
    expected = [f"{number % 7} out {number} err {number}" for number in range(count)]
    assert [pair for pair in zip(said, expected, strict=True) if pair[0] != pair[1]] == []


def test_channels_that_are_given_up_do_not_stand_in_the_way_of_others(
    server_with: ServerFactory, reach: Reach
) -> None:
    """A child that holds the streams costs its channel; giving it up and sending take the same locks."""
    script = "sleep 0.2 & exit $((NUMBER % 7))"
    with connect(reach(server_with())) as connection, ThreadPoolExecutor(THREADS) as pool:
        codes = pool.map(lambda n: connection.run(script, variables={"NUMBER": str(n)}).exit_code, range(400))
        assert list(codes) == [number % 7 for number in range(400)]
