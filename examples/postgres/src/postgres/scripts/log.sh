tail -n 30 "$log"
