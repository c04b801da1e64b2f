"""From what the script prints to values. Nothing here talks to a host, so all of it is tested without one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tree:
    path: str
    name: str
    found_by: str


@dataclass(frozen=True)
class Found:
    configuration: str
    wrong_lines: tuple[str, ...]
    trees: tuple[Tree, ...]
    unreadable: frozenset[str]


def parse(output):
    fields = output.split("\0")
    records = list(zip(fields[0::3], fields[1::3], fields[2::3], strict=False))
    trees = {}  # a tree that is found twice is one tree; the marker, which gives a name, comes first
    for kind, path, text in records:
        if kind in ("marker", "pattern"):
            trees.setdefault(path, Tree(path, text.strip(), kind))
    return Found(
        configuration=next(path for kind, path, _ in records if kind == "configured"),
        wrong_lines=tuple(text for kind, _, text in records if kind == "wrong"),
        trees=tuple(sorted(trees.values(), key=lambda tree: tree.path)),
        unreadable=frozenset(path for kind, path, _ in records if kind == "unreadable"),
    )
