# shellcheck shell=bash
# What of the Linux agent needs root, in a process of its own that has neither token nor network: it looks at the chosen
# services, restarts those that may be restarted and have failed, and writes down what it found for `run` to send.
#
# A service that a person stopped is not failed and is left alone. Sourced by pvewatch-agent, after fields.bash.

WATCH_SECONDS=20
RESTART_SECONDS=90
SETTLE_SECONDS=2

# In /run: it is only true until the next boot.
WATCH_FOLDER=$RUN/pvewatch-agent

settle_services() {
  local name
  local chosen=${PVEWATCH_SERVICES:-${CONFIG_SERVICES:-}} restart=${PVEWATCH_RESTART_SERVICES:-${CONFIG_RESTART_SERVICES:-}}
  RESTART_LIMIT=${PVEWATCH_RESTART_LIMIT:-${CONFIG_RESTART_LIMIT:-3}}
  RESTART_WINDOW=${PVEWATCH_RESTART_WINDOW:-${CONFIG_RESTART_WINDOW:-3600}}
  read -r -a SERVICES <<<"$chosen"
  read -r -a RESTART_SERVICES <<<"$restart"
  ((${#SERVICES[@]} <= MAX_SERVICES)) || fail "SERVICES: has ${#SERVICES[@]} names; at most $MAX_SERVICES are reported"
  for name in "${SERVICES[@]}"; do
    [[ $name =~ ^[A-Za-z0-9_][A-Za-z0-9@._:\\-]{0,254}$ ]] || fail "SERVICES: $name is not the name of a service"
  done
  for name in "${RESTART_SERVICES[@]}"; do
    [[ " $chosen " == *" $name "* ]] || fail "RESTART_SERVICES: $name is not in SERVICES; add it there"
  done
  if [[ ! $RESTART_LIMIT =~ ^[1-9][0-9]{0,2}$ ]] || ((RESTART_LIMIT > 100)); then
    fail "RESTART_LIMIT: $RESTART_LIMIT is not a whole number from 1 to 100"
  fi
  if [[ ! $RESTART_WINDOW =~ ^[1-9][0-9]{1,4}$ ]] || ((RESTART_WINDOW < 60 || RESTART_WINDOW > 86400)); then
    fail "RESTART_WINDOW: $RESTART_WINDOW is not a whole number of seconds from 60 to 86400"
  fi
}

watch() {
  settle_services
  while :; do
    watch_pass
    pause "$WATCH_SECONDS"
  done
}

watch_once() {
  settle_services
  watch_pass
}

# Looks at each service once. From cron a pass may last into the next one, which then has nothing to do.
watch_pass() {
  local name state restarts found=""
  make_folder
  lock_pass || return 1
  remember_uuid
  if ((${#SERVICES[@]} > 0)); then
    for name in "${SERVICES[@]}"; do
      restarts=$(restarts_of "$name")
      state=$(service_state "$name")
      if [[ $state == failed && " ${RESTART_SERVICES[*]} " == *" $name "* ]] && repair "$name"; then
        ((++restarts))
        state=$(service_state "$name")
      fi
      found+="$name $state $restarts"$'\n'
    done
    write_down services "$(uptime_seconds)"$'\n'"${found%$'\n'}"
  else
    rm -f -- "$WATCH_FOLDER/services"
  fi
  rm -f -- "$WATCH_FOLDER/lock"
}

# A link is made or not made, in one step. One whose process is gone was left by a crash.
lock_pass() {
  local holder
  ln -s "$$" "$WATCH_FOLDER/lock" 2>/dev/null && return 0
  holder=$(readlink "$WATCH_FOLDER/lock")
  [[ ! -r $PROC/${holder:-none}/cmdline || $(tr '\0' ' ' <"$PROC/$holder/cmdline") != *pvewatch-agent* ]] || return 1
  rm -f -- "$WATCH_FOLDER/lock"
  ln -s "$$" "$WATCH_FOLDER/lock" 2>/dev/null
}

# Restarts service $1, or gives up when its restarts within the window are used up. Fails when it did not restart it.
repair() {
  local name=$1 outcome=failed used
  used=$(recent_repairs "$name" restarted)
  if ((used >= RESTART_LIMIT)); then
    # Said once, not at each pass.
    (($(recent_repairs "$name" given_up) == 0)) || return 1
    complain "$name has failed again after $used restarts within $RESTART_WINDOW s: it is left alone now"
    remember_repair "$name" given_up given_up
    return 1
  fi
  complain "$name has failed: restart $((used + 1)) of at most $RESTART_LIMIT within $RESTART_WINDOW s"
  restart_service "$name" || complain "$name: its restart was not successful"
  # What fails right after its start has not been repaired.
  pause "$SETTLE_SECONDS"
  [[ $(service_state "$name") != running ]] || outcome=succeeded
  remember_repair "$name" restarted "$outcome"
}

# Prints how often $2 (restarted, given_up) happened to service $1 within the window.
recent_repairs() {
  local at name what count=0 since=$(($(uptime_seconds) - RESTART_WINDOW))
  while read -r at name what; do
    [[ $name != "$1" || $what != "$2" || ! $at =~ ^[0-9]{1,12}$ ]] || ((at < since)) || ((++count))
  done 2>/dev/null <"$WATCH_FOLDER/repairs"
  printf '%d' "$count"
}

# Notes what happened to service $1 by the uptime, which nobody can set back, and forgets what is older than the window.
remember_repair() {
  local at rest kept="" now_up
  now_up=$(uptime_seconds)
  while read -r at rest; do
    [[ ! $at =~ ^[0-9]{1,12}$ ]] || ((at < now_up - RESTART_WINDOW)) || kept+="$at $rest"$'\n'
  done 2>/dev/null <"$WATCH_FOLDER/repairs"
  write_down repairs "$kept$now_up $1 $2"
  write_down last_repair "$(now) $1 $3"
}

restarts_of() {
  local name state restarts
  while read -r name state restarts; do
    [[ $name == "$1" && $restarts =~ ^[0-9]{1,9}$ ]] && printf '%d' "$restarts" && return
  done 2>/dev/null <"$WATCH_FOLDER/services"
  printf 0
}

uptime_seconds() {
  local line
  read_line line "$PROC/uptime"
  printf '%d' "${line%%.*}"
}

make_folder() {
  [[ -d $WATCH_FOLDER && -w $WATCH_FOLDER ]] || mkdir -m 755 -- "$WATCH_FOLDER" ||
    fail "$WATCH_FOLDER: cannot be made; watch needs root"
}

# Everybody may read it: `run` does so without any privilege.
write_down() {
  printf '%s\n' "$2" >"$WATCH_FOLDER/$1.new" && chmod 644 "$WATCH_FOLDER/$1.new" &&
    mv -f -- "$WATCH_FOLDER/$1.new" "$WATCH_FOLDER/$1"
}

remember_uuid() {
  local uuid
  ! in_container && read_line uuid "$SYS/class/dmi/id/product_uuid" || return 0
  make_folder
  write_down smbios_uuid "$uuid"
}

# --- the system's own tools ------------------------------------------------------------------------------------------

has_systemd() { [[ -d $RUN/systemd/system ]]; }

# Prints running, starting, stopping, stopped, failed, missing or unknown.
service_state() {
  if has_systemd; then
    systemd_state "$1"
  elif [[ ! -x /etc/init.d/$1 ]]; then
    printf missing
  else
    timeout 10 "/etc/init.d/$1" status >/dev/null 2>&1 </dev/null
    init_state "$?"
  fi
}

systemd_state() {
  local line load="" active=""
  while IFS= read -r line; do
    case $line in
      LoadState=*) load=${line#*=} ;;
      ActiveState=*) active=${line#*=} ;;
    esac
  done <<<"$(timeout 10 systemctl show --property=LoadState,ActiveState -- "$1" 2>/dev/null)"
  [[ $load != not-found ]] || active=missing
  case $active in
    active) printf running ;;
    reloading | refreshing) printf running ;;
    activating) printf starting ;;
    deactivating) printf stopping ;;
    inactive) printf stopped ;;
    failed | missing) printf '%s' "$active" ;;
    *) printf unknown ;;
  esac
}

# The exit status of an init script's `status`: 0 to 4 by the Linux Standard Base (3.1, section 20.2), the others by
# OpenRC (openrc-run.sh: 4 stopping, 8 starting, 16 inactive, 32 crashed; 3 stopped).
init_state() {
  case $1 in
    0) printf running ;;
    1 | 2 | 32) printf failed ;;
    3 | 16) printf stopped ;;
    8) printf starting ;;
    *) printf unknown ;;
  esac
}

restart_service() {
  if has_systemd; then
    timeout "$RESTART_SECONDS" systemctl restart -- "$1"
  else
    timeout "$RESTART_SECONDS" "/etc/init.d/$1" restart >/dev/null 2>&1 </dev/null
  fi
}
