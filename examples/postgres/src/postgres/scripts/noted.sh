cat "$MOUNT/state"
