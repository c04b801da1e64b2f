"""The record size of a data set: a power of two from 1 to 16384 KiB, as the SDK's documentation says."""

from __future__ import annotations

from typing import Any

import pytest

from dlpx_remote.errors import InvalidRequest
from dlpx_remote.storage.record_size import record_size_in


@pytest.mark.parametrize("power", range(15))
def test_a_power_of_two_is_taken_as_kibibytes(power: int) -> None:
    assert record_size_in({"recordSizeInKB": 2**power, "name": "x"}) == 2**power * 1024


def test_none_is_none() -> None:
    assert record_size_in({"name": "x"}) is None
    assert record_size_in({"recordSizeInKB": None}) is None


def test_a_number_that_json_wrote_with_a_point_is_the_same_number() -> None:
    assert record_size_in({"recordSizeInKB": 8.0}) == 8192


@pytest.mark.parametrize("value", [0, -8, 3, 12, 16385, 32768, 8.5, "8", True, [8], float("inf")])
def test_everything_else_is_refused(value: Any) -> None:
    with pytest.raises(
        InvalidRequest, match=r"recordSizeInKB is .*, which cannot be a record size"
    ) as caught:
        record_size_in({"recordSizeInKB": value})
    assert caught.value.action == "It is a power of two from 1 to 16384."
