"""What a plugin is made of: the Plugin object with its decorators, and the values its operations exchange."""

from dlpx.virtualization.platform import exceptions
from dlpx.virtualization.platform._plugin import Plugin
from dlpx.virtualization.platform._plugin_classes import (
    DirectSource,
    MigrationType,
    Mount,
    MountSpecification,
    OwnershipSpecification,
    StagedSource,
    Status,
    VirtualSource,
)
from dlpx.virtualization.platform.exceptions import (
    IncorrectReferenceFormatError,
    IncorrectReturnTypeError,
    OperationAlreadyDefinedError,
    OperationNotDefinedError,
    PlatformError,
    PluginRuntimeError,
    UserError,
)
from dlpx.virtualization.platform.migration_helper import LuaUpgradeMigrations, PlatformUpgradeMigrations

OwenershipSpecification = OwnershipSpecification
"""The specification's examples spell it so, and plugins were copied from them."""

__all__ = [
    "DirectSource",
    "IncorrectReferenceFormatError",
    "IncorrectReturnTypeError",
    "LuaUpgradeMigrations",
    "MigrationType",
    "Mount",
    "MountSpecification",
    "OperationAlreadyDefinedError",
    "OperationNotDefinedError",
    "OwenershipSpecification",
    "OwnershipSpecification",
    "PlatformError",
    "PlatformUpgradeMigrations",
    "Plugin",
    "PluginRuntimeError",
    "StagedSource",
    "Status",
    "UserError",
    "VirtualSource",
    "exceptions",
]
