#!/usr/bin/env bash
# Makes, shows, renews and removes pvewatch's tokens on a Proxmox VE 8 or 9 host. `setup-token.sh --help` says how.
#
# bash, pveum, pvesh and perl: pveum is a Perl program itself, and JSON::PP comes with every Perl, so this parser is on
# every Proxmox VE host; python3 need not be.
#
# Why it is done so, all of it seen on 8.4 and 9.2:
# - A token with privilege separation may do only what the user *and* the token may: each grant is made to both.
# - Every token has a user of its own. An entry on a longer path replaces an inherited one, so with one user for all the
#   grant of the power token on /pool/x would take Pool.Audit there away from the monitor token.
# - Deleting a guest deletes every entry on /vms/ID; an entry on /pool/NAME stays. So: grant on pools.
# - pveum's exit codes are leftovers, and an entry on a pool that does not exist is accepted: names are looked up first,
#   and everything is read back afterwards. A role's name may not begin with PVE, in any case: hence watch-…
set -uo pipefail
export LC_ALL=C
umask 077

readonly REFUSED=1 USAGE=2 TOKEN=main
readonly ETC=${PVEWATCH_ETC_PVE:-/etc/pve}
action=create version='' secret_dir='' printing=no vm_monitor=no notifications=no
trap '[[ -z $scratch ]] || rm -f -- "$scratch"' EXIT
mode=apply # apply | print: only show the commands | verify: only note what is still to do
names=() scopes=() pools=() storages=() bridges=() nodes=() guests=() left=()
users='' roles='' entries='' tokens='' said='' scratch='' changes=0

usage() {
    cat <<'TEXT'
Usage, as root on any node of a Proxmox VE 8 or 9 cluster:

  setup-token.sh [create] [OPTIONS] [monitor] [power] [provision]
                            make what is missing; run again, it changes nothing and never makes a new secret.
                            Without names: monitor; power too if guests are given; provision if a storage is given
  setup-token.sh show       users, tokens, roles and where they are granted; never a secret
  setup-token.sh rotate NAME [--secret-dir DIR]    a new secret; the old one is refused from then on
  setup-token.sh revoke NAME                       remove the token, its user and its roles

  monitor     reads everything, changes nothing                  pvewatch-monitor@pve!main
  power       starts, shuts down and resets the guests given     pvewatch-power@pve!main
  provision   makes and deletes guests in the pools given        pvewatch-provision@pve!main

Which guests (power; provision takes pools only):
  --pool NAME        the guests of a pool; may be repeated. Best: a pool keeps the grant when a guest is deleted
  --guest VMID       one guest; may be repeated. Deleting or restoring the guest loses the grant: run this again then
  --all-guests       every guest there is and will be
What provision may use:
  --storage NAME     for disks and templates; may be repeated
  --bridge NAME      for network cards, or --vnet ZONE/VNET of the SDN; may be repeated
  --node NAME        lets it fetch templates by this node's network; may be repeated

  --secret-dir DIR   write each secret to DIR/NAME (0600) instead of showing it once
  --notifications    let monitor read notification targets (Mapping.Audit); it can send test messages then
  --vm-monitor       Proxmox VE 8: let monitor ask guest agents (VM.Monitor); it can run commands in guests then
  --dry-run          print the commands that are still needed here; change nothing
  --print            print all commands for an empty host, asking nothing; needs --pve-version
  --pve-version 8|9  with --print
Exit: 0 as wanted; 1 refused, or not there when read back; 2 wrong usage or place.
TEXT
}

die() { # die CODE TEXT…
    printf 'setup-token.sh: %s\n' "${*:2}" >&2
    exit "$1"
}

wrong() { die "$USAGE" "$1; see setup-token.sh --help"; }
user_of() { printf 'pvewatch-%s@pve' "$1"; }
roles_of() { case $1 in provision) each 'watch-provision%s' '' -storage -network -node ;; *) echo "watch-$1" ;; esac; }

