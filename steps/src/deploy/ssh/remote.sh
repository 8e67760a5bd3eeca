# What `deploy/ssh` does on a host: VERB ROOT ARGUMENT… This text never changes: values come as
# positional arguments and on standard input, and nothing they hold is run. Answers stand between
# the lines `trees:begin` and `trees:end`, whatever a login prints before.
verb=$1
root=$2
shift 2
mask=$(umask)
locale=${LC_ALL-unset}
export LC_ALL=C
case $root in "~/"*) root=$HOME/${root#"~/"} ;; esac
if [ -z "${XDG_RUNTIME_DIR-}" ] && [ -d "/run/user/$(id -u)" ]; then
  XDG_RUNTIME_DIR=/run/user/$(id -u)
  export XDG_RUNTIME_DIR
fi

say() { printf '%s\n' "$*"; }
fail() {
  printf '%s\n' "$*" >&2
  exit 9
}
have() { command -v "$1" > /dev/null 2>&1; }
first() { # FILE: its first line.
  line=
  [ ! -r "$1" ] || IFS= read -r line < "$1" || :
  printf '%s' "$line"
}
units() { systemctl --user "$@"; }
units_folder=${XDG_CONFIG_HOME-$HOME/.config}/systemd/user

# tool: what digests are made with.
tool() {
  if have sha256sum; then say sha256sum; elif have shasum; then say shasum; else say cksum; fi
}

# digests FOLDER: content and mode of each file.
digests() {
  cd "$1" 2> /dev/null || return 0
  case $(tool) in
    sha256sum) find . -type f -exec sha256sum {} + ;;
    shasum) find . -type f -exec shasum -a 256 {} + ;;
    *) find . -type f -exec cksum {} + ;;
  esac 2> /dev/null | sed 's/^/digest /'
  if stat -c %a . > /dev/null 2>&1; then
    find . -type f -exec stat -c '%a %n' {} +
  else
    find . -type f -exec stat -f '%Lp %N' {} +
  fi 2> /dev/null | sed 's/^/mode /'
}

# lasting: whether a user's systemd is there, and stays without a session.
lasting() {
  have systemctl && units show-environment > /dev/null 2>&1 || return 1
  [ -e "/var/lib/systemd/linger/$(id -un)" ] || [ "$(loginctl show-user "$(id -un)" -p Linger 2> /dev/null)" = Linger=yes ]
}

# status FOLDER: sets supervisor, child, child_born, restarts, since, last, ended, supervised, alive.
status() {
  supervisor='' supervisor_born='' child='' child_born='' restarts=0 since=0 last='' ended='' supervised=no alive=no
  unit=$(first "$1/unit")
  if [ -n "$unit" ]; then
    case $(units show -p ActiveState "$unit" 2> /dev/null) in
      ActiveState=active | ActiveState=activating | ActiveState=reloading | ActiveState=deactivating) supervised=yes ;;
    esac
    child=$(units show -p MainPID "$unit" 2> /dev/null)
    child=${child#MainPID=}
    restarts=$(units show -p NRestarts "$unit" 2> /dev/null)
    restarts=${restarts#NRestarts=}
    last=$(units show -p Result "$unit" 2> /dev/null)
    last=${last#Result=}
    case $child in '' | 0) child='' ;; *) child_born=$(born "$child") ;; esac
  elif [ -r "$1/status" ]; then
    while read -r key one two; do
      case $key in
        supervisor) supervisor=$one supervisor_born=$two ;;
        child) child=$one child_born=$two ;;
        restarts) restarts=$one ;;
        since) since=$one ;;
        last) last="$one $two" ;;
        ended) ended=yes ;;
      esac
    done < "$1/status"
    if same "$supervisor" "$supervisor_born"; then supervised=yes; fi
  fi
  if same "$child" "$child_born"; then alive=yes; fi
}

# instance FOLDER: one instance in lines.
instance() {
  say "instance ${1##*/}"
  for name in folder role port unit; do say "$name $(first "$1/$name")"; done
  status "$1"
  say "supervised $supervised"
  say "alive $alive"
  say "pid $child"
  say "restarts ${restarts:-0}"
  say "ended $ended"
  [ ! -e "$1/stop" ] || say "asked yes"
  [ ! -e "$1/argv" ] || say "plain yes"
  say "last $last"
}

