# One process, and no other that gets the same pid later: when it began, and in which boot.
boot=none
[ ! -r /proc/sys/kernel/random/boot_id ] || read -r boot < /proc/sys/kernel/random/boot_id

# born PID: nothing where there is no such process, or it is a zombie.
born() {
  if [ -r /proc/self/stat ]; then
    read -r born_text 2> /dev/null < "/proc/$1/stat" || return 0
    set -f
    # shellcheck disable=SC2086 # a list of numbers
    set -- ${born_text##*) }
    set +f
    case $1 in Z | X) return 0 ;; esac
    printf '%s@%s\n' "${20}" "$boot"
  else
    born_text=$(ps -o state= -o lstart= -p "$1" 2> /dev/null | tr -s ' ' _)
    case $born_text in Z* | _Z*) return 0 ;; esac
    printf '%s\n' "${born_text#*_}"
  fi
}

# same PID BORN: that very process lives.
same() {
  [ -n "$1" ] && [ -n "$2" ] && [ "$(born "$1")" = "$2" ]
}

# nap: a tenth of a second, where sleep knows of such.
nap() {
  sleep 0.1 2> /dev/null || sleep 1
}

# send SIGNAL PID: to its group, or to it alone where it has none of its own.
send() {
  kill -s "$1" -- "-$2" 2> /dev/null || kill -s "$1" "$2" 2> /dev/null || :
}
