"""The host shares its process with its clients: it must not pull the environment away under them."""

from __future__ import annotations

import os

import pytest

from containers.winrm.responder.authentication import Accounts

VARIABLE = "NTLM_USER_FILE"


def test_no_login_takes_a_variable_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    accounts = Accounts({"somebody": "with a password"}, "HOST")
    with accounts.as_library_reads_them():
        names = list(os.environ)  # as dict(os.environ) and requests' getproxies begin
        assert os.environ[VARIABLE]
    accounts.close()
    assert [os.environ[name] for name in names if name == VARIABLE] == [""]
