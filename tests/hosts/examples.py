"""The example plugins, and what they find on a test host as it starts."""

from __future__ import annotations

from pathlib import Path

from dlpx_remote.engine import DiscoveredObject, DiscoveryReport

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
POSTGRES = EXAMPLES / "postgres"
FILES = EXAMPLES / "files"
WINDOWS_FILES = EXAMPLES / "windows_files"

CLUSTERS = {
    "/srv/order data/15": {"running": True},
    "/var/lib/postgresql/15/archive": {"running": False, "port": 5433},
    "/var/lib/postgresql/15/main": {"running": True, "port": 5432},
}


def source_configs(report: DiscoveryReport, environment: str, plugin: str) -> dict[str, DiscoveredObject]:
    """The source configs of one plugin on one environment, by their only identity value."""
    found = [
        source_config
        for result in report.results
        if (result.environment, result.plugin) == (environment, plugin)
        for repository in result.repositories
        for source_config in repository.source_configs
    ]
    return {str(*source_config.identity.values()): source_config for source_config in found}


def clusters(report: DiscoveryReport, environment: str) -> dict[str, dict[str, object]]:
    """What is known of each PostgreSQL cluster from outside: whether it runs, and its port."""
    return {
        directory: {key: value for key, value in found.parameters.items() if key in {"running", "port"}}
        for directory, found in source_configs(report, environment, "PostgreSQL").items()
    }
