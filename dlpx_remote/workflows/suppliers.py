"""Credentials suppliers as operators give them to plugins: which references they hold, and to what they lead.

A supplier says where a secret is, in the form that the plugin's schema asks for. The engine hands it to the
plugin as it is, and finds what is behind it when the plugin calls ``libs.retrieve_credentials``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dlpx_remote.environments.model import CredentialKind, Expected
from dlpx_remote.errors import InvalidRequest

VAULT = "environment"
"""What ``vault`` of a supplier is called: the one server that the variables ``VAULT_…`` name."""


@dataclass(frozen=True)
class Part:
    """A reference in a supplier.

    Attributes:
        name: ``username`` or ``secret``.
        where: its path, for messages.
        reference: as text, such as ``vault:kv/db1#password``.
        expected: what it has to lead to.
    """

    name: str
    where: str
    reference: Any
    expected: Expected


def supplier_secrets(supplier: Mapping[str, Any], where: str) -> Iterator[Part]:
    """The references in a supplier.

    Raises:
        InvalidRequest: it is of a kind that this engine cannot ask.
    """
    kind = supplier.get("type")
    if "privateKey" in supplier:
        yield Part("secret", f"{where}.privateKey", supplier["privateKey"], "keyPair")
    elif "password" in supplier:
        yield Part("secret", f"{where}.password", supplier["password"], "password")
    elif kind == "HashiCorpVaultCredential":
        vault = supplier.get("vault")
        if vault != VAULT:
            raise InvalidRequest(
                f"{where}.vault names {vault!r}, and this engine knows one Vault: where VAULT_ADDR points.",
                f"Write {VAULT!r} there, or name a credential: credential:NAME.",
            )
        place = f"vault:{supplier.get('engine')}/{supplier.get('path')}"
        expected = supplier.get("expectedSecretType", "any")
        yield Part("username", f"{where}.usernameKey", f"{place}#{supplier.get('usernameKey')}", "any")
        yield Part("secret", f"{where}.secretKey", f"{place}#{supplier.get('secretKey')}", expected)
    else:
        raise InvalidRequest(
            f"{where} is a {kind or 'credentials supplier without a type'}, which this engine cannot ask.",
            "Use NamedPasswordCredential or NamedKeyPairCredential with references to the secrets, "
            "HashiCorpVaultCredential, or credential:NAME.",
        )


def named_supplier(supplier: str, text: str, kind: CredentialKind | None) -> dict[str, str]:
    """The object for a reference that stands for a supplier by itself.

    Args:
        supplier: the kind that the plugin's schema asks for.
        text: the reference, such as ``credential:NAME``.
        kind: what it leads to, where that is known.
    """
    if supplier == "keyCredentialsSupplier" or (supplier == "credentialsSupplier" and kind == "keyPair"):
        return {"type": "NamedKeyPairCredential", "privateKey": text}
    return {"type": "NamedPasswordCredential", "password": text}
