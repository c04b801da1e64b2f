[ ! -e "$MOUNT/superuser" ] || echo yes
