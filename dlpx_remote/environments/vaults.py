"""Secrets from the system's keyring and from HashiCorp Vault: places that need a library of their own.

The libraries are extras of the package, imported when such a secret is asked for. Nothing of an answer is put
into an error.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from dlpx_remote.errors import RemoteError
from dlpx_remote.redaction import REDACTOR

TIMEOUT = 15.0
"""Seconds that a vault may take for one answer."""
KEYRING_FORM = "keyring:SERVICE/ACCOUNT"
VAULT_FORM = "vault:MOUNT/PATH#KEY"


class SecretUnavailable(RemoteError):
    """A reference to a secret leads to no secret."""


def from_keyring(place: str, where: str) -> str:
    """The secret of an account in the system's keyring.

    Args:
        place: ``SERVICE/ACCOUNT``.
        where: the beginning of a sentence that says which secret should be there.

    Raises:
        SecretUnavailable: there is none, no keyring, or the library is not installed.
    """
    keyring = _library("keyring", where)
    service, _, account = place.rpartition("/")
    try:
        secret: str | None = keyring.get_password(service, account)
    except keyring.errors.NoKeyringError:
        raise SecretUnavailable(
            f"{where}, but this machine has no keyring that answers.",
            "Unlock or install one (GNOME Keyring, KWallet, macOS Keychain), or name another place.",
        ) from None
    except keyring.errors.KeyringError as error:
        raise SecretUnavailable(
            f"{where}, which refused ({type(error).__name__}).", "Unlock the keyring and try again."
        ) from None
    if not secret:
        raise SecretUnavailable(
            f"{where}, which has none.", f"Put it there: keyring set '{service}' '{account}'"
        )
    return secret


def from_vault(place: str, where: str, environment: Mapping[str, str]) -> str:
    """A key of a secret in a key-value engine of HashiCorp Vault, of version 2 or 1.

    The server, token and authorities are where Vault's own command line has them: ``VAULT_ADDR``,
    ``VAULT_TOKEN`` or ``~/.vault-token``, ``VAULT_CACERT``, ``VAULT_NAMESPACE``.

    Args:
        place: ``MOUNT/PATH#KEY``.
        where: the beginning of a sentence that says which secret should be there.
        environment: the variables.

    Raises:
        SecretUnavailable: there is none, the server does not answer or refuses, or the library is missing.

    Source: https://developer.hashicorp.com/vault/api-docs/secret/kv
    """
    hvac = _library("hvac", where)
    path, _, key = place.partition("#")
    mount, _, path = path.partition("/")
    address = environment.get("VAULT_ADDR", "")
    if not address:
        raise SecretUnavailable(f"{where}, but VAULT_ADDR is not set.", "Set it to the server's address.")
    token = _token(environment, where)
    REDACTOR.register(token)
    client = hvac.Client(
        url=address,
        token=token,
        namespace=environment.get("VAULT_NAMESPACE") or None,
        verify=environment.get("VAULT_CACERT") or True,
        timeout=TIMEOUT,
    )
    try:
        found = _read(client, hvac, mount, path)
    except hvac.exceptions.Forbidden:
        raise SecretUnavailable(
            f"{where}, which {address} refuses to show (403).",
            "Check that the token has not expired (vault token lookup), and that it may read the path.",
        ) from None
    except hvac.exceptions.InvalidPath:
        raise SecretUnavailable(
            f"{where}, and {address} has nothing there.", f"See what is there: vault kv get {mount}/{path}"
        ) from None
    except hvac.exceptions.VaultError as error:
        raise SecretUnavailable(
            f"{where}, and {address} answered with {type(error).__name__}.",
            "See the server's state: vault status",
        ) from None
    except (OSError, ValueError) as error:  # what requests raises is an OSError
        raise SecretUnavailable(
            f"{where}, but {address} cannot be reached ({type(error).__name__}).",
            "Check VAULT_ADDR, the network, and VAULT_CACERT where the server has a certificate of its own.",
        ) from None
    finally:
        client.adapter.close()
    secret = found.get(key)
    if not isinstance(secret, str) or not secret:
        keys = ", ".join(sorted(map(str, found))) or "none"
        raise SecretUnavailable(f"{where}, but it has no text under that key.", f"Its keys are: {keys}.")
    return secret


def _read(client: Any, hvac: ModuleType, mount: str, path: str) -> dict[str, Any]:
    try:
        answer = client.secrets.kv.v2.read_secret_version(
            path=path, mount_point=mount, raise_on_deleted_version=True
        )
        data = answer["data"]["data"]
    except (hvac.exceptions.InvalidPath, hvac.exceptions.Forbidden) as second:
        try:  # an engine of version 1 has no such address
            data = client.secrets.kv.v1.read_secret(path=path, mount_point=mount)["data"]
        except (hvac.exceptions.InvalidPath, hvac.exceptions.Forbidden):
            raise second from None
    except (KeyError, TypeError):
        raise hvac.exceptions.UnexpectedError from None
    if not isinstance(data, dict):
        raise hvac.exceptions.UnexpectedError
    return data


def _token(environment: Mapping[str, str], where: str) -> str:
    token = environment.get("VAULT_TOKEN", "")
    if not token:
        home = environment.get("HOME", "")
        try:
            token = (Path(home) / ".vault-token").read_text(encoding="utf-8").strip() if home else ""
        except (OSError, UnicodeDecodeError):
            token = ""
    if not token:
        raise SecretUnavailable(
            f"{where}, but there is no token for it.", "Log in first (vault login), or set VAULT_TOKEN."
        )
    return token


def _library(name: str, where: str) -> ModuleType:
    extra = {"hvac": "vault"}.get(name, name)
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SecretUnavailable(
            f"{where}, but the Python package {name} is not installed.",
            f"Install it: pip install 'dlpx-remote[{extra}]'",
        ) from None
