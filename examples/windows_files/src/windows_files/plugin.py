"""Windows Files: what can copy files on a Windows host, and the data directories there that are marked."""

import pkgutil

from dlpx.virtualization import libs
from dlpx.virtualization.platform import Plugin
from generated.definitions import RepositoryDefinition, SourceConfigDefinition

from windows_files import discovery

plugin = Plugin()


@plugin.discovery.repository()
def find_installations(source_connection):
    return [
        RepositoryDefinition(name=f"Robocopy {found.version}", program=found.path, version=found.version)
        for found in discovery.installations(_look(source_connection, "installations.ps1"))
    ]


@plugin.discovery.source_config()
def find_data_directories(source_connection, repository):
    return [
        SourceConfigDefinition(path=found.path, name=found.name or found.path, note=found.note or None)
        for found in discovery.data_directories(_look(source_connection, "data_directories.ps1"))
    ]


def _look(connection, script):
    """Runs a script of this plugin; raises with its exit code and output when it fails."""
    text = pkgutil.get_data(__name__, f"scripts/{script}").decode()
    return libs.run_powershell(connection, text, check=True).stdout