# listens PORT: yes, no, or unknown where the system does not tell.
listens() {
  if [ ! -r /proc/net/tcp ]; then
    say unknown
  elif cat /proc/net/tcp /proc/net/tcp6 2> /dev/null | grep -q "^ *[0-9]*: [0-9A-F]*:$(printf %04X "$1") [0-9A-F]*:0000 0A "; then
    say yes
  else
    say no
  fi
}

# look: all that is to be known, and nothing is changed.
look() {
  say "root $root"
  missing=
  for name in tar find sed cat cp mv rm ln mkdir stat df date sleep tail wc id; do have "$name" || missing="$missing $name"; done
  say "missing$missing"
  say "tool $(tool)"
  say "user $(id -un)"
  if have setsid; then say "setsid yes"; else say "setsid no"; fi
  if lasting; then say "systemd yes"; else say "systemd no"; fi
  place=$root
  while [ -n "$place" ] && [ ! -e "$place" ]; do place=${place%/*}; done
  [ -n "$place" ] || place=/
  if [ -d "$place" ] && [ -w "$place" ]; then say "writable yes"; else say "writable no"; fi
  say "place $place"
  # shellcheck disable=SC2046 # columns
  set -- $(df -Pk "$place" 2> /dev/null | tail -n 1)
  say "free ${4-}"
  current=
  [ ! -L "$root/current" ] || current=$(readlink "$root/current")
  say "current ${current##*/}"
  for file in $(ls -1tr "$root/releases" 2> /dev/null); do
    [ ! -d "$root/releases/$file" ] || say "release $file"
  done
  for file in "$root"/releases/*.json; do
    [ ! -d "${file%.json}" ] || say "record $(first "$file")"
  done
  for folder in "$root"/instances/[0-9]*; do
    [ ! -d "$folder" ] || instance "$folder"
  done
  [ -z "$current" ] || digests "$root/releases/${current##*/}"
}

# one N PORT: an instance, and whether somebody listens on the port.
one() {
  instance "$root/instances/$1"
  [ -z "$2" ] || say "listens $(listens "$2")"
}

# log N: the end of what it wrote.
log() {
  tail -c 8192 "$root/instances/$1/output.log" 2> /dev/null | tail -n 20 | sed 's/^/log /'
}

