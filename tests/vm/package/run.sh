#!/bin/bash
# The package's life on a machine with systemd, over a reboot: each step prints `STEP name: ok|failed what was seen`.
cd /job
. ./network.sh
mkdir -p /run/netns

main() {
    case "$(cat /var/lib/job-stage 2>/dev/null)" in
    '') installed ;;
    rebooted) rebooted ;;
    esac
}

installed() {
    plug
    step 'the package is installed' dpkg -i old.deb
    step 'its unit waits for a configuration' unconfigured
    configure
    step 'it starts' systemctl start lb
    step 'it forwards IPv4' await 60 both "$VIP"
    step 'it forwards IPv6' await 60 both "$VIP6"
    step 'its group may ask' as_member
    step 'systemctl reload' systemctl reload lb
    step 'the journal has its lines' journal
    step 'a wrong file changes nothing' wrong_file
    step 'a hung agent is replaced' hung
    step 'an upgrade loses nothing' unlost upgrade
    step 'systemd-analyze security' hardened
    echo rebooted > /var/lib/job-stage
    sync
    echo 'JOB reboot'
    systemctl reboot
}

rebooted() {
    step 'at boot it waits for its interface' waits
    plug
    step 'it forwards when that is there' await 60 both "$VIP"
    step 'a start with a wrong file ends, and is told' ends
    step 'it is removed' removed
    step 'it is purged' purged
    [ -e /var/lib/job-failed ]
    echo "JOB $((1 - $?))"
    systemctl poweroff
}

# Runs the step's command and says how it went. All are run: one boot takes minutes where it is emulated.
step() {
    local name=$1 how=failed
    shift
    "$@" > /tmp/seen 2>&1 && how=ok
    echo "STEP $name: $how $(tr -s '\n ' ' ' < /tmp/seen | cut -c 1-200)"
    if [ $how = failed ]; then
        cat /tmp/seen
        journalctl -u lb -n 30 --no-pager
        touch /var/lib/job-failed
    fi
}

configure() {
    cat > /etc/lb/lb.toml <<CONFIG
[director]
interfaces = ["eth0"]

[vrrp.web]
interface = "eth0"
id = 10
version = 3
advertise = "100ms"
addresses = ["$VIP/24"]

[vrrp.web6]
interface = "eth0"
id = 11
version = 3
advertise = "100ms"
addresses = ["$VIP6/64"]
$(service web "$VIP:80" 10.0.0)
$(service web6 "[$VIP6]:80" fd00:)
CONFIG
}

# service NAME ADDRESS PREFIX
service() {
    local separator=.
    [ "$3" = fd00: ] && separator=:
    cat <<CONFIG
[service.$1]
address = "$2"
protocol = "tcp"
scheduler = "rr"
check = { type = "tcp", interval = "200ms", timeout = "150ms" }
reals = [{ address = "$3${separator}12" }, { address = "$3${separator}13" }]
CONFIG
}

unconfigured() {
    systemctl is-enabled lb && ! systemctl is-active lb && getent group lb && test -d /etc/lb
}

# Both reals answer at the VIP.
both() {
    local seen=
    for _ in 1 2 3 4 5 6 7 8; do
        seen+=$(ask "$1") || return 1
    done
    echo "$seen"
    [[ $seen == *'real 12'* && $seen == *'real 13'* ]]
}

as_member() {
    useradd --no-create-home --groups lb tester
    setpriv --reuid tester --regid tester --init-groups lb list
}

journal() {
    journalctl -t lb -o json --no-pager | grep -q '"PRIORITY":"6"' && journalctl -t lb --no-pager | grep ': ready'
}

wrong_file() {
    cp /etc/lb/lb.toml good.toml
    echo 'nonsense = 1' >> /etc/lb/lb.toml
    systemctl reload lb && return 1
    both "$VIP"
    local code=$?
    cp good.toml /etc/lb/lb.toml
    return $code
}

# WatchdogSec ends one that does nothing, and Restart brings the next.
hung() {
    local before
    before=$(systemctl show -P MainPID lb)
    kill -STOP "$before"
    await 120 replaced "$before" && await 60 both "$VIP" && systemctl show -P NRestarts lb
}

replaced() {
    local now
    now=$(systemctl show -P MainPID lb)
    [ "$now" != 0 ] && [ "$now" != "$1" ] && systemctl is-active lb
}

upgrade() {
    dpkg -i new.deb && systemctl is-active lb && dpkg -s lb | grep '^Version: .*-2'
}

# The client asks all the while, and each time is answered.
unlost() {
    local asking code
    ( while ! [ -e /tmp/enough ]; do ask "$VIP" || echo lost; done > /tmp/answers 2>&1 ) &
    asking=$!
    "$@"
    code=$?
    await 60 both "$VIP" || code=1
    touch /tmp/enough
    wait $asking
    echo "$(grep -c '^real' /tmp/answers) answered, $(grep -vc '^real' /tmp/answers) lost"
    [ $code = 0 ] && [ "$(grep -vc '^real' /tmp/answers)" = 0 ] && [ "$(grep -c '^real' /tmp/answers)" -gt 5 ]
}

hardened() {
    systemd-analyze security lb --no-pager | tail -1
    systemd-analyze security lb --no-pager --threshold 30 > /dev/null
}

waits() {
    await 30 told 'waited for' && systemctl show -P ActiveState lb
}

told() {
    journalctl -b -u lb --no-pager | grep "$1"
}

ends() {
    echo 'nonsense = 1' >> /etc/lb/lb.toml
    systemctl restart lb && return 1
    await 20 failed && await 20 released
    local code=$?
    cp good.toml /etc/lb/lb.toml
    systemctl reset-failed lb
    systemctl start lb && await 60 both "$VIP" || code=1
    return $code
}

failed() {
    [ "$(systemctl is-failed lb)" = failed ]
}

released() {
    journalctl -b -u lb-release --no-pager | grep -q 'Finished\|Deactivated'
}

removed() {
    dpkg -r lb
    ! [ -e /usr/bin/lb ] && ! ls /sys/fs/bpf/lb 2>/dev/null && ! ip link show eth0 | grep -q xdp &&
        ! ip addr show eth0 | grep -q "$VIP" && [ -e /etc/lb/lb.toml ]
}

purged() {
    dpkg --purge lb
    local left
    left=$(ls -d /etc/lb /var/lib/lb /run/lb /usr/share/doc/lb /etc/systemd/system/multi-user.target.wants/lb.service 2>/dev/null)
    echo "left: $left"
    [ -z "$left" ] && ! getent group lb
}

main
