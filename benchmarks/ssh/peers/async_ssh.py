"""asyncssh: one event loop, ``conn.run``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import asyncssh

from benchmarks.ssh.hosts import Host
from benchmarks.ssh.peers.base import Peer, check_exit, check_size, middle, processor_share, resident_bytes

FLEET_WIDTH = 100
"""Connections being opened at once."""

_T = TypeVar("_T")


class AsyncSsh(Peer):
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def sequential(self, host: Host, commands: int, warm_up: int) -> dict[str, float]:
        async def work() -> dict[str, float]:
            async with await _open(host) as connection:
                for _ in range(warm_up):
                    await _run(connection)
                return {"seconds": middle([await _clocked(_run(connection)) for _ in range(commands)])}

        return self._do(work())

    def first_result(self, host: Host, times: int) -> dict[str, float]:
        async def once() -> float:
            start = time.perf_counter()
            connection = await _open(host)
            try:
                await _run(connection)
                return time.perf_counter() - start
            finally:
                await _close(connection)

        async def work() -> dict[str, float]:
            await once()
            return {"seconds": middle([await once() for _ in range(times)])}

        return self._do(work())

    def in_flight(self, host: Host, commands: int, width: int) -> dict[str, float]:
        async def work() -> dict[str, float]:
            async with await _open(host) as connection:
                await _map(lambda _: _run(connection), range(width), width)
                return {"seconds": await _clocked(_map(lambda _: _run(connection), range(commands), width))}

        return self._do(work())

    def fleet(self, hosts: Sequence[Host]) -> dict[str, float]:
        async def work() -> dict[str, float]:
            await _close(await _open_and_run(hosts[0]))
            before = resident_bytes()
            start = time.perf_counter()
            connections = await _map(_open_and_run, hosts, FLEET_WIDTH)
            seconds = time.perf_counter() - start
            memory = (resident_bytes() - before) / len(hosts)
            await asyncio.gather(*[_close(connection) for connection in connections])
            return {"seconds": seconds, "bytes": memory}

        return self._do(work())

    def idle(self, hosts: Sequence[Host], seconds: float) -> dict[str, float]:
        connections = self._do(_map(_open_and_run, hosts, FLEET_WIDTH))
        share = processor_share(lambda: self._do(asyncio.sleep(seconds)))

        async def close() -> None:
            await asyncio.gather(*[_close(connection) for connection in connections])

        self._do(close())
        return {"share": share}

    def stdout(self, host: Host, source: str, size: int) -> dict[str, float]:
        async def work() -> dict[str, float]:
            async with await _open(host) as connection:
                await _run(connection)
                start = time.perf_counter()
                result = await connection.run(f"cat {source}", encoding=None)
                seconds = time.perf_counter() - start
                check_exit(result.exit_status, "cat")
                check_size(len(result.stdout), size)
                return {"seconds": seconds}

        return self._do(work())

    def put(self, host: Host, source: str, destination: str) -> dict[str, float]:
        return self._transfer(host, lambda sftp: sftp.put(source, destination))

    def get(self, host: Host, source: str, destination: str) -> dict[str, float]:
        return self._transfer(host, lambda sftp: sftp.get(source, destination))

    def _transfer(self, host: Host, copy: Callable[[Any], Awaitable[None]]) -> dict[str, float]:
        async def all_of_it(connection: Any) -> None:
            async with connection.start_sftp_client() as sftp:
                await copy(sftp)

        async def work() -> dict[str, float]:
            async with await _open(host) as connection:
                await _run(connection)
                return {"seconds": await _clocked(all_of_it(connection))}

        return self._do(work())

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._loop.run_until_complete(work)


async def _open(host: Host) -> Any:
    return await asyncssh.connect(
        host.host,
        host.port,
        username=host.user,
        client_keys=[host.key],
        known_hosts=host.known_hosts,
        agent_path=None,
        config=None,
    )


async def _run(connection: Any) -> None:
    result = await connection.run("true")
    check_exit(result.exit_status, "true")


async def _open_and_run(host: Host) -> Any:
    connection = await _open(host)
    await _run(connection)
    return connection


async def _close(connection: Any) -> None:
    connection.close()
    await connection.wait_closed()


async def _clocked(work: Awaitable[object]) -> float:
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def _map(work: Callable[[Any], Awaitable[Any]], items: Sequence[Any], width: int) -> list[Any]:
    """``work`` on every item, ``width`` at once, each worker taking the next when it is free."""
    results: list[Any] = []
    waiting = iter(items)

    async def take() -> None:
        for item in waiting:
            results.append(await work(item))

    await asyncio.gather(*[take() for _ in range(width)])
    return results
