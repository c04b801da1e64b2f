"""Makes a site of the pages: ``python docs/site.py DIRECTORY``. A dead link, or a page left out, is an error.

Pages lie all over the checkout, and link to each other and to files by where they lie. So they are laid out
once more as they are, with what they link to, in a directory of their own, of which MkDocs makes the site.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CHANGELOG.md", "benchmarks/README.md", "docs/*.md", "examples/*/README.md")
OF_PARTS = ("containers/nfs-vm/README.md", "containers/winrm/README.md")

_LINK = re.compile(r"\]\(<?([^)#\s>]+)")


def lay_out(there: Path) -> None:
    """Put the pages, and the files that they link to, into the directory ``there``."""
    pages = [page for pattern in (*PAGES, *OF_PARTS) for page in sorted(ROOT.glob(pattern))]
    for page in pages:
        _copy(page, there)
        for target in _LINK.findall(page.read_text("utf-8")):
            file = (page.parent / target).resolve()
            if "://" not in target and file.is_file() and file.suffix != ".md":
                _copy(file, there)
    # A directory is no page of a site; on a forge it is shown.
    for page in pages:
        copy = there / page.relative_to(ROOT)
        linked = _LINK.sub(functools.partial(_to_a_page, page), copy.read_text("utf-8"))
        copy.write_text(linked, "utf-8")


def _to_a_page(page: Path, link: re.Match[str]) -> str:
    directory = page.parent / link[1]
    if "://" not in link[1] and directory.is_dir() and (directory / "README.md").is_file():
        return f"{link[0].rstrip('/')}/README.md"
    return link[0]


def _copy(file: Path, there: Path) -> None:
    copy = there / file.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, copy)


def main(arguments: list[str]) -> int:
    """The exit code of MkDocs."""
    site = Path(arguments[0] if arguments else "site").resolve()
    with tempfile.TemporaryDirectory(prefix="dlpx-site-") as pages:
        lay_out(Path(pages))
        command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
        command += ["--config-file", str(ROOT / "docs" / "mkdocs.yml"), "--site-dir", str(site)]
        told = {"DLPX_REMOTE_SITE_PAGES": pages, "NO_MKDOCS_2_WARNING": "1"}
        environment = {**os.environ, **told}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
