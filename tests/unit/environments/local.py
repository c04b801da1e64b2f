"""A connection that runs scripts on this machine, with faults to order: to test without a network."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dlpx_remote.transports.abort import Abort
from dlpx_remote.transports.base import (
    MAX_OUTPUT,
    CommandResult,
    FileCopied,
    OutputCallback,
    ShellFacts,
    SyncResult,
)


class LocalConnection:
    """Runs bash here, with ``home`` as home directory. ``error`` is raised instead of running, when set."""

    def __init__(self, home: Path, facts: ShellFacts | None = None) -> None:
        self.home = home
        self.error: Exception | None = None
        self.is_open = True
        self.closed = 0
        self.scripts: list[str] = []
        self._facts = facts or ShellFacts("anna", 1000, 1000, str(home), "/bin/bash")

    @property
    def address(self) -> str:
        return "anna@here:22"

    def facts(self) -> ShellFacts:
        if self.error is not None:
            raise self.error
        return self._facts

    def run(
        self,
        script: str | bytes,
        *,
        variables: Mapping[str, str | bytes] | None = None,
        login_shell: bool = False,
        interpreter: Literal["bash", "expect", "powershell"] = "bash",
        timeout: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: OutputCallback | None = None,
        abort: Abort | None = None,
    ) -> CommandResult:
        if self.error is not None:
            raise self.error
        text = script if isinstance(script, str) else script.decode()
        self.scripts.append(text)
        done = subprocess.run(
            ["bash"],
            input=text.encode(),
            capture_output=True,
            cwd=self.home,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                **{name: os.fsdecode(value) for name, value in (variables or {}).items()},
            },
            check=False,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def put(self, source: Path, destination: str, **options: Any) -> FileCopied:
        raise NotImplementedError

    def get(self, source: str, destination: Path, **options: Any) -> FileCopied:
        raise NotImplementedError

    def sync(self, source_directory: str, destination: Path, **options: Any) -> SyncResult:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += 1
        self.is_open = False
