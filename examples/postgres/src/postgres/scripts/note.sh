printf '%s\n' "$STATE" > "$MOUNT/state"
