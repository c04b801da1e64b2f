# Runs after configuration.sh. Prints the trees that are to be linked, as fields KIND, PATH, TEXT:
#   marker     DIR NAME   a directory with a marker file, and the file's first line
#   pattern    DIR ""     a directory that a pattern names
#   unreadable DIR ""     a directory that could not be looked into
marker=.dlpx-source

for directory in "${searches[@]}"; do
    [ -d "$directory" ] || continue
    # Other file systems are left out: a dead network mount would hold the search for ever.
    while IFS= read -r -d '' kind && IFS= read -r -d '' path; do
        name=
        [ "$kind" = marker ] && { IFS= read -r name < "$path/$marker"; } 2> /dev/null
        print "$kind" "$path" "$name"
    done < <(find "$directory" -xdev -maxdepth 6 \
        \( -type d \( ! -readable -o ! -executable \) -prune -printf 'unreadable\0%p\0' \) -o \
        \( -type f -name "$marker" -printf 'marker\0%h\0' \))
done

IFS= # a pattern may hold spaces: it is expanded, not split
for pattern in "${patterns[@]}"; do
    for directory in $pattern; do
        [ -d "$directory" ] || continue
        print pattern "$directory" ""
        [ -r "$directory" ] && [ -x "$directory" ] || print unreadable "$directory" ""
    done
done
