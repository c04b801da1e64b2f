# Reads what says where to look into $searches and $patterns. Prints fields KIND, PATH, TEXT, each ended by NUL:
#   configured FILE ""    FILE is empty for the defaults
#   wrong      FILE LINE  a line of it that cannot be understood
shopt -s nullglob

print() { printf '%s\0' "$1" "$2" "$3"; }

file=
for candidate in ~/.dlpx-files.conf /etc/dlpx-files.conf; do
    [ -e "$candidate" ] && file=$candidate && break
done
print configured "$file" ""

searches=() patterns=()
if [ -n "$file" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
        read -r word argument <<< "$line"
        case $word in
            "" | "#"*) ;;
            search) searches+=("${argument/#\~\//$HOME/}") ;;
            tree) patterns+=("${argument/#\~\//$HOME/}") ;;
            *) print wrong "$file" "$line" ;;
        esac
    done < "$file" || exit
else
    searches=(~ /srv /data /opt)
fi
