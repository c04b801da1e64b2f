"""From what the scripts print, a JSON object a line, to values. Nothing here talks to a host."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Installation:
    path: str
    version: str


@dataclass(frozen=True)
class DataDirectory:
    path: str
    name: str
    note: str


def installations(output):
    found = {record["path"].lower(): record for record in _records(output)}  # Windows ignores case in paths
    return [Installation(record["path"], record["version"] or "") for record in found.values()]


def data_directories(output):
    found = {}
    for record in _records(output):
        found.setdefault(
            record["path"].lower(),
            DataDirectory(record["path"], (record["name"] or "").strip(), record["note"] or ""),
        )
    return sorted(found.values(), key=lambda each: each.path.lower())


def _records(output):
    return [json.loads(line) for line in output.splitlines() if line.strip()]
