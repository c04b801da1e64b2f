# Prints the receiver's state, the WAL received, bytes to replay and the last transaction; below, the server's last word.
ask "
SELECT coalesce((SELECT status FROM pg_stat_wal_receiver), 'stopped'), pg_last_wal_receive_lsn(),
    pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn(), coalesce(pg_last_xact_replay_timestamp()::text, 'unknown')" &&
    tail -n 1 "$log" || exit
