"""Every path from which plugins in the field import, and what they find there."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PATHS = {
    "dlpx.virtualization.platform": (
        "Plugin DirectSource StagedSource VirtualSource Mount MountSpecification OwnershipSpecification "
        "OwenershipSpecification Status UserError MigrationType IncorrectReturnTypeError "
        "OperationNotDefinedError OperationAlreadyDefinedError IncorrectReferenceFormatError "
        "PluginRuntimeError PlatformError exceptions PlatformUpgradeMigrations LuaUpgradeMigrations"
    ),
    "dlpx.virtualization.platform.exceptions": (
        "UserError IncorrectReturnTypeError OperationNotDefinedError OperationAlreadyDefinedError "
        "IncorrectReferenceFormatError PluginRuntimeError PlatformError MigrationIdAlreadyUsedError "
        "MigrationIdIncorrectFormatError MigrationIdIncorrectTypeError DecoratorNotFunctionError "
        "UnknownMigrationTypeError"
    ),
    "dlpx.virtualization.platform._plugin_classes": (
        "DirectSource StagedSource VirtualSource Mount MountSpecification OwnershipSpecification Status "
        "MigrationType"
    ),
    "dlpx.virtualization.platform.migration_helper": "PlatformUpgradeMigrations LuaUpgradeMigrations",
    "dlpx.virtualization.common": (
        "RemoteConnection RemoteEnvironment RemoteHost RemoteUser Credentials PasswordCredentials "
        "KeyPairCredentials"
    ),
    "dlpx.virtualization.common._common_classes": (
        "RemoteConnection RemoteEnvironment RemoteHost RemoteUser Credentials PasswordCredentials "
        "KeyPairCredentials"
    ),
    "dlpx.virtualization.common.exceptions": "IncorrectTypeError PlatformError PluginRuntimeError",
    "dlpx.virtualization.libs": (
        "run_bash run_powershell run_expect run_sync retrieve_credentials upgrade_password PlatformHandler "
        "exceptions libs"
    ),
    "dlpx.virtualization.libs.libs": (
        "run_bash run_powershell run_expect run_sync retrieve_credentials upgrade_password"
    ),
    "dlpx.virtualization.libs.exceptions": (
        "LibraryError PluginScriptError IncorrectArgumentTypeError PluginRuntimeError"
    ),
    "dlpx.virtualization": "common libs platform",
}


@pytest.mark.parametrize("path", PATHS)
def test_the_names_that_plugins_import_are_there(path: str) -> None:
    for submodule in ("common", "libs", "platform"):
        importlib.import_module(f"dlpx.virtualization.{submodule}")
    module = importlib.import_module(path)
    missing = [name for name in PATHS[path].split() if not hasattr(module, name)]
    assert missing == []


@pytest.mark.parametrize("path", PATHS)
def test_every_path_can_be_the_first_that_a_plugin_imports(path: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {path}"], check=True)


def test_a_class_is_the_same_whichever_path_it_comes_from() -> None:
    from dlpx.virtualization import common, libs, platform
    from dlpx.virtualization.common import _common_classes
    from dlpx.virtualization.common import exceptions as common_exceptions
    from dlpx.virtualization.libs import libs as functions
    from dlpx.virtualization.platform import _plugin_classes

    assert common.RemoteUser is _common_classes.RemoteUser
    assert platform.Mount is _plugin_classes.Mount
    assert platform.PlatformError is common_exceptions.PlatformError
    assert libs.run_bash is functions.run_bash


def test_the_sdk_needs_the_standard_library_alone() -> None:
    script = (
        "import sys, dlpx.virtualization.libs, dlpx.virtualization.platform.reference\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "foreign = roots - sys.stdlib_module_names - {'dlpx', '__main__', 'sitecustomize', 'usercustomize'}\n"
        "print(sorted(name for name in foreign if not name.startswith('_')))"
    )
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
