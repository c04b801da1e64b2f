"$BIN/initdb" --pgdata "$data" --username postgres --auth peer --encoding UTF8 --locale C --data-checksums \
    --no-instructions > /dev/null || exit
echo postgres > "$MOUNT/superuser"
