"""A quick look: what it says of a host whose key nobody knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlpx_remote.transports.base import Deadlines, HostKeyUnknown
from dlpx_remote.transports.ssh import SshTarget
from dlpx_remote.transports.ssh.deadline import Deadline
from dlpx_remote.transports.ssh.network import Link, SshNetwork
from dlpx_remote.transports.ssh.target import Hop, hops
from dlpx_remote.workflows.once import OnceNetwork


@pytest.mark.parametrize(("host", "pins"), [("db1.invalid", True), ("gate.invalid", False)])
def test_an_unknown_host_key_is_explained_by_the_options_of_the_command(
    host: str, pins: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"

    def refuse(
        network: SshNetwork, hop: Hop, target: SshTarget, before: Link | None, until: Deadline
    ) -> Link:
        raise HostKeyUnknown(
            "The key is not known.", f"Add it to {target.known_hosts}.", host=host, fingerprint="SHA256:abc"
        )

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(SshNetwork, "open", refuse)
    target = SshTarget("db1.invalid", port=2222, jump=("gate.invalid:2022",), known_hosts=temporary)
    (hop,) = (one for one in hops(target) if one.host == host)
    with pytest.raises(HostKeyUnknown) as caught:
        OnceNetwork(Deadlines()).open(hop, target, None, Deadline(15))

    error = caught.value
    assert (error.message, error.host, error.fingerprint) == ("The key is not known.", host, "SHA256:abc")
    assert "--host-key accept-new" in error.action
    assert ("--fingerprint SHA256:abc" in error.action) is pins  # it is for the host itself only
    assert f"ssh-keyscan -p {2222 if pins else 2022} {host} >> ~/.ssh/known_hosts" in error.action
    assert str(temporary) not in error.action
