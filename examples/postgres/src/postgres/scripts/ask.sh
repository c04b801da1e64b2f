PATIENCE=3600
ask "$STATEMENT" || fail "$(tail -n 20 "$log")"