privileges() {
    case $1 in
        watch-monitor)
            printf 'Sys.Audit VM.Audit Datastore.Audit Pool.Audit SDN.Audit'
            [[ $notifications == no ]] || printf ' Mapping.Audit'
            # What 8 has for guest agents, VM.Monitor, also runs commands in guests; 9 has a right for reading alone.
            ((version < 9)) || printf ' VM.GuestAgent.Audit'
            [[ $vm_monitor == no ]] || printf ' VM.Monitor'
            ;;
        watch-power) printf 'VM.Audit VM.PowerMgmt' ;;
        watch-provision)
            printf 'VM.Audit VM.Allocate VM.Config.Disk VM.Config.CPU VM.Config.Memory VM.Config.Network'
            printf ' VM.Config.Options VM.PowerMgmt VM.Clone Pool.Audit'
            ;;
        watch-provision-storage) printf 'Datastore.Audit Datastore.AllocateSpace Datastore.AllocateTemplate' ;;
        watch-provision-network) printf 'SDN.Use SDN.Audit' ;;
        watch-provision-node) printf 'Sys.AccessNetwork' ;;
    esac
}

each() { # each FORMAT THING…: a line for each thing
    local thing
    for thing in "${@:2}"; do echo "${1/\%s/"$thing"}"; done
}

grants_of() { # lines of: PATH ROLE
    case $1 in
        monitor) echo '/ watch-monitor' ;;
        power) each '%s watch-power' "${scopes[@]}" ;;
        provision)
            each '/pool/%s watch-provision' "${pools[@]}"
            each '/storage/%s watch-provision-storage' "${storages[@]}"
            each '/sdn/zones/%s watch-provision-network' "${bridges[@]}"
            each '/nodes/%s watch-provision-node' "${nodes[@]}"
            ;;
    esac
}

rows() { # a JSON list on standard input → the named fields of each row, separated by tabs
    perl -MJSON::PP=decode_json -e 'local $/; for my $row (@{ decode_json(<STDIN>) }) {
        print join("\t", map { $row->{$_} // "" } @ARGV), "\n" }' -- "$@"
}

list() { # list "COMMAND…" FIELD…
    local answer command
    read -ra command <<<"$1"
    answer=$("${command[@]}" --output-format json) || die "$REFUSED" "\`$1\` failed; mend that first"
    rows "${@:2}" <<<"$answer" || die "$REFUSED" "\`$1 --output-format json\` did not print JSON"
}

read_state() {
    [[ $printing == no ]] || return 0
    local name user found
    users=$(list 'pveum user list' userid) || exit
    roles=$(list 'pveum role list' roleid privs) || exit
    entries=$(list 'pveum acl list' path type ugid roleid propagate) || exit
    tokens=''
    for name in monitor power provision; do
        user=$(user_of "$name")
        has_user "$user" || continue
        found=$(list "pveum user token list $user" tokenid privsep expire) || exit
        tokens+=$(grep "^$TOKEN"$'\t' <<<"$found" | sed "s/^/$user!/")$'\n'
    done
}

has_user() { grep -qxF "$1" <<<"$users"; }
token_row() { grep -F "$1!$TOKEN"$'\t' <<<"$tokens"; }
role_row() { grep "^$1"$'\t' <<<"$roles"; }
in_order() { tr -s ', ' '\n' | sort | paste -sd ' '; }
entries_of() { awk -F '\t' -v user="$1" -v token="$1!$TOKEN" '$3 == user || $3 == token' <<<"$entries"; }

command_line() {
    local word line=''
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9@%_+=:,./-]+$ ]] || word="'$word'"
        line+="${line:+ }$word"
    done
    printf '%s' "$line"
}

change() { # change PVEUM-ARGUMENTS…: leaves what pveum said in `said`; returns 1 where it refused
    local line
    line=$(command_line pveum "$@")
    changes=$((changes + 1))
    case $mode in
        verify) left+=("$line") ;;
        print) printf '%s\n' "$line" ;;
        apply)
            printf '  %s\n' "$line"
            said=$(pveum "$@" 2>&1 </dev/null) || return 1
            ;;
    esac
}

must() { # a change without which the rest makes no sense
    change "$@" || die "$REFUSED" "refused: $said"$'\nWhat was made stays; mend the cause and run the same again.'
}

