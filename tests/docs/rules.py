"""How every block of every page is checked, and what a writer of a page has to know.

Pages are carried out as they stand, block after block, in a machine to throw away (``machine.py``): as
root, in a directory of the page's own in which ``examples`` and the like are those of this checkout, with a
state of its own. ``python -m tests.docs docs/PAGE.md`` carries one out by hand. The names ``db1``, ``db2``,
``staging1`` (also with ``.example.com``) are hosts there, with the users ``oracle``, ``me``, ``engine``,
``postgres`` and ``root``, who may use sudo.

By the word behind the fence:

=========================== ==========================================================================
none, ``sh``, ``console``   shell: every command must end with 0, or with what a comment behind it says
                            (``# ends with 3``). ``# until Ctrl-C`` gives it two seconds. A block with
                            ``$ `` in front of its commands has their output below them (``> `` goes on
                            with a command); what comes must be the same, but for what MASKS takes out,
                            and a line of ``…`` stands for any lines.
``python``                  a plugin's operation (``@plugin.``): it passes ``plugin check``, what it does
                            not import given to it. Anything else is run.
``json``, ``yaml``, ``ini`` parsed; ``sudoers`` by ``visudo``
``sql``                     run by the PostgreSQL server that ``given: database`` starts
``mermaid``                 read by the small grammar in ``running.py``
``text``, any other         must say why it is not run
=========================== ==========================================================================

Marks are comments right above a block:

``<!-- not run: WHY -->``       it is not, for this reason; it still has to be shell, JSON … that parses.
                                Reasons are counted, and ``NOT_RUN`` below says how many there may be.
``<!-- given: NAME, NAME -->``  what is there before (``given.py``), once a page: ``orders``, ``masked`` …
``<!-- first: SHELL -->``       shell of any length that runs before and is not shown
``<!-- file: PATH -->``         the block is a file in the page's directory; ``PATH, more`` appends to it
``<!-- anew -->``               from here on with an empty state
"""

from __future__ import annotations

import re

NOT_RUN = 10
"""How many blocks there are that are not run, each with its reason."""

MASKS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID"),
        (r"SHA256:[A-Za-z0-9+/]+", "SHA256"),
        (r"\b\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?(Z| UTC|[+-]\d\d:?\d\d)?", "TIME"),
        (r"\b\d\d:\d\d(:\d\d(\.\d+)?)?\b", "TIME"),
        (r"\b\d+(\.\d+)?( |)(ms|s|min|seconds?|minutes?)\b", "DURATION"),
        (r"\b\d+(\.\d+)?( |)([KMGT]i?B|B|bytes)\b", "SIZE"),
        (r"\b\d+(\.\d+)? ?%", "SHARE"),
        (r"\b\d+(\.\d+)+\b", "NUMBER"),
        (r"[─━-]{3,}", "RULE"),
        (r"[ \t]+", " "),
    )
)
"""What is taken out of output before it is compared."""