# plain NAME: it is one, not a way elsewhere.
plain() {
  case $1 in '' | .* | */*) fail "\`$1\` is no name of a release" ;; esac
}

# hold HOLDER: takes the lock, says `locked`, and keeps it as long as it is spoken to. Or tells whose it is.
hold() {
  lock=$root/lock
  own="$$ $(born $$)"
  if ! make_lock; then
    [ -d "$lock" ] || fail "cannot write in $root"
    held=$(first "$lock/process")
    # shellcheck disable=SC2086 # two words
    if [ -z "$held" ] || same $held; then
      busy
      return 0
    fi
    # Its session has ended; one of those that follow is the first.
    claim=$lock/after-${held%% *}-${held##* }
    if ! mkdir "$claim" 2> /dev/null; then
      busy
      return 0
    fi
    if [ "$(first "$lock/process")" != "$held" ]; then
      rmdir "$claim"
      busy
      return 0
    fi
    say "taken $(first "$lock/holder")"
  fi
  trap 'release_lock; exit 0' HUP TERM INT
  say "$1" > "$lock/holder"
  date +%s > "$lock/beat"
  { say "$own" > "$lock/.process" && mv -f "$lock/.process" "$lock/process"; } || fail "cannot write $lock"
  say "locked $own"
  say trees:end
  while IFS= read -r _; do
    date +%s > "$lock/beat"
  done
  release_lock
}
# make_lock: another that ends may take the folder away meanwhile.
make_lock() {
  for _ in 1 2 3 4 5; do
    mkdir -p "$root" || exit 9
    mkdir "$lock" 2> /dev/null && return 0
    [ ! -d "$lock" ] || return 1
  done
  return 1
}
# mine: what was begun under a lock that is gone is not ended: another may work here now.
mine() {
  [ "$(first "$root/lock/process")" = "$1" ] || fail "the lock of $root was lost"
}
busy() {
  beat=$(first "$lock/beat")
  # shellcheck disable=SC2012 # a time is what is wanted
  [ -n "$beat" ] || beat=$(stat -c %Y "$lock" 2> /dev/null || date +%s)
  say "busy $(($(date +%s) - beat))"
  say "holder $(first "$lock/holder")"
}
release_lock() {
  rm -rf "$lock"
  # A folder goes only when nothing else is in it.
  rmdir "$root" 2> /dev/null || return 0
  case $root in */.trees/deploy/*/*/*) ;; *) return 0 ;; esac
  for _ in environment project deploy trees; do
    root=${root%/*}
    rmdir "$root" 2> /dev/null || return 0
  done
}

# stage FOLDER FROM: begins a release aside, with the files named on standard input copied from FROM.
stage() {
  plain "$1"
  aside=$root/releases/.staging-$1
  rm -rf "$root"/releases/.staging-*
  mkdir -p "$aside" || exit 9
  while IFS= read -r name; do
    case $name in */*) mkdir -p "$aside/${name%/*}" ;; esac
    cp -p "$root/releases/$2/$name" "$aside/$name" || exit 9
  done
}
# unpack FOLDER: adds what comes on standard input to it.
unpack() {
  plain "$1"
  cd "$root/releases/.staging-$1" && tar -x -p -o -f - || fail "cannot unpack in $root/releases"
  digests "$root/releases/.staging-$1"
}
# place FOLDER aside|'' LOCK: writes its record, which comes on standard input, and puts what was staged in its place.
place() {
  plain "$1"
  umask 077
  cat > "$root/releases/.record" || exit 9
  [ "$(wc -l < "$root/releases/.record")" -eq 1 ] || fail "the record did not arrive whole"
  mine "$3"
  [ -z "$2" ] || rm -rf "$root/releases/$1"
  mv -f "$root/releases/.record" "$root/releases/$1.json" || exit 9
  [ -z "$2" ] || mv "$root/releases/.staging-$1" "$root/releases/$1"
}

# start N MODE OLD PORT LOCK: a new instance, whose files come on standard input. OLD is asked to end first, and
# waited for until it is gone or nobody listens on PORT.
start() {
  folder=$root/instances/$1
  umask 077
  mkdir -p "$root/instances" && mkdir "$folder" || exit 9
  cd "$folder" && tar -x -p -o -f - || fail "cannot unpack in $folder"
  [ -e whole ] || fail "the files of the instance did not arrive whole"
  if [ "$2" = systemd ]; then write_unit "$folder"; fi
  if [ -n "$3" ]; then free_port "$3" "$4"; fi
  mine "$5"
  umask "$mask"
  if [ "$locale" = unset ]; then unset LC_ALL; else LC_ALL=$locale; fi
  if [ "$2" = systemd ]; then
    unit=$(first "$folder/unit")
    units daemon-reload && units enable "$unit" && units start "$unit" || fail "systemd does not start $unit"
    return 0
  fi
  if have setsid; then
    setsid sh "$folder/supervise" run "$folder" < /dev/null > "$folder/supervisor.log" 2>&1 &
  else
    nohup sh "$folder/supervise" run "$folder" < /dev/null > "$folder/supervisor.log" 2>&1 &
  fi
  left=200
  while [ ! -e "$folder/status" ]; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || fail "the supervisor did not start: $(tail -n 5 "$folder/supervisor.log")"
    sleep 0.02 2> /dev/null || nap
  done
}

# write_unit FOLDER: sets unit. A path is one word for systemd whatever it holds.
write_unit() {
  unit=$(first "$1/unit")
  path=$(printf %s "$1" | sed 's/[\\"]/\\&/g; s/%/%%/g; s/\$/$$/g')
  mkdir -p "$units_folder" || exit 9
  {
    say "[Unit]"
    say "Description=$(first "$1/description")"
    say "StartLimitIntervalSec=0"
    say ""
    say "[Service]"
    say "ExecStart=/bin/sh \"$path/supervise\" launch \"$path\""
    say "Restart=always"
    say "RestartSec=1"
    say "RestartSteps=5"
    say "RestartMaxDelaySec=30"
    say "KillMode=control-group"
    say "TimeoutStopSec=$(first "$1/drain")00ms"
    say "StandardOutput=append:$(printf %s "$1" | sed 's/%/%%/g')/output.log"
    say "StandardError=inherit"
    say ""
    say "[Install]"
    say "WantedBy=default.target"
  } > "$units_folder/$unit" || fail "cannot write $units_folder/$unit"
}

