# Files may come and go meanwhile.
du --summarize --bytes "$MOUNT" 2> /dev/null | cut --fields 1
