#!/bin/bash
# Closed connections in the lists of IPVS and of lb, one after the other on the same network: requests in a row, each over a
# connection of its own, and both lists at some seconds after the last of them. Lines that begin with `SEEN ` are for people;
# what isn't as it is told there ends the job.
. ./network.sh
REQUESTS=50 TIMES=(0 1 5 10)

main() {
    plug
    ipvs
    watch ipvsadm -Ln
    check ipvs "0 $REQUESTS"
    ipvsadm -C
    ip addr del "$VIP/32" dev eth0
    lb
    watch ./lb list
    check lb '0 0'
}

# The same two reals, by direct routing.
ipvs() {
    ip addr add "$VIP/32" dev eth0
    ipvsadm -A -t "$VIP:80" -s rr
    local real
    for real in 12 13; do ipvsadm -a -t "$VIP:80" -r "10.0.0.$real:80" -g; done
}

lb() {
    cat > lb.toml <<CONFIG
[director]
interfaces = ["eth0"]
[limits]
services = 16
reals = 64
flows = 1024
[vrrp.web]
interface = "eth0"
id = 1
priority = 255
addresses = ["$VIP/24"]
[service.web]
address = "$VIP:80"
protocol = "tcp"
scheduler = "rr"
ring_size = 251
reals = [{ address = "10.0.0.12" }, { address = "10.0.0.13" }]
CONFIG
    ./lb run --config lb.toml > agent.log 2>&1 &
    await 60 grep ': ready' agent.log || fail "$(cat agent.log)"
    await 60 is_ready || fail "it has no VIP, or no reals: $(./lb list)"
}

is_ready() {
    ip -o addr show dev eth0 | grep -F "$VIP/" && ./lb list > /tmp/list && ! grep DOWN /tmp/list
}

# watch COMMAND…: asks, then lists.
watch() {
    local start at
    asks || fail 'an answer is missing'
    start=$(clock)
    for at in "${TIMES[@]}"; do
        until [ $(($(clock) - start)) -ge $((at * 1000)) ]; do sleep 0.05; done
        "$@" > "/tmp/list" || fail "$*: $(cat /tmp/list)"
        echo "SEEN # ${*#./} ($at s after the last)"
        grep -A4 '^Prot' /tmp/list | sed 's/^/SEEN /'
    done
}

# In one process, so that they are as close as a client can be.
asks() {
    ip netns exec host10 bash -c 'for number in $(seq "$1"); do
        exec 3<>"/dev/tcp/$0/80" && printf "GET / HTTP/1.0\r\n\r\n" >&3 && read -r answer <&3 && cat <&3 && exec 3>&- || exit 1
    done' "$VIP" "$REQUESTS" > /tmp/answers
}

# Milliseconds since the boot.
clock() {
    awk '{ printf "%d", $1 * 1000 }' /proc/uptime
}

# ActiveConn and InActConn of all reals of a list together.
counts() {
    awk '$3 == "Route" { active += $5; inactive += $6 } END { print active + 0, inactive + 0 }'
}

# check WHO EXPECTED: of the last list.
check() {
    local seen
    seen=$(counts < /tmp/list)
    [ "$seen" = "$2" ] || fail "$1: the last list has $seen, expected $2"
}

fail() {
    echo "FAILED $*"
    exit 1
}

main