obtain_secret() { # obtain_secret NAME PVEUM-ARGUMENTS…: what prints a new secret; it cannot be read a second time
    local name=$1 secret whom
    whom="$(user_of "$name")!$TOKEN"
    if [[ $mode == apply && -n $secret_dir ]]; then # so first the place, then the secret
        if ! mkdir -p -- "$secret_dir" || ! scratch=$(mktemp -- "$secret_dir/.$name.XXXXXX"); then
            die "$USAGE" "$secret_dir cannot be written; give another --secret-dir. No secret was made"
        fi
    fi
    change "${@:2}" --output-format json || return 1
    [[ $mode == apply ]] || return 0
    secret=$(perl -MJSON::PP=decode_json -ne 'print decode_json($_)->{value} // "" if /^\{/' <<<"$said")
    [[ -n $secret ]] || die "$REFUSED" "$whom: no secret was printed; run: setup-token.sh rotate $name"
    if [[ -z $secret_dir ]]; then
        printf '\n%s: secret of %s, shown this once: %s\n\n' "$name" "$whom" "$secret"
    elif printf '%s\n' "$secret" >"$scratch" && mv -fT -- "$scratch" "$secret_dir/$name"; then
        printf '\n%s: secret of %s is in %s\n\n' "$name" "$whom" "$secret_dir/$name"
    else
        die "$REFUSED" "$secret_dir/$name could not be written, the secret is lost; run: setup-token.sh rotate $name"
    fi
}

make_token() { # make_token NAME [--expire UNIXTIME]
    obtain_secret "$1" user token add "$(user_of "$1")" "$TOKEN" --privsep 1 "${@:2}" || die "$REFUSED" "refused: $said"
}

