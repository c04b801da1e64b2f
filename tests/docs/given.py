"""What a page may take for granted: the marks ``<!-- given: NAME -->``, each a piece of shell.

It runs once a page (and once more after ``<!-- anew -->``), in the page's directory, and must succeed.
"""

from __future__ import annotations

_DATA = """\
mkdir -p /srv/orders
echo orders >/srv/orders/.dlpx-source
echo 'first order' >/srv/orders/1.txt
chown -R oracle /srv/orders
"""

GIVEN: dict[str, tuple[tuple[str, ...], str]] = {
    "db1": ((), "dlpx-remote env add db1 --host db1.example.com --user oracle"),
    "db2": ((), "dlpx-remote env add db2 --host db2.example.com --user oracle"),
    "staging1": ((), "dlpx-remote env add staging1 --host staging1.example.com --user oracle"),
    "pool": (
        (),
        'place=/srv/pool-$(basename "$PWD")$(basename "$DLPX_REMOTE_STATE")\n'
        'dlpx-remote storage init "$place" --backend copy',
    ),
    "files": ((), "dlpx-remote plugin add examples/files"),
    "found": (("db1", "db2", "files", "pool"), f"{_DATA}dlpx-remote discover"),
    "orders": (
        ("found",),
        "dlpx-remote dsource link orders -e db1 --source-config orders\ndlpx-remote dsource sync orders",
    ),
    "masked": (
        ("orders",),
        "dlpx-remote vdb provision masked --from orders -e db2 --param mountPath=/srv/masked",
    ),
    "scripts": (
        (),
        "for name in mask tell report; do\n"
        "printf '#!/bin/bash\\necho %s\\n' $name >$name.sh; chmod +x $name.sh; done",
    ),
}
"""By name: what else must be there before, and the shell that makes it."""


def scripts(names: list[str], done: set[str]) -> list[str]:
    """The shell of ``names`` and of all that they need, without what is ``done`` already; adds to that."""
    found: list[str] = []
    for name in names:
        needed, script = GIVEN[name]
        found += scripts(list(needed), done)
        if name not in done:
            done.add(name)
            found.append(script)
    return found
