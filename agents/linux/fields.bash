# shellcheck shell=bash
# What the Linux agent measures: each field of agents/heartbeat.schema.json is one function that prints `"field":value`,
# or nothing when it cannot be read: a figure is left out, never guessed. Sourced by pvewatch-agent; tests point the
# roots below at recorded trees.

PROC=${PVEWATCH_PROC:-/proc}
SYS=${PVEWATCH_SYS:-/sys}
RUN=${PVEWATCH_RUN:-/run}
CGROUP=${PVEWATCH_CGROUP:-$SYS/fs/cgroup}
MODULES=${PVEWATCH_MODULES:-/lib/modules}
NOTIFY_REBOOT=${PVEWATCH_NOTIFY_REBOOT:-/usr/share/update-notifier/notify-reboot-required}
OS_RELEASE=${PVEWATCH_OS_RELEASE:-/etc/os-release}

# The most that the wire format takes.
MAX_FILESYSTEMS=32
MAX_INTERFACES=16
MAX_SERVICES=32

# What services.bash wrote is believed for so long: its process may have ended.
SERVICES_BELIEVED_SECONDS=300

# --- writing JSON ----------------------------------------------------------------------------------------------------

# Prints $1 as a JSON string. What is not UTF-8 loses its bytes above 127 to `?`: one odd name must not make the whole
# heartbeat unreadable.
json_string() {
  local text=$1 out="" character code index
  is_utf8 "$text" || text=${text//[$'\x80'-$'\xff']/?}
  for ((index = 0; index < ${#text}; index++)); do
    character=${text:index:1}
    case $character in
      '"' | \\) out+=\\$character ;;
      [$'\x01'-$'\x1f'] | $'\x7f')
        printf -v code '\\u%04x' "'$character"
        out+=$code
        ;;
      *) out+=$character ;;
    esac
  done
  printf '"%s"' "$out"
}

# Whether $1 is UTF-8 (RFC 3629, section 4). LC_ALL=C makes bash see bytes.
is_utf8() {
  [[ $1 != *[$'\x80'-$'\xff']* ]] && return
  local tail=$'[\x80-\xbf]' sequence
  sequence=$'[\x01-\x7f]|[\xc2-\xdf]'"$tail|"$'\xe0[\xa0-\xbf]'"$tail|"$'[\xe1-\xec\xee\xef]'"$tail$tail|"
  sequence+=$'\xed[\x80-\x9f]'"$tail|"$'\xf0[\x90-\xbf]'"$tail$tail|"$'[\xf1-\xf3]'"$tail$tail$tail|"
  sequence+=$'\xf4[\x80-\x8f]'"$tail$tail"
  [[ $1 =~ ^($sequence)*$ ]]
}

# Whether $1 is a number as JSON and /proc write it, not below zero.
is_number() { [[ $1 =~ ^(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?$ ]]; }

# Joins its arguments that are not empty with commas.
join_fields() {
  local out="" field
  for field in "$@"; do
    [[ -n $field ]] && out+=${out:+,}$field
  done
  printf '%s' "$out"
}

# Prints `"$1":{fields}`, or nothing when none of the fields has a value.
json_object() {
  local name=$1 inside
  shift
  inside=$(join_fields "$@")
  [[ -z $inside ]] || printf '"%s":{%s}' "$name" "$inside"
}

# Prints `"$1":$2`, or nothing when $2 is not a number.
json_number() { ! is_number "$2" || printf '"%s":%s' "$1" "$2"; }

# --- fields ----------------------------------------------------------------------------------------------------------

field_agent() { printf '"agent":{"version":"%s","platform":"linux"}' "$PVEWATCH_AGENT_VERSION"; }

# A container shares the host's boot id: the start of its own process 1 (field 22 of proc_pid_stat(5), clock ticks since
# the host's boot) tells its boots apart.
field_boot_id() {
  local id=${PVEWATCH_BOOT_ID:-} stat
  if [[ -z $id ]]; then
    read_line id "$PROC/sys/kernel/random/boot_id" || return 0
    if in_container && read_line stat "$PROC/1/stat"; then
      # The command in field 2 may hold spaces; after its last parenthesis field 3 is the first word.
      read -ra stat <<<"${stat##*) }"
      id+=-${stat[19]:-0}
    fi
  fi
  [[ ! $id =~ ^[0-9A-Za-z._:-]{1,64}$ ]] || printf '"boot_id":"%s"' "$id"
}

field_time() { json_number time "$(now)"; }

field_uptime() {
  local line
  read_line line "$PROC/uptime" && json_number uptime_seconds "${line%% *}"
}

# The share in use since the previous call of remember_cpu.
field_cpu() {
  json_object cpu "$(cpu_usage_ratio)" "$(cpu_cores)"
}

cpu_usage_ratio() {
  local before after ratio
  read -r -a before <<<"$CPU_BEFORE"
  read -r -a after <<<"$(cpu_counters)"
  ((${#before[@]} == 2 && ${#after[@]} == 2)) || return 0
  local total=$((after[0] - before[0])) idle=$((after[1] - before[1]))
  # Right after the start, or where the counters went back, there is nothing to say.
  ((total > 0 && idle >= 0 && idle <= total)) || return 0
  printf -v ratio '%05d' $(((total - idle) * 10000 / total))
  json_number usage_ratio "${ratio:0:1}.${ratio:1}"
}

# Prints "total idle" in clock ticks. guest and guest_nice are counted in user and nice already (proc_stat(5)).
cpu_counters() {
  local name user nice system idle iowait irq softirq steal rest
  while read -r name user nice system idle iowait irq softirq steal rest; do
    [[ $name == cpu ]] || continue
    [[ $user$nice$system$idle$iowait$irq$softirq$steal =~ ^[0-9]+$ ]] || return 0
    printf '%d %d' $((user + nice + system + idle + iowait + irq + softirq + ${steal:-0})) $((idle + iowait))
    return
  done 2>/dev/null <"$PROC/stat"
}

remember_cpu() { CPU_BEFORE=$(cpu_counters); }

# Cores, and no more than the container's own limit allows: a part of a core counts as one.
cpu_cores() {
  local name rest quota period cores=0
  while read -r name rest; do
    [[ $name != cpu[0-9]* ]] || ((cores++))
  done 2>/dev/null <"$PROC/stat"
  if read_line quota "$CGROUP/cpu.max"; then
    read -r quota period <<<"$quota"
  elif read_line quota "$CGROUP/cpu/cpu.cfs_quota_us"; then
    read_line period "$CGROUP/cpu/cpu.cfs_period_us"
  fi
  # Without a limit the quota is "max" (version 2) or -1 (version 1).
  if [[ ${quota:-} =~ ^[1-9][0-9]{0,11}$ && ${period:-} =~ ^[1-9][0-9]{0,11}$ ]]; then
    quota=$(((quota + period - 1) / period))
    ((quota >= cores)) || cores=$quota
  fi
  ((cores == 0)) || json_number cores "$cores"
}

field_load() {
  local line
  read_line line "$PROC/loadavg" || return 0
  read -ra line <<<"$line"
  json_object load "$(json_number 1m "${line[0]:-}")" "$(json_number 5m "${line[1]:-}")" \
    "$(json_number 15m "${line[2]:-}")"
}

# Available, not free: the page cache is not used memory. Where a control group allows less than /proc/meminfo shows
# (a container without lxcfs), the group's limit is the size, and what it holds beyond inactive file pages is in use.
field_memory() {
  local size available limit in_use
  size=$(meminfo_bytes MemTotal)
  available=$(meminfo_bytes MemAvailable)
  [[ -n $size && -n $available ]] || return 0
  read -r limit in_use <<<"$(cgroup_memory)"
  if [[ -n $in_use ]] && ((limit < size)); then
    size=$limit
    ((available < limit - in_use)) || available=$((limit > in_use ? limit - in_use : 0))
  fi
  json_object memory "$(json_number size_bytes "$size")" "$(json_number available_bytes "$available")"
}

# Prints "limit in-use" in bytes of the control group that this process sees as its root, or nothing when it has no
# limit. Version 2, else version 1, which counts "no limit" as 2^63 less a page: more digits than is_number takes.
cgroup_memory() {
  local limit current inactive
  if read_line limit "$CGROUP/memory.max"; then
    read_line current "$CGROUP/memory.current" || return 0
    inactive=$(cgroup_memory_stat "$CGROUP/memory.stat" inactive_file)
  elif read_line limit "$CGROUP/memory/memory.limit_in_bytes"; then
    read_line current "$CGROUP/memory/memory.usage_in_bytes" || return 0
    inactive=$(cgroup_memory_stat "$CGROUP/memory/memory.stat" total_inactive_file)
  fi
  is_number "${limit:-}" && is_number "${current:-}" || return 0
  printf '%d %d' "$limit" $((current - ${inactive:-0}))
}

field_swap() {
  local size free limit current
  size=$(meminfo_bytes SwapTotal)
  free=$(meminfo_bytes SwapFree)
  [[ -n $size && -n $free ]] || return 0
  if read_line limit "$CGROUP/memory.swap.max" && is_number "$limit" && ((limit < size)) &&
    read_line current "$CGROUP/memory.swap.current" && is_number "$current"; then
    size=$limit
    ((free < limit - current)) || free=$((limit > current ? limit - current : 0))
  fi
  json_object swap "$(json_number size_bytes "$size")" "$(json_number free_bytes "$free")"
}

# Prints the bytes of one line of /proc/meminfo, which counts in kB of 1024.
meminfo_bytes() {
  local name value rest
  while read -r name value rest; do
    [[ $name == "$1:" ]] || continue
    [[ ! $value =~ ^[0-9]{1,15}$ ]] || printf '%d' $((value * 1024))
    return
  done 2>/dev/null <"$PROC/meminfo"
}

cgroup_memory_stat() {
  local name value
  while read -r name value; do
    [[ $name == "$2" ]] || continue
    [[ ! $value =~ ^[0-9]{1,18}$ ]] || printf '%d' "$value"
    return
  done 2>/dev/null <"$1"
}

# Local filesystems only: asking a network filesystem whose server is gone would hang. Each device once, at the place it
# was mounted first, so that bind mounts do not repeat it.
field_filesystems() {
  local device mountpoint type rest blocks entry out="" count=0
  local -A seen=()
  while read -r device mountpoint type rest; do
    is_local_filesystem "$type" "$mountpoint" || continue
    [[ -z ${seen[$device]:-} ]] || continue
    ((count < MAX_FILESYSTEMS)) || break
    # Spaces, tabs, line ends and backslashes come as \040 and so on (proc_pid_mounts(5)).
    printf -v mountpoint '%b' "${mountpoint//\\/\\0}"
    ((${#mountpoint} <= 255)) || continue
    read -ra blocks <<<"$(filesystem_blocks "$mountpoint")"
    [[ ${blocks[*]} =~ ^[0-9]{1,7}\ [0-9]{1,15}\ [0-9]{1,15}$ ]] || continue
    seen[$device]=1
    ((count++))
    printf -v entry '{"mountpoint":%s,"type":"%s","size_bytes":%d,"available_bytes":%d}' \
      "$(json_string "$mountpoint")" "$type" $((blocks[0] * blocks[1])) $((blocks[0] * blocks[2]))
    out+=${out:+,}$entry
  done 2>/dev/null <"$PROC/mounts"
  printf '"filesystems":[%s]' "$out"
}

is_local_filesystem() {
  case $1 in
    ext2 | ext3 | ext4 | xfs | btrfs | zfs | bcachefs | f2fs | jfs | reiserfs | vfat | exfat | ntfs | ntfs3) true ;;
    # A container's root; other overlays are other containers'.
    overlay) [[ $2 == / ]] ;;
    *) false ;;
  esac
}

# Prints "block size, blocks, blocks available to users" of the filesystem mounted at $1.
filesystem_blocks() { timeout 2 stat -f -c '%S %b %a' -- "$1" 2>/dev/null; }

# Interfaces that are up. Loopback says nothing, and the host's ends of other containers' interfaces (veth, cali) come and
# go under ever new names.
field_network() {
  local line name state counters entry out="" count=0
  while IFS= read -r line; do
    [[ $line == *:* ]] || continue
    read -r name <<<"${line%%:*}"
    case $name in lo | veth* | cali*) continue ;; esac
    # Some, such as tun, never say more than "unknown".
    read_line state "$SYS/class/net/$name/operstate" && [[ $state == up || $state == unknown ]] || continue
    ((count < MAX_INTERFACES)) || break
    # Field 1 is received bytes, field 9 sent bytes (proc_pid_net(5)).
    read -ra counters <<<"${line#*:}"
    if ! is_number "${counters[0]:-}" || ! is_number "${counters[8]:-}"; then continue; fi
    ((++count))
    printf -v entry '{"interface":%s,"received_bytes":%s,"sent_bytes":%s}' \
      "$(json_string "$name")" "${counters[0]}" "${counters[8]}"
    out+=${out:+,}$entry
  done 2>/dev/null <"$PROC/net/dev"
  printf '"network":[%s]' "$out"
}

# What the part that runs as root found (services.bash). When it is silent, the states are unknown.
field_services() {
  local uptime written name state restarts entry out="" count=0
  {
    read -r written
    read_line uptime "$PROC/uptime"
    while read -r name state restarts; do
      if [[ ! $state =~ ^[a-z]+$ || ! $restarts =~ ^[0-9]{1,9}$ ]] || ((count++ >= MAX_SERVICES)); then continue; fi
      ((${uptime%%.*} - written <= SERVICES_BELIEVED_SECONDS)) || state=unknown
      printf -v entry '{"name":%s,"state":"%s","restarts":%s}' "$(json_string "$name")" "$state" "$restarts"
      out+=${out:+,}$entry
    done
  } 2>/dev/null <"$RUN/pvewatch-agent/services"
  printf '"services":[%s]' "$out"
}

field_last_repair() {
  local line
  read_line line "$RUN/pvewatch-agent/last_repair" || return 0
  read -ra line <<<"$line"
  is_number "${line[0]:-}" && [[ ${line[2]:-} =~ ^[a-z_]+$ ]] || return 0
  printf '"last_repair":{"time":%s,"service":%s,"outcome":"%s"}' "${line[0]}" "$(json_string "${line[1]}")" "${line[2]}"
}

# Debian and Ubuntu leave a file when an upgrade wants a restart; where packages cannot say so, a running kernel whose
# modules are gone wants one too. Without either sign nothing is known.
field_pending_reboot() {
  local release installed
  if [[ -e $RUN/reboot-required ]]; then
    printf '"pending_reboot":true'
  elif ! in_container && read_line release "$PROC/sys/kernel/osrelease" &&
    installed=("$MODULES"/*/) && [[ -d ${installed[0]} && ! -d $MODULES/$release ]]; then
    printf '"pending_reboot":true'
  elif [[ -x $NOTIFY_REBOOT ]]; then
    printf '"pending_reboot":false'
  fi
}

# Only root may read it, so services.bash wrote it down. A container sees the UUID of its host there: not its own. Neither
# is it that of a simulated guest, whose agent is given an empty one.
field_smbios_uuid() {
  local uuid=${PVEWATCH_SMBIOS_UUID:-}
  if [[ -z ${PVEWATCH_SMBIOS_UUID+given} ]]; then
    ! in_container || return 0
    read_line uuid "$RUN/pvewatch-agent/smbios_uuid" || read_line uuid "$SYS/class/dmi/id/product_uuid" || return 0
  fi
  [[ ! $uuid =~ ^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$ ]] || printf '"smbios_uuid":"%s"' "$uuid"
}

field_os() {
  local name version
  name=$(os_release_value NAME)
  version=$(os_release_value VERSION_ID)
  [[ -n $name ]] || return 0
  json_object os "\"name\":$(json_string "${name:0:64}")" "${version:+\"version\":$(json_string "${version:0:64}")}"
}

# Prints one value of os-release(5) without its quotes. The file is read, never run.
os_release_value() {
  local line
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line == "$1="* ]] || continue
    line=${line#*=}
    line=${line#[\"\']}
    printf '%s' "${line%[\"\']}"
    return
  done 2>/dev/null <"$OS_RELEASE"
}

# The whole message; SEQUENCE, MISSED and INTERVAL are the sender's. Time and uptime are read last: a busy guest may take
# long over the others, and the exporter takes a message for late by what has passed since.
# shellcheck disable=SC2153 # the sender's variables, not the local ones of its load_state
payload() {
  local figures
  figures=$(join_fields "$(field_cpu)" "$(field_load)" "$(field_memory)" "$(field_swap)" "$(field_filesystems)" \
    "$(field_network)" "$(field_services)" "$(field_last_repair)" "$(field_pending_reboot)" "$(field_os)" \
    "$(field_smbios_uuid)")
  printf '{%s}\n' "$(join_fields '"schema":1' "$(field_agent)" "$(field_boot_id)" "\"sequence\":$SEQUENCE" \
    "\"missed\":$MISSED" "$(field_time)" "$(field_uptime)" "\"interval_seconds\":$INTERVAL" "$figures")"
}

# --- the system ------------------------------------------------------------------------------------------------------

# Reads the first line of file $2 into variable $1; fails when there is none.
read_line() { [[ -r $2 ]] && IFS= read -r "$1" 2>/dev/null <"$2"; }

# Unix seconds; with fractions where bash has them (5.0).
now() {
  if [[ -n ${EPOCHREALTIME:-} ]]; then
    printf '%s' "$EPOCHREALTIME"
  else
    printf '%(%s)T' -1
  fi
}

# Proxmox VE mounts lxcfs over parts of /proc in each container; systemd notes what it was told.
in_container() {
  [[ ! -e $RUN/systemd/container ]] || return 0
  local device mountpoint type rest
  while read -r device mountpoint type rest; do
    [[ $type != fuse.lxcfs ]] || return 0
  done 2>/dev/null <"$PROC/mounts"
  return 1
}
