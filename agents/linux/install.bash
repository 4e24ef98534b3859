# shellcheck shell=bash
# `pvewatch-agent install` and `uninstall`. Both may be repeated: a second time, or of a newer version over an older
# one, changes only what is different, and keeps the token and the settings that are there. Sourced by pvewatch-agent.

# Tests install into a folder.
ROOT=${PVEWATCH_ROOT:-}
PROGRAM=/usr/local/bin/pvewatch-agent
PROGRAM_FOLDER=/usr/local/lib/pvewatch-agent
SETTINGS_FOLDER=/etc/pvewatch
STATE_FOLDER=/var/lib/pvewatch-agent
UNIT_FOLDER=/etc/systemd/system
CRON_USER=pvewatch-agent

SENDER=pvewatch-agent.service
WATCHER=pvewatch-agent-watch.service
PARTS=(pvewatch-agent fields.bash services.bash install.bash "$SENDER" "$WATCHER" agent.conf.example)

# LoadCredential came with it.
OLDEST_SYSTEMD=247

install_usage() {
  cat <<'END'
usage: pvewatch-agent install [OPTION]...

  --url URL          the exporter's heartbeat address; given again: further ones, tried in turn
  --token-file FILE  the guest's token; else the one that is installed, else it is read from standard input
  --ca-file FILE     PEM file of the authority that signed the exporter's certificate
  --interval N       seconds between heartbeats (60; from cron it is always 60)
  --services LIST    services to report, with spaces between
  --restart LIST     those of them to start again when they have failed
  --systemd, --cron  by what it is started (systemd 247 or newer where it runs, else cron)

What is not given stays as it is. The settings are in /etc/pvewatch/agent.conf.

usage: pvewatch-agent uninstall [--purge]     --purge: the settings and the token too
END
}

install() {
  local urls="" token_file="" ca_file="" interval="" services="" restart="" starter=""
  while (($# > 0)); do
    case $1 in
      --url | --token-file | --ca-file | --interval | --services | --restart)
        (($# > 1)) || fail "install: $1 needs a value"
        case $1 in
          --url) urls+=${urls:+ }$2 ;;
          --token-file) token_file=$2 ;;
          --ca-file) ca_file=$2 ;;
          --interval) interval=$2 ;;
          --services) services=$2 ;;
          --restart) restart=$2 ;;
        esac
        shift
        ;;
      --systemd | --cron) starter=${1#--} ;;
      --help | -h) install_usage && return 0 ;;
      *) fail "install: $1 is not known; see install --help" ;;
    esac
    shift
  done
  need_root
  command -v curl >/dev/null || fail "curl is not installed; install it with the system's package manager"
  [[ -n $starter ]] || starter=$(suitable_starter)

  mkdir -p -- "$ROOT$SETTINGS_FOLDER" "$ROOT$PROGRAM_FOLDER" "$ROOT${PROGRAM%/*}"
  install_settings
  install_token "$token_file"
  # What would not start is refused here, where somebody reads it.
  (check_settings) || exit
  install_programs
  "start_by_$starter"
}

# Reads the variables of install: bash's functions see those of their caller.
install_settings() {
  local file=$ROOT$SETTINGS_FOLDER/agent.conf
  [[ -e $file ]] || printf '# KEY=VALUE lines; pvewatch-agent --help explains them.\n' >"$file"
  chmod 644 "$file"
  [[ -z $urls ]] || set_setting "$file" URL "$urls"
  [[ -z $interval ]] || set_setting "$file" INTERVAL "$interval"
  [[ -z $services ]] || set_setting "$file" SERVICES "$services"
  [[ -z $restart ]] || set_setting "$file" RESTART_SERVICES "$restart"
  if [[ -n $ca_file ]]; then
    [[ -r $ca_file ]] || fail "install: --ca-file $ca_file cannot be read"
    copy 644 "$ca_file" "$SETTINGS_FOLDER/ca.pem"
    set_setting "$file" CA_FILE "$SETTINGS_FOLDER/ca.pem"
  fi
}

