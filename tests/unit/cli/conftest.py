"""A command line run inside the test, and an engine that only plays back what the test gave it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from dlpx_remote import engine as real
from dlpx_remote.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str
    raw_out: bytes


CommandLine = Callable[..., Outcome]


@pytest.fixture
def command(capfdbinary: pytest.CaptureFixture[bytes]) -> CommandLine:
    """``command("env", "list")`` runs it as the console script would."""

    def run(*words: str) -> Outcome:
        capfdbinary.readouterr()
        code = main(words)
        out, err = capfdbinary.readouterr()
        return Outcome(int(code), out.decode(errors="replace"), err.decode(errors="replace"), out)

    return run


@dataclass
class StubEngine:
    """Stands in for the engine where a test is about words and exit codes only; it reaches no host.

    Attributes:
        answers: by method; an exception is raised, anything else returned.
        calls: every call with its arguments.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, tuple[Any, ...], Mapping[str, Any]]] = field(default_factory=list)
    opened_with: list[tuple[Any, ...]] = field(default_factory=list)

    def open(self, *arguments: Any, **_options: Any) -> Self:
        self.opened_with.append(arguments)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.calls.append(("close", (), {}))

    @property
    def jobs(self) -> Self:
        """Its methods are the stub's, too."""
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments, options))
            answer = self.answers.get(name)
            if isinstance(answer, BaseException):
                raise answer
            return answer(*arguments, **options) if callable(answer) else answer

        return call

    def called(self, name: str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments of the only call of ``name``."""
        [found] = [(arguments, options) for what, arguments, options in self.calls if what == name]
        return found


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubEngine:
    """The command line gets this in place of the engine."""
    engine = StubEngine()
    monkeypatch.setattr(real, "Engine", engine.open)
    return engine


def discovered(name: str, change: real.Change = "new") -> real.DiscoveredObject:
    """A source config."""
    return real.DiscoveredObject(name, {"name": name}, {"name": name}, change)


def repository(
    name: str, configs: Sequence[real.DiscoveredObject] = (), change: real.Change = "new"
) -> real.DiscoveredRepository:
    """A repository with its source configs."""
    return real.DiscoveredRepository(
        name, {"path": name}, {"path": name}, change, source_configs=tuple(configs)
    )


def environment(name: str = "db1", **changes: Any) -> real.Environment:
    """An environment with one user."""
    values: dict[str, Any] = {
        "reference": "UNIX_HOST_ENVIRONMENT-1",
        "host_reference": "UNIX_HOST-1",
        "name": name,
        "host": "db1.example.com",
        "port": None,
        "host_type": real.HostType.UNIX,
        "users": (real.EnvironmentUser("HOST_USER-1", "oracle", real.Authentication(), True),),
    }
    return real.Environment(**{**values, **changes})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory for a test's files."""
    place = tmp_path / "files"
    place.mkdir()
    return place
