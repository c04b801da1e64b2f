# A copy replays what came after the source's last checkpoint when it is opened. Where the role may (pg_checkpoint, from
# PostgreSQL 15 on), there is one now; where it may not, copies open a little slower.
[ -z "$CHECKPOINT" ] || "$BIN/psql" --no-psqlrc --quiet --no-password --dbname "$SOURCE" --command CHECKPOINT 2> /dev/null

"$BIN/psql" --no-psqlrc --no-align --tuples-only --quiet --no-password --set ON_ERROR_STOP=1 --dbname "$SOURCE" --command "
SELECT json_build_object(
    'system_identifier', system_identifier::text,
    'version', split_part(current_setting('server_version'), ' ', 1),
    'major_version', (current_setting('server_version_num')::int / 10000)::text,
    'lsn', CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END,
    'superuser', (SELECT rolname FROM pg_roles WHERE oid = 10),
    'tablespaces', (SELECT coalesce(json_object_agg(oid, pg_tablespace_location(oid)), '{}')
        FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''))
FROM pg_control_system()" || exit
