# Makes a checkpoint, and puts what the data hold by then into $STATE; where no server runs, prints so and ends.
postmaster > /dev/null || {
    echo stopped
    exit 0
}
PATIENCE=3600
ask CHECKPOINT || fail "$(tail -n 20 "$log")"
# A standby holds what it has replayed, and its time is that of the last transaction in it.
STATE=$(ask "
SELECT json_build_object(
    'lsn', CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END,
    'time', to_char(coalesce(pg_last_xact_replay_timestamp(), now()) AT TIME ZONE 'UTC',
        'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
    'timeline', timeline_id,
    'system_identifier', system_identifier::text,
    'version', split_part(current_setting('server_version'), ' ', 1))
FROM pg_control_checkpoint(), pg_control_system()") || fail "$(tail -n 20 "$log")"
