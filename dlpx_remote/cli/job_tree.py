"""A job as a tree: its steps and plugin operations with their times and outcomes, and what each printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlpx_remote.cli.following import seconds_of

if TYPE_CHECKING:
    from dlpx_remote.engine_jobs import JobDetails, JobLine, JobStep

_LINES = 5
_OUTCOMES = {
    "done": "",
    "failed": "failed",
    "interrupted": "cut off",
    "skipped": "skipped",
    "running": "runs",
}


def tree_of(job: JobDetails, lines: Sequence[JobLine]) -> dict[str, Any]:
    """The tree: ``what``, ``outcome``, ``seconds`` and ``children`` of each.

    Args:
        job: with its steps.
        lines: its output.
    """
    by_step: dict[int | None, list[str]] = {}
    for line in lines:
        by_step.setdefault(line.step, []).append(line.line)
    did = [_step(step, by_step.get(step.number, ())) for step in job.steps if not step.undoing]
    undid = [_step(step, by_step.get(step.number, ())) for step in job.steps if step.undoing]
    if undid:
        did.append(_node("undoes what it did", "", "", undid))
    took = seconds_of(job.started, job.finished)
    return _node(f"{job.reference} {job.title}", str(job.state), took, did)


def line_of(node: Mapping[str, Any]) -> str:
    """A node in one line."""
    words = " ".join(part for part in (f"({node['took']})" if node["took"] else "", node["outcome"]) if part)
    return f"{node['what']}  {words}".rstrip()


def _step(step: JobStep, lines: Sequence[str]) -> dict[str, Any]:
    said = [_node(line, "", "", []) for line in lines[:_LINES]]
    if len(lines) > _LINES:
        said.append(_node(f"… {len(lines) - _LINES} more lines: dlpx-remote job logs", "", "", []))
    outcome = _OUTCOMES.get(str(step.state), str(step.state))
    if step.error:
        outcome = f"{outcome}: {step.error}"
    return _node(step.title, outcome, seconds_of(step.started, step.finished), said)


def _node(what: str, outcome: str, took: str, children: list[dict[str, Any]]) -> dict[str, Any]:
    return {"what": what, "outcome": outcome, "took": took, "children": children}
