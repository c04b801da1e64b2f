"""Staging: a standby of the source, in the dSource's data set.

The first sync makes a base backup, every later one only waits until the standby has replayed what the
source had written when the sync began, and a checkpoint after that. While the engine takes the snapshot, the
standby is stopped for a moment: then its files are whole on any kind of storage, also where a snapshot is a
copy made file by file.
"""

import logging
import time

from dlpx.virtualization.platform import UserError

from postgres import configuration, state
from postgres.server import Server
from postgres.source import facts, source

logger = logging.getLogger(__name__)

CATCH_UP_SECONDS = 600


def server(staged_source, repository, source_config):
    return Server(
        staged_source.staged_connection,
        repository.bin_directory,
        staged_source.parameters.staging_path,
        staged_source.guid,
        repository.major_version,
    )


def synchronize(staged_source, repository, source_config, snapshot_parameters):
    here, there = server(staged_source, repository, source_config), source(staged_source, source_config)
    found = facts(here, there)
    if found["major_version"] != repository.major_version:
        raise UserError(
            f"The source is PostgreSQL {found['version']}, staging would be {repository.major_version}.",
            f"Link it with an installation (repository) of PostgreSQL {found['major_version']}.",
        )
    if not here.complete() or (snapshot_parameters and snapshot_parameters.resync):
        _base_backup(here, there, found, snapshot_parameters)
    start(staged_source, repository, source_config)
    seconds = staged_source.parameters.catch_up_seconds or CATCH_UP_SECONDS
    _catch_up(here, found, seconds)
    # Only now: with a checkpoint, the source drops the WAL before it, whether or not staging has got it.
    _catch_up(here, facts(here, there, checkpoint=True), seconds)
    state.note(here)
    here.stop()


def resume(staged_source, repository, source_config):
    """Lets the standby go on after the snapshot. The snapshot is good even where that fails."""
    try:
        start(staged_source, repository, source_config)
    except UserError as error:
        logger.warning("%s The staging worker will try again. %s", error.message, error.output)


def start(staged_source, repository, source_config):
    """Starts the standby; before the first sync there is none, and nothing to do."""
    here, there = server(staged_source, repository, source_config), source(staged_source, source_config)
    settings = {
        **(staged_source.parameters.settings or {}),
        "listen_addresses": "",
        "hot_standby": True,
        "primary_conninfo": there.standby_connection_string,
        "cluster_name": f"dlpx staging {staged_source.guid}",
        "dlpx.staging": True,  # discovery leaves it out
    }
    said = here.run(
        "be started",
        *("if_complete.sh", "password.sh", "configure.sh", "standby.sh", "start.sh"),
        secrets=there.secrets,
        SETTINGS=configuration.settings_file(settings),
        ACCESS=configuration.access_file(),
        PASSWORD_FILE=there.password_file,
    )
    if said == "none\n":
        logger.info("there is no copy of the source yet: the first sync makes it")


def stop(staged_source, repository, source_config):
    there = source(staged_source, source_config)
    server(staged_source, repository, source_config).run(
        "be stopped", "stop.sh", PASSWORD_FILE=there.password_file
    )


def watch(staged_source, repository, source_config):
    """Starts a standby that fell over, and says in the log how far it is behind."""
    here = server(staged_source, repository, source_config)
    if not here.complete():
        return
    if not here.running():
        logger.warning("staging in %s was down, and is started again", here.mount)
        start(staged_source, repository, source_config)
    answer, last_word = here.run("be asked", "lag.sh").splitlines()[:2]
    status, received, behind, last = answer.split("\t")
    if status == "streaming":
        logger.info(
            "staging streams: received %s, %s bytes to replay, last transaction %s", received, behind, last
        )
    else:
        logger.warning("staging receives nothing from the source, last transaction %s: %s", last, last_word)


def _base_backup(here, there, found, snapshot_parameters):
    logger.info("making a base backup of %s", there.connection_string)
    spread = snapshot_parameters is not None and snapshot_parameters.checkpoint == "spread"
    here.run(
        "back up the source",
        *("stop.sh", "backup.sh"),
        secrets=there.secrets,
        TABLESPACES="".join(f"{oid}\t{path}\n" for oid, path in found["tablespaces"].items()),
        SUPERUSER=found["superuser"],
        CHECKPOINT="spread" if spread else "fast",
        SOURCE=there.connection_string,
        PASSWORD_FILE=there.password_file,
    )


def _catch_up(here, found, seconds):
    deadline, lsn, cluster = time.monotonic() + seconds, found["lsn"], found["system_identifier"]
    while True:
        said = here.run("catch up with the source", "catch_up.sh", LSN=lsn, CLUSTER=cluster)
        enough, reached, identifier = said.split()
        if identifier != cluster:
            raise _another_cluster(cluster, identifier)
        if enough == "t":
            logger.info("staging has replayed up to %s; the source was at %s", reached, lsn)
            return
        if time.monotonic() > deadline:
            raise UserError(
                f"Staging has not caught up with the source in {seconds} s: it is at {reached}, the source "
                f"was at {lsn} when the sync began.",
                "See that the source is reached and how fast; raise the parameter 'catchUpSeconds' if it "
                "needs more time.",
                here.run("be asked", "log.sh"),
            )
        logger.info("staging has replayed up to %s, and waits for %s", reached, lsn)


def _another_cluster(at_source, in_staging):
    return UserError(
        "The source is not the cluster that staging is a copy of: it was made anew, or the parameters "
        "'sourceHost' and 'sourcePort' lead to another one.",
        "Correct the parameters, or copy it from the start: sync with snapshot parameter resync=true.",
        f"System identifier of the source {at_source}, of staging {in_staging}.",
    )
