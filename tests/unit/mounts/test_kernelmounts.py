"""Maps of owners."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dlpx_remote.mounts.kernelmounts import exchanged

numbers = st.one_of(st.integers(0, 2**32 - 2), st.integers(0, 3), st.integers(2**32 - 5, 2**32 - 2))


def mapped(lines: str, number: int) -> int:
    (found,) = [
        outside + number - inside
        for inside, outside, count in (map(int, line.split()) for line in lines.splitlines())
        if inside <= number < inside + count
    ]
    return found


@given(numbers, numbers, numbers)
def test_two_numbers_change_places_and_every_other_one_stays(stored: int, shown: int, other: int) -> None:
    lines = exchanged(stored, shown)
    assert mapped(lines, stored) == shown
    assert mapped(lines, shown) == stored
    if other not in (stored, shown):
        assert mapped(lines, other) == other
    assert sum(int(line.split()[2]) for line in lines.splitlines()) == 2**32 - 1
