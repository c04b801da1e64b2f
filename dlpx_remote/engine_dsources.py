"""The engine's Python API for dSources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlpx_remote.engine_common import NOW, Asked, Sources
from dlpx_remote.environments.registry import user_by_name
from dlpx_remote.errors import InvalidRequest
from dlpx_remote.plugins.plugin import Plugin
from dlpx_remote.workflows.parameters import LINKED, SNAPSHOT_PARAMETERS, Given, checked, unattended
from dlpx_remote.workflows.sources import DISABLED, ENABLED, Hook
from dlpx_remote.workflows.views import SourceView


class Dsources(Sources):
    """dSources: ``engine.dsources``."""

    _kind = "dsource"
    _word = "dSource"

    def link(
        self,
        name: str,
        environment: str,
        source_config: str,
        *,
        user: str | None = None,
        plugin: str | None = None,
        repository: str | None = None,
        staging: str | None = None,
        staging_user: str | None = None,
        parameters: Given = Given(),  # noqa: B008 - a frozen value
        hooks: Sequence[Hook] = (),
        interval: int | None = None,
        asked: Asked = NOW,
    ) -> str:
        """Make a dSource of a source config; the first sync fills it.

        Args:
            name: for the new dSource.
            environment: name or reference of the environment with the data.
            source_config: name or reference.
            user: of the environment; None for its primary user.
            plugin: name or identifier, where several plugins have found a source config of that name.
            repository: name or reference, likewise.
            staging: name or reference of the staging environment; needed by staged plugins, and only by them.
            staging_user: of the staging environment; None for its primary user.
            parameters: the operator's.
            hooks: kept with the dSource.
            interval: seconds between two runs of the staging worker; None for 60.
            asked: how.

        Raises:
            NotFound, InvalidRequest: something named is not there, or does not fit.
            AlreadyExists: there is a dSource or VDB of that name.
        """
        where = self._parts.registry.get(environment)
        identifier = None if plugin is None else self._parts.plugins.get_summary(plugin).identifier
        found = self._parts.inventory.source_config(where, source_config, identifier, repository)
        loaded = self._plugin(found[0])
        self._environment(where.reference, loaded.config)
        request: dict[str, Any] = {
            "kind": "dsource",
            "name": name,
            "plugin": found[0],
            "repository": found[1],
            "source_config": found[2],
            "environment": where.reference,
            "user": user_by_name(where, user).reference,
            **self._staging(loaded, staging, staging_user),
            "parameters": checked(loaded, LINKED, parameters, self._parts.kind_of),
            "hooks": self._new_hooks(hooks),
        }
        if interval is not None:
            request["interval"] = _checked(interval)
        return self._ask_for_new("link", request, f"link the dSource {name}", asked)

    def sync(
        self,
        name: str,
        *,
        parameters: Given = Given(),  # noqa: B008 - a frozen value
        scheduled: bool = False,
        hooks: Sequence[Hook] = (),
        asked: Asked = NOW,
    ) -> str:
        """Bring the data set up to date and take a snapshot.

        Args:
            name: name or reference.
            parameters: snapshot parameters.
            scheduled: nobody is there to give any: the schema's defaults, or None where they are not enough.
            hooks: for this run.
            asked: how.
        """
        source = self._find(name)
        plugin = self._plugin(source.plugin)
        values = (
            unattended(plugin)
            if scheduled
            else checked(plugin, SNAPSHOT_PARAMETERS, parameters, self._parts.kind_of)
        )
        return self._ask("sync", source, {"snapshot_parameters": values}, hooks, asked, state=ENABLED)

    def configure(self, name: str, *, interval: int) -> SourceView:
        """Change how it is looked after; workers that are at work see it at their next turn.

        Args:
            name: name or reference.
            interval: seconds between two runs of the staging worker.

        Raises:
            InvalidRequest: it is linked directly, and has no staging worker; or the interval is too short.
        """
        source = self._find(name)
        if not source.staged:
            raise InvalidRequest(
                f"The dSource {source.name} is linked directly: it has no staging worker.",
                "When it is synced is a schedule's to say: dlpx-remote schedule add",
            )
        self._parts.records.update(source.reference, interval=_checked(interval))
        return self.get(source.reference)

    def enable(self, name: str, *, asked: Asked = NOW) -> str:
        """Mount it on its staging environment and start what the plugin starts there."""
        return self._ask("enable", self._find(name), {}, (), asked, state=DISABLED)

    def restart(self, name: str, *, asked: Asked = NOW) -> str:
        """Mount it on its staging environment and start what the plugin starts there, as after a reboot."""
        return self._ask("restart", self._find(name), {}, (), asked, state=ENABLED)

    def disable(self, name: str, *, force: bool = False, asked: Asked = NOW) -> str:
        """Stop what runs on the staging environment and unmount; ``force`` goes on where that fails."""
        return self._ask("disable", self._find(name), {"force": force}, (), asked, state=ENABLED)

    def run_worker(self, name: str) -> str:
        """Have the plugin's staging worker run once.

        Raises:
            Busy: another job has the dSource; the next time is soon enough.
        """
        return self._ask("worker", self._find(name), {}, (), Asked(wait=False), state=ENABLED)

    def _staging(self, plugin: Plugin, staging: str | None, user: str | None) -> dict[str, str]:
        staged = plugin.config.plugin_type.value == "STAGED"
        if not staged:
            if staging is not None or user is not None:
                raise InvalidRequest(
                    f"The plugin {plugin.config.name} links directly; it has no staging environment.",
                    "Leave --staging out.",
                )
            return {}
        if staging is None:
            raise InvalidRequest(
                f"The plugin {plugin.config.name} links through a staging environment, and none was named.",
                "Name it with --staging ENV.",
            )
        environment = self._environment(staging, plugin.config)
        return {
            "staging_environment": environment.reference,
            "staging_user": user_by_name(environment, user).reference,
        }


def _checked(interval: int) -> int:
    if interval < 1:
        raise InvalidRequest(
            "The interval of the staging worker is at least one second.", "Give a whole number of seconds."
        )
    return interval