# ask N: to end.
ask() {
  : > "$root/instances/$1/stop"
  status "$root/instances/$1"
  if [ -n "$unit" ]; then
    units stop --no-block "$unit"
  elif [ "$supervised" = yes ]; then
    kill -s TERM "$supervisor"
  elif [ "$alive" = yes ]; then
    send TERM "$child"
  fi
}

# free_port N PORT: N is asked to end; done when it is gone, or nobody listens there any more.
free_port() {
  ask "$1"
  tenths=$(first "$root/instances/$1/drain")
  left=$((5 * (${tenths:-100} + 50)))
  while [ "$left" -gt 0 ]; do
    status "$root/instances/$1"
    [ "$supervised$alive" != nono ] || return 0
    if [ -n "$2" ] && [ "$(listens "$2")" = no ]; then return 0; fi
    # A signal may come before it is waited for.
    [ $((left % 25)) != 0 ] || [ "$supervised" = no ] || [ -n "$unit" ] || kill -s TERM "$supervisor" 2> /dev/null
    left=$((left - 1))
    sleep 0.02 2> /dev/null || { nap; left=$((left - 49)); }
  done
}

# stop N: ends it, by force once the grace is over. What it was started with is not kept: it may be secret.
stop() {
  folder=$root/instances/$1
  [ -d "$folder" ] || return 0
  ask "$1"
  tenths=$(first "$folder/drain")
  left=$((${tenths:-100} + 30))
  while [ "$left" -gt -100 ]; do
    status "$folder"
    [ "$supervised$alive" != nono ] || break
    if [ "$left" -lt 0 ]; then
      [ -z "$unit" ] || units kill -s KILL "$unit"
      [ "$supervised" = no ] || [ -n "$unit" ] || send KILL "$supervisor"
      [ "$alive" = no ] || send KILL "$child"
    elif [ $((left % 5)) = 0 ] && [ "$supervised" = yes ] && [ -z "$unit" ]; then
      kill -s TERM "$supervisor" 2> /dev/null
    fi
    left=$((left - 1))
    nap
  done
  [ "$left" -gt -100 ] || fail "the process in $folder cannot be ended"
  if [ -n "$unit" ]; then
    units disable "$unit" 2> /dev/null
    units reset-failed "$unit" 2> /dev/null
    rm -f "$units_folder/$unit"
    units daemon-reload
  fi
  rm -rf "$folder/env" "$folder/argv"
}

# switch FOLDER: `current` points to it from now on.
switch() {
  plain "$1"
  rm -f "$root/.current"
  ln -s "releases/$1" "$root/.current" || exit 9
  mv -f -T "$root/.current" "$root/current" 2> /dev/null || mv -f -h "$root/.current" "$root/current" 2> /dev/null \
    || { rm -f "$root/current" && mv "$root/.current" "$root/current"; } || fail "cannot switch $root/current"
}

# forget FOLDER…: releases and all that belongs to them; never the one that `current` names.
forget() {
  current=
  [ ! -L "$root/current" ] || current=$(readlink "$root/current")
  for name in "$@"; do
    plain "$name"
    [ "$current" != "releases/$name" ] || continue
    rm -rf "$root/releases/$name" "$root/releases/$name.json"
  done
}
drop() {
  for name in "$@"; do
    plain "$name"
    rm -rf "$root/instances/$name"
  done
}

# clear FOLDER…: what a deploy makes here goes, with these releases; the folder itself when nothing else is in it,
# with the lock.
clear() {
  rm -f "$root/current" "$root/.current" "$root/releases/.record"
  forget "$@"
  rm -rf "$root/instances" "$root"/releases/.staging-*
  rmdir "$root/releases" 2> /dev/null || :
}

say trees:begin
case $verb in
  look | one | log | hold | stage | unpack | place | start | stop | switch | forget | drop | clear) "$verb" "$@" || exit 9 ;;
  *) fail "no verb $verb" ;;
esac
say trees:end
