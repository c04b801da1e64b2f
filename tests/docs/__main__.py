"""Carries out pages by hand: ``python -m tests.docs [--write] docs/jobs.md …``; without names, all of them.

``--write`` puts what came into the blocks that have output.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.docs.machine import machine
from tests.docs.markdown import ROOT, blocks, pages
from tests.docs.running import carry_out


def main(names: list[str]) -> int:
    """The exit code: 1 where a block is not as it stands."""
    code = 0
    write = "--write" in names
    names = [name for name in names if name != "--write"]
    with tempfile.TemporaryDirectory(prefix="dlpx-pages-") as place:
        base = Path(place) / "machine"
        base.mkdir()
        with machine(base) as made:
            made.be_quick()
            for page in [ROOT / name for name in names] or pages():
                began = time.monotonic()
                troubles = carry_out(made, page, write=write)
                took = time.monotonic() - began
                print(f"{page.relative_to(ROOT)}: {len(blocks(page))} blocks, {took:.1f} s", flush=True)
                for trouble in troubles:
                    print(trouble, end="\n\n", flush=True)
                    code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
