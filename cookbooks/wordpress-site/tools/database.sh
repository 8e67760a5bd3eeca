# Sourced by the steps that ask the database server. SERVER is its socket or its host:port, DB_ADMIN, DB_NAME and OWNER
# stand in the step's environment, and so do the passwords: none is ever an argument.

# What this run makes is known by.
MARK="$OWNER $TREES_RUN_ID"

case $SERVER in
  /*) account="'$DB_NAME'@'localhost'" ;;
  *) account="'$DB_NAME'@'%'" ;;
esac

# client PROGRAM USER ARGUMENT…: one of MariaDB's programs at the server. 2 is no answer of a check: the step fails.
client() {
  program=$1 user=$2
  shift 2
  case $SERVER in
    /*) set -- --socket="$SERVER" "$@" ;;
    *) set -- --protocol=tcp --host="${SERVER%:*}" --port="${SERVER##*:}" "$@" ;;
  esac
  "$program" --no-defaults --user="$user" "$@" || return 2
}

# admin, site: the statements on standard input, as the administrator of the server or as the site's account.
admin() {
  MYSQL_PWD=${DB_ADMIN_PASSWORD-} client mariadb "$DB_ADMIN" --batch --skip-column-names
}

site() {
  MYSQL_PWD=$DB_PASSWORD client mariadb "$DB_NAME" --batch --skip-column-names
}

# A text as it stands between quotes in a statement.
quoted() {
  printf %s "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g"
}