# Sets one line of a settings file and keeps the others, with their comments.
set_setting() {
  local file=$1 line text="" done=""
  [[ $3 != *$'\n'* ]] || fail "install: the value of $2 has a line end in it"
  while IFS= read -r line || [[ -n $line ]]; do
    if [[ $line =~ ^[[:space:]]*"$2"= ]]; then
      [[ -z $done ]] || continue
      line=$2=$3 done=yes
    fi
    text+=$line$'\n'
  done <"$file"
  [[ -n $done ]] || text+=$2=$3$'\n'
  printf '%s' "$text" >"$file.new" && chmod 644 "$file.new" && mv -f -- "$file.new" "$file"
}

# The token is never an argument, and never readable by others, not even while it is written.
install_token() {
  local token="" file=$ROOT$SETTINGS_FOLDER/agent.token
  if [[ -n $1 ]]; then
    [[ -r $1 ]] || fail "install: --token-file $1 cannot be read"
    IFS= read -r token <"$1"
  elif [[ -s $file ]]; then
    return 0
  else
    [[ ! -t 0 ]] || printf 'Token of this guest (pvewatch agent-token CLUSTER VMID prints it): ' >&2
    IFS= read -r -s token
    [[ ! -t 0 ]] || printf '\n' >&2
  fi
  [[ $token =~ ^[A-Za-z0-9._-]{1,256}$ ]] ||
    fail "install: that is not a token of 'pvewatch agent-token'; give it with --token-file or on standard input"
  (umask 077 && printf '%s\n' "$token" >"$file.new") && mv -f -- "$file.new" "$file"
}

check_settings() {
  load_config "$ROOT$SETTINGS_FOLDER/agent.conf"
  settle_interval
  # settle_config lets these win, as it does with the environment's.
  # shellcheck disable=SC2034
  local PVEWATCH_TOKEN_FILE=$ROOT${CONFIG_TOKEN_FILE:-$SETTINGS_FOLDER/agent.token} \
    PVEWATCH_CA_FILE=${CONFIG_CA_FILE:+$ROOT$CONFIG_CA_FILE}
  settle_config
  settle_services
}

install_programs() {
  local part
  for part in "${PARTS[@]}"; do
    copy 644 "$AGENT_FOLDER/$part" "$PROGRAM_FOLDER/$part"
  done
  chmod 755 "$ROOT$PROGRAM_FOLDER/pvewatch-agent"
  ln -sfn -- "$PROGRAM_FOLDER/pvewatch-agent" "$ROOT$PROGRAM"
}

# Copies $2 to $3 with mode $1, by renaming: a script that is running keeps the file it was started from.
copy() {
  local target=$ROOT$3
  [[ $(readlink -f -- "$2") != "$(readlink -f -- "$target")" ]] || return 0
  if ! cp -- "$2" "$target.new" || ! chmod "$1" "$target.new" || ! mv -f -- "$target.new" "$target"; then
    fail "install: $target cannot be written"
  fi
}

need_root() { ((EUID == 0)) || [[ -n $ROOT ]] || fail "install and uninstall need root; run it with sudo"; }

suitable_starter() {
  local version
  if has_systemd && read -r _ version _ <<<"$(systemctl --version)" && [[ ${version%%[!0-9]*} -ge $OLDEST_SYSTEMD ]]; then
    printf systemd
  else
    printf cron
  fi
}

has_services() { [[ $(<"$ROOT$SETTINGS_FOLDER/agent.conf") =~ (^|$'\n')SERVICES=[^$'\n'[:space:]] ]]; }

# --- systemd ---------------------------------------------------------------------------------------------------------

start_by_systemd() {
  remove_from_cron
  # systemd reads the token as root and hands it on.
  chown 0:0 "$ROOT$SETTINGS_FOLDER/agent.token"
  mkdir -p -- "$ROOT$UNIT_FOLDER"
  copy 644 "$AGENT_FOLDER/$SENDER" "$UNIT_FOLDER/$SENDER"
  copy 644 "$AGENT_FOLDER/$WATCHER" "$UNIT_FOLDER/$WATCHER"
  systemctl daemon-reload
  if has_services; then
    start_unit "$WATCHER"
  else
    systemctl --quiet disable --now "$WATCHER"
  fi
  start_unit "$SENDER"
  printf 'The agent runs. What it has to say: journalctl -u %s\n' "${SENDER%.service}"
}

