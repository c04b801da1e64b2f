postmaster > /dev/null || fail "it does not run"
PATIENCE=5
ask "SELECT pg_is_in_recovery()"
