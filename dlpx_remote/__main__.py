"""``python -m dlpx_remote``: the command, where its script is not on the PATH."""

from __future__ import annotations

import sys

from dlpx_remote.cli import main

if __name__ == "__main__":
    sys.exit(main())