# Restarted, so that a newer version comes into effect.
start_unit() {
  if systemctl --quiet enable "$1" && systemctl restart "$1"; then return; fi
  fail "$1 did not start: see journalctl -u $1. In an LXC container it needs the feature nesting=1; else use --cron"
}

# --- cron ------------------------------------------------------------------------------------------------------------

# A user's own crontab: the way in which cron, cronie and busybox's crond agree. The offset keeps guests that boot
# together from speaking together; it is drawn once, and kept.
start_by_cron() {
  local offset present
  command -v crontab >/dev/null || fail "install: there is no crontab; install cron (cronie, busybox's crond)"
  remove_from_systemd
  make_cron_user
  mkdir -p -- "$ROOT$STATE_FOLDER"
  chown "$CRON_USER" "$ROOT$STATE_FOLDER" "$ROOT$SETTINGS_FOLDER/agent.token"
  offset=$((RANDOM % 30))
  present=$(crontab -u "$CRON_USER" -l 2>/dev/null)
  [[ ! $present =~ sleep\ ([0-9]+) ]] || offset=${BASH_REMATCH[1]}
  set_crontab "$CRON_USER" "PVEWATCH_TOKEN_FILE=$SETTINGS_FOLDER/agent.token" \
    "PVEWATCH_STATE_FILE=$STATE_FOLDER/state" \
    "* * * * * sleep $offset; $PROGRAM once 2>&1 | logger -t pvewatch-agent"
  set_crontab root "$(other_cron_lines root)" "* * * * * $PROGRAM watch-once 2>&1 | logger -t pvewatch-agent"
  printf 'The agent runs from cron, %d s after each full minute. What it has to say is in the system log.\n' "$offset"
}

make_cron_user() {
  id "$CRON_USER" >/dev/null 2>&1 && return
  if command -v useradd >/dev/null; then
    useradd --system --home-dir "$STATE_FOLDER" --shell /bin/false "$CRON_USER"
  else
    adduser -S -D -H -h "$STATE_FOLDER" -s /bin/false "$CRON_USER"
  fi || fail "install: the user $CRON_USER could not be made"
}

# Gives user $1 the crontab that holds the lines $2 and following. From a file: not each crontab reads standard input.
set_crontab() {
  local user=$1 file
  shift
  file=$(mktemp) || fail "install: no temporary file could be made"
  printf '%s\n' "$@" | sed '/^$/d' >"$file"
  crontab -u "$user" "$file" || fail "install: the crontab of $user could not be written"
  rm -f -- "$file"
}

other_cron_lines() { crontab -u "$1" -l 2>/dev/null | grep -v "$PROGRAM "; }

# --- removal ---------------------------------------------------------------------------------------------------------

uninstall() {
  local purge=""
  case ${1:-} in
    "") ;;
    --purge) purge=yes ;;
    --help | -h) install_usage && return 0 ;;
    *) fail "uninstall: $1 is not known; see uninstall --help" ;;
  esac
  need_root
  remove_from_systemd
  remove_from_cron
  rm -rf -- "$ROOT$PROGRAM" "$ROOT${PROGRAM_FOLDER:?}" "$ROOT$STATE_FOLDER" "$ROOT/run/pvewatch-agent"
  if [[ -n $purge ]]; then
    rm -f -- "$ROOT$SETTINGS_FOLDER/"{agent.conf,agent.token,ca.pem}
    rmdir -- "$ROOT$SETTINGS_FOLDER" 2>/dev/null
  fi
  printf 'The agent is removed%s.\n' "${purge:+, with its settings and its token}"
}

remove_from_systemd() {
  local unit
  for unit in "$SENDER" "$WATCHER"; do
    [[ -e $ROOT$UNIT_FOLDER/$unit ]] || continue
    systemctl --quiet disable --now "$unit"
    rm -f -- "$ROOT$UNIT_FOLDER/$unit"
    systemctl daemon-reload
  done
}

remove_from_cron() {
  command -v crontab >/dev/null || return 0
  if id "$CRON_USER" >/dev/null 2>&1; then
    crontab -u "$CRON_USER" -r 2>/dev/null
    userdel "$CRON_USER" 2>/dev/null || deluser "$CRON_USER" 2>/dev/null
  fi
  ! crontab -u root -l 2>/dev/null | grep -q "$PROGRAM " || set_crontab root "$(other_cron_lines root)"
}
