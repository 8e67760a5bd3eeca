# Keeps one instance running after the session that started it has ended. Beside this file stand
# `argv/` and `env/` (a value a file, each with one line feed after it), `release` (the folder it
# runs in), `role`, `drain` and `expires` (tenths of a second). It ends on SIGTERM, and begins
# nothing once there is a file `stop`.
# `argv` and `env` go with its end.

# take FILE: its value, byte for byte, in _trees_value. No other program is needed for it: the
# environment that is being made may be wrong for one.
_trees_line_feed='
'
take() {
  _trees_value=
  _trees_between=
  while IFS= read -r _trees_line; do
    _trees_value=$_trees_value$_trees_between$_trees_line
    _trees_between=$_trees_line_feed
  done < "$1"
}

# launch FOLDER: becomes the program.
launch() {
  _trees_folder=$1
  set --
  for _trees_file in "$_trees_folder"/argv/*; do
    take "$_trees_file"
    set -- "$@" "$_trees_value"
  done
  take "$_trees_folder/release"
  cd "$_trees_value" || exit 126
  unset SSH_CLIENT SSH_CONNECTION SSH_TTY SSH_AUTH_SOCK OLDPWD
  for _trees_file in "$_trees_folder"/env/*; do
    [ -e "$_trees_file" ] || continue
    take "$_trees_file"
    export "${_trees_file##*/}=$_trees_value"
  done
  exec "$@"
}

# save: how it is, for whoever looks.
save() {
  {
    echo "supervisor $supervisor"
    [ -z "$child" ] || echo "child $child $(born "$child")"
    echo "restarts $restarts"
    echo "since $since"
    [ -z "$last" ] || echo "last $last"
    [ -z "$ended" ] || echo "ended yes"
  } > .status && mv -f .status status
}

# tick: cuts a log that is too large, ends a trial whose time is over, ends with the supervisor.
tick() {
  ticks=0
  expires=$(cat expires)
  step=10
  [ "$expires" != 0 ] || step=100
  while sleep $((step / 10)) && kill -0 "$1" 2> /dev/null; do
    ticks=$((ticks + step))
    if [ "$expires" != 0 ] && [ "$ticks" -ge "$expires" ]; then
      : > stop
      kill -s TERM "$1"
    fi
    if [ $((ticks % 100)) = 0 ] && [ "$(wc -c < output.log)" -gt 16777216 ]; then
      cp output.log output.log.1 && : > output.log
    fi
  done
}

# finish: SIGTERM to the program's group, the grace, SIGKILL.
finish() {
  send TERM "$child"
  left=$(cat drain)
  while [ "$left" -gt 0 ] && kill -0 "$child" 2> /dev/null && [ -n "$(born "$child")" ]; do
    nap
    left=$((left - 1))
  done
  send KILL "$child"
  wait "$child"
  outcome $?
}

# outcome CODE: in words.
outcome() {
  if [ "$1" -gt 128 ]; then last="signal: $(($1 - 128))"; else last="exit status: $1"; fi
}

run() {
  cd "$1" || exit 1
  folder=$1 stopped='' child='' restarts=0 last='' ended='' pause=1
  since=$(date +%s)
  supervisor="$$ $(born $$)"
  role=$(cat role)
  trap 'stopped=yes' TERM INT
  trap : HUP
  : >> output.log
  save
  tick $$ &
  while [ -z "$stopped" ] && [ ! -e stop ]; do
    since=$(date +%s)
    if command -v setsid > /dev/null 2>&1; then
      setsid sh "$folder/supervise" launch "$folder" < /dev/null >> output.log 2>&1 &
    else
      sh "$folder/supervise" launch "$folder" < /dev/null >> output.log 2>&1 &
    fi
    child=$!
    save
    # A signal that is trapped ends `wait` as well.
    while [ -z "$stopped" ] && [ ! -e stop ]; do
      wait "$child"
      code=$?
      [ -n "$(born "$child")" ] || break
    done
    if [ -n "$(born "$child")" ]; then
      finish
      child=''
      break
    fi
    # What it left in its group ends too.
    kill -s KILL -- "-$child" 2> /dev/null
    outcome "$code"
    child=''
    [ "$role" = live ] || break
    [ $(($(date +%s) - since)) -lt 60 ] || pause=1
    save
    n=0
    while [ "$n" -lt "$pause" ] && [ -z "$stopped" ] && [ ! -e stop ]; do
      nap
      n=$((n + 1))
    done
    pause=$((pause * 2))
    [ "$pause" -le 300 ] || pause=300
    restarts=$((restarts + 1))
  done
  ended=yes
  # It is never started again, and what it was started with may be secret.
  rm -rf env argv
  save
  trap '' TERM
  kill -s TERM 0
}

case $1 in
  launch) launch "$2" ;;
  run) run "$2" ;;
esac
