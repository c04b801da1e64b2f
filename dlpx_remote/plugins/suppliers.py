"""The schemas of credentials suppliers, which a plugin's schema names by ``https://delphix.com/platform/api``.

That address only identifies them; nothing is ever fetched. Source: the public SDK's documentation of its
pre-defined types.
"""

from __future__ import annotations

from typing import Any

PLATFORM = "https://delphix.com/platform/api"

_STRING = {"type": "string"}
_SECRET = {"type": "string", "format": "password"}


def _credential(kind: str, required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", *required],
        "properties": {"type": {"type": "string", "const": kind}, **properties},
    }


def _vaults(secret_type: str | None) -> list[dict[str, Any]]:
    expected: dict[str, Any] = {"type": "string", "enum": ["any", "password", "keyPair"], "default": "any"}
    also_required: list[str] = []
    if secret_type is not None:
        expected = {"type": "string", "const": secret_type}
        also_required = ["expectedSecretType"]
    return [
        _credential(
            "CyberArkVaultCredential",
            ["vault", "queryString", *also_required],
            {
                "vault": {"type": "string", "format": "reference", "referenceType": "CyberArkPasswordVault"},
                "queryString": _STRING,
                "expectedSecretType": expected,
            },
        ),
        _credential(
            "HashiCorpVaultCredential",
            ["vault", "engine", "path", "usernameKey", "secretKey", *also_required],
            {
                "vault": {"type": "string", "format": "reference", "referenceType": "HashiCorpVault"},
                **dict.fromkeys(("engine", "path", "usernameKey", "secretKey"), _STRING),
                "expectedSecretType": expected,
            },
        ),
    ]


_PASSWORD = _credential("NamedPasswordCredential", ["password"], {"username": _STRING, "password": _SECRET})
_KEY_PAIR = _credential(
    "NamedKeyPairCredential",
    ["privateKey"],
    {"username": _STRING, "publicKey": _STRING, "privateKey": _SECRET},
)

SUPPLIERS: dict[str, dict[str, Any]] = {
    "credentialsSupplier": {"oneOf": [_PASSWORD, _KEY_PAIR, *_vaults(None)]},
    "passwordCredentialsSupplier": {"oneOf": [_PASSWORD, *_vaults("password")]},
    "keyCredentialsSupplier": {"oneOf": [_KEY_PAIR, *_vaults("keyPair")]},
}
"""Each supplier's schema, by its name under ``#/definitions/``."""


def supplier_of(reference: str) -> str | None:
    """The supplier that ``reference`` names; None when it names none."""
    address, _, fragment = reference.partition("#")
    name = fragment.removeprefix("/definitions/")
    return name if address == PLATFORM and name in SUPPLIERS else None