grant() { # grant --users|--tokens WHOM "PATH ROLE": only where it is not there
    local type=${1#--} path=${3% *} role=${3#* }
    grep -qxF "$path"$'\t'"${type%s}"$'\t'"$2"$'\t'"$role"$'\t1' <<<"$entries" ||
        must acl modify "$path" "$1" "$2" --roles "$role"
}

create() {
    local name=$1 user role wanted row line
    user=$(user_of "$name")
    for role in $(grants_of "$name" | cut -d ' ' -f 2 | awk '!seen[$0]++'); do
        wanted=$(privileges "$role")
        if ! row=$(role_row "$role"); then
            must role add "$role" --privs "$wanted"
        elif [[ $(cut -f 2 <<<"$row" | in_order) != "$(in_order <<<"$wanted")" ]]; then
            must role modify "$role" --privs "$wanted"
        fi
    done
    has_user "$user" || must user add "$user" --comment "pvewatch $name"
    while read -r line; do grant --users "$user" "$line"; done < <(grants_of "$name")
    if ! row=$(token_row "$user"); then
        make_token "$name"
    elif [[ $(cut -f 2 <<<"$row") != 1 ]]; then # without separation it may do all that its user may
        must user token modify "$user" "$TOKEN" --privsep 1
    fi
    while read -r line; do grant --tokens "$user!$TOKEN" "$line"; done < <(grants_of "$name")
}

also_granted() { # what earlier runs granted and this one does not name; nothing is taken away unasked
    local path type whom role rest
    while IFS=$'\t' read -r path type whom role rest; do
        [[ -z $path ]] || grants_of "$1" | grep -qxF "$path $role" ||
            printf 'also granted, from before: %s; to end it: %s\n' "$path" \
                "$(command_line pveum acl delete "$path" "--${type}s" "$whom" --roles "$role")"
    done < <(entries_of "$(user_of "$1")")
}

rotate() {
    local name=$1 user row before line
    user=$(user_of "$name")
    row=$(token_row "$user") || die "$REFUSED" "there is no token $user!$TOKEN; make it with: setup-token.sh create"
    if ((version >= 9)); then
        obtain_secret "$name" user token modify "$user" "$TOKEN" --regenerate 1 && return 0
        [[ $said == *'Unknown option: regenerate'* ]] || die "$REFUSED" "refused: $said"
    fi
    # Proxmox VE 8 cannot renew a secret: the token is made anew, and its entries go with the old one.
    before=$(awk -F '\t' -v who="$user!$TOKEN" '$3 == who {print $1 " " $4}' <<<"$entries")
    must user token remove "$user" "$TOKEN"
    row=$(cut -f 3 <<<"$row")
    if [[ ${row:-0} == 0 ]]; then make_token "$name"; else make_token "$name" --expire "$row"; fi
    while read -r line; do
        [[ -z $line ]] || must acl modify "${line% *}" --tokens "$user!$TOKEN" --roles "${line#* }"
    done <<<"$before"
}

revoke() {
    local name=$1 user role path type whom rest
    user=$(user_of "$name")
    while IFS=$'\t' read -r path type whom role rest; do
        [[ -z $path ]] || must acl delete "$path" "--${type}s" "$whom" --roles "$role"
    done < <(entries_of "$user")
    ! token_row "$user" >/dev/null || must user token remove "$user" "$TOKEN"
    ! has_user "$user" || must user delete "$user"
    for role in $(roles_of "$name"); do
        role_row "$role" >/dev/null || continue
        if awk -F '\t' -v role="$role" -v user="$user" -v token="$user!$TOKEN" \
            '$4 == role && $3 != user && $3 != token {found = 1} END {exit !found}' <<<"$entries"; then
            echo "the role $role stays: somebody else has been granted it"
        else
            must role delete "$role"
        fi
    done
}

show() {
    local name user row role
    for name in monitor power provision; do
        user=$(user_of "$name")
        if ! row=$(token_row "$user"); then
            echo "$name: no token $user!$TOKEN"
            continue
        fi
        printf '%s: %s!%s' "$name" "$user" "$TOKEN"
        [[ $(cut -f 2 <<<"$row") == 1 ]] || printf '  WITHOUT privilege separation'
        row=$(cut -f 3 <<<"$row")
        [[ ${row:-0} == 0 ]] || printf '  expires %s' "$(date -u -d "@$row" +%F)"
        printf '\n'
        entries_of "$user" | awk -F '\t' '{printf "  %-5s %s on %s\n", $2, $4, $1}'
        for role in $(roles_of "$name"); do
            ! row=$(role_row "$role") || printf '  role  %s: %s\n' "$role" "$(cut -f 2 <<<"$row" | in_order)"
        done
    done
}

show_certificate() {
    local file
    for file in "$ETC/local/pveproxy-ssl.pem" "$ETC/local/pve-ssl.pem"; do
        [[ -r $file ]] || continue
        printf '\nThis host shows a certificate with the SHA-256 fingerprint\n  %s\n%s\n' \
            "$(openssl x509 -noout -fingerprint -sha256 -in "$file" | cut -d = -f 2)" \
            'On the machine that watches: pvewatch init'
        return 0
    done
}

value() { # value WHAT PATTERN OPTION VALUE: sets `given`, or refuses
    [[ ${4-} =~ ^($2)$ ]] || wrong "$3 needs $1, and \"${4-}\" is none"
    given=$4
}

parse() {
    local first=yes given option name='[A-Za-z0-9][A-Za-z0-9_.-]*'
    while (($#)); do
        option=$1 given=''
        case $option in
            --pool) value 'the name of a pool' "$name(/$name)*" "$@" && pools+=("$given") && scopes+=("/pool/$given") ;;
            --guest) value 'a VMID' '[1-9][0-9]{2,8}' "$@" && guests+=("$given") && scopes+=("/vms/$given") ;;
            --storage) value 'the name of a storage' "$name" "$@" && storages+=("$given") ;;
            --bridge) value 'a bridge' "$name" "$@" && bridges+=("localnetwork/$given") ;;
            --vnet) value 'ZONE/VNET' "$name/$name" "$@" && bridges+=("$given") ;;
            --node) value 'the name of a node' "$name" "$@" && nodes+=("$given") ;;
            --secret-dir) value 'a folder' '[^-].*' "$@" && secret_dir=$given ;;
            --pve-version) value '8 or 9' '[89]' "$@" && version=$given ;;
            --all-guests) scopes+=(/vms) ;;
            --notifications) notifications=yes ;;
            --vm-monitor) vm_monitor=yes ;;
            --dry-run) mode=print ;;
            --print) mode=print printing=yes ;;
            -h | --help) usage && exit 0 ;;
            monitor | power | provision) names+=("$option") ;;
            create | show | rotate | revoke)
                [[ $first == yes ]] || wrong "$option comes first"
                action=$option
                ;;
            *) wrong "$option is not known" ;;
        esac
        [[ -z $given ]] || shift
        shift
        first=no
    done
    if [[ $action == create && ${#names[@]} == 0 ]]; then
        names=(monitor)
        ((${#scopes[@]} == 0)) || names+=(power)
        ((${#storages[@]} == 0)) || names+=(provision)
    fi
    [[ $action != @(rotate|revoke) || ${#names[@]} == 1 ]] || wrong "$action needs one of monitor, power, provision"
    [[ $printing == no || ($action == create && -n $version) ]] || wrong '--print goes with create and --pve-version'
    [[ $printing == yes || -z $version ]] || wrong '--pve-version goes with --print; elsewhere the host is asked'
    [[ $action == create ]] || return 0
    [[ " ${names[*]} " != *' power '* ]] || ((${#scopes[@]})) ||
        wrong 'which guests may power touch? Give --pool NAME, --guest VMID or --all-guests'
    [[ " ${names[*]} " != *' provision '* ]] || ((${#pools[@]} && ${#storages[@]})) ||
        wrong 'provision needs --pool NAME and --storage NAME'
}

# An entry on something that is not there would be accepted in silence.
known() { # known WHAT FIELD "PVESH-COMMAND" NAME…
    local there name
    (($# > 3)) || return 0
    there=$(list "$3" "$2") || exit
    for name in "${@:4}"; do
        grep -qxF -- "$name" <<<"$there" || die "$USAGE" "there is no $1 $name; there are: $(paste -sd ' ' <<<"$there")"
    done
}

look_around() {
    local said
    [[ $printing == no ]] || return 0
    command -v pveversion pveum >/dev/null ||
        die "$USAGE" 'this is not a Proxmox VE host: run it on a node, or copy what --print --pve-version 8|9 prints'
    [[ $(id -u) == 0 ]] || die "$USAGE" 'only root may do this: run it as root'
    said=$(pveversion)
    [[ $said =~ ^pve-manager/([0-9]+)\. ]] || die "$USAGE" "pveversion said nothing known: $said"
    version=${BASH_REMATCH[1]}
    ((version == 8 || version == 9)) || die "$USAGE" "Proxmox VE $version is not known here, 8 and 9 are"
    known pool poolid 'pvesh get /pools' "${pools[@]}"
    known storage storage 'pvesh get /storage' "${storages[@]}"
    known node node 'pvesh get /nodes' "${nodes[@]}"
    known guest vmid 'pvesh get /cluster/resources --type vm' "${guests[@]}"
}

main() {
    local name
    parse "$@"
    look_around
    [[ $vm_monitor == no ]] || ((version == 8)) || wrong '--vm-monitor is for Proxmox VE 8: 9 has no VM.Monitor'
    ((${#guests[@]} == 0)) || echo 'note: deleting a guest deletes its grant too; a --pool keeps it' >&2
    read_state
    [[ $action != show ]] || { show && show_certificate && return 0; }
    for name in "${names[@]}"; do "$action" "$name"; done
    ((changes)) || echo '# Everything is as wanted; there is nothing to change.'
    [[ $mode == apply ]] || return 0
    # pveum's word is not enough: what is still to do after a second look was not done.
    mode=verify
    read_state
    if [[ $action != rotate ]]; then
        for name in "${names[@]}"; do "$action" "$name" >/dev/null; done
    elif ! token_row "$(user_of "${names[0]}")" >/dev/null; then
        left+=("the token $(user_of "${names[0]}")!$TOKEN")
    fi
    if ((${#left[@]})); then
        printf 'setup-token.sh: pveum reported success, and this is not so when read back:\n' >&2
        printf '  %s\n' "${left[@]}" >&2
        return "$REFUSED"
    fi
    [[ $action != create ]] || for name in "${names[@]}"; do also_granted "$name"; done
    [[ $action == revoke ]] || show_certificate
}

main "$@"
