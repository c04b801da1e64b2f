"""What the table of schedules tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dlpx_remote.cli import schedules
from dlpx_remote.workflows.scheduling import Schedule

NEVER_RUN = Schedule(
    "SCHEDULE-1",
    "shop",
    "DSOURCE-1",
    "dsource",
    "status",
    "*/5 * * * *",
    "UTC",
    None,
    enabled=True,
    next=datetime(2026, 11, 26, tzinfo=UTC),
    last=None,
    last_job=None,
    last_error=None,
    missed=0,
)
RUN = replace(NEVER_RUN, last=datetime(2026, 11, 25, tzinfo=UTC))


@pytest.mark.parametrize(
    ("schedule", "outcome"),
    [
        (NEVER_RUN, ""),
        (RUN, "done"),  # a check and a retention are no jobs
        (replace(RUN, last_job="JOB-7"), "JOB-7"),
        (replace(RUN, last_error="There is no plugin."), "There is no plugin."),
    ],
)
def test_how_the_last_run_went_is_told(
    schedule: Schedule, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    schedules._print([schedule])
    header, _line, row = capsys.readouterr().out.splitlines()[:3]
    assert row[header.index("outcome") : header.index("missed")].strip() == outcome
