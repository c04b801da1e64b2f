"""What a plugin can ask of the engine: run scripts, copy files, retrieve credentials, log."""

from dlpx.virtualization.libs import exceptions
from dlpx.virtualization.libs._logging import PlatformHandler
from dlpx.virtualization.libs.libs import (
    ScriptResult,
    retrieve_credentials,
    run_bash,
    run_expect,
    run_powershell,
    run_sync,
    upgrade_password,
)

__all__ = [
    "PlatformHandler",
    "ScriptResult",
    "exceptions",
    "retrieve_credentials",
    "run_bash",
    "run_expect",
    "run_powershell",
    "run_sync",
    "upgrade_password",
]
