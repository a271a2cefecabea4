#!/bin/bash
# A director's life on this kernel. Each step prints `STEP name ok|failed what was seen`; one that fails ends the job.
. ./network.sh
LB=./lb

main() {
    plug
    if ! start auto; then
        # A kernel that can't is told by name: the text is the result.
        if grep -q 'this kernel lacks' agent.log; then
            echo "REFUSED $(grep -m1 'this kernel lacks' agent.log)"
            step 'leaves nothing behind' test -z "$(traces)"
            return 0
        fi
        step 'load and attach' false
    fi
    step 'load and attach' is_attached xdp
    step 'forward IPv4' both "$VIP"
    step 'forward IPv6' both "$VIP6"
    step 'a real dies' real_dies
    step 'kill -9 and start again' unlost restart_killed
    step 'upgrade' unlost upgrade
    step 'upgrade over pins of another layout' unlost upgrade_layout
    step 'detach' detached
    start generic || step 'generic attach' false
    step 'generic attach' is_attached tc
    step 'generic IPv4' both "$VIP"
    step 'generic IPv6' both "$VIP6"
    step 'generic detach' detached
    . ./bond.sh
    bonds
}

# Runs the step's command and says how it went.
step() {
    local name=$1 how=failed
    shift
    # In this shell: the steps leave processes behind whose numbers the next ones need.
    "$@" > /tmp/seen 2>&1 && how=ok
    echo "STEP $name: $how $(tr -s '\n ' ' ' < /tmp/seen | cut -c 1-200)"
    if [ $how = failed ]; then
        tail -30 agent.log
        exit 1
    fi
}

# start MODE [BINARY]: starts the agent; false where it ends instead.
start() {
    configure "$1"
    : > agent.log
    "${2:-$LB}" run --config lb.toml > agent.log 2>&1 &
    agent=$!
    until grep -q ': ready' agent.log; do
        kill -0 $agent 2>/dev/null || return 1
        sleep 0.1
    done
}

configure() {
    cat > lb.toml <<CONFIG
[director]
interfaces = ["eth0"]
mode = "$1"
[limits]
services = 16
reals = 64
flows = 1024
[vrrp.v4]
interface = "eth0"
id = 1
priority = 255
advertise = "1s"
addresses = ["$VIP/24"]
[vrrp.v6]
interface = "eth0"
id = 1
priority = 255
advertise = "1s"
addresses = ["$VIP6/128"]
CONFIG
    local family
    for family in "v4 $VIP 10.0.0." "v6 [$VIP6] fd00::"; do
        set -- $family
        cat >> lb.toml <<CONFIG
[service.$1]
address = "$2:80"
protocol = "tcp"
scheduler = "rr"
ring_size = 251
check = { type = "tcp", interval = "1s", timeout = "900ms", rise = 1, fall = 2 }
[[service.$1.reals]]
address = "${3}12"
[[service.$1.reals]]
address = "${3}13"
CONFIG
    done
}

answers() {
    local number
    for number in $(seq "$2"); do ask "$1" || echo 'no answer'; done | sort | uniq -c | tr -s ' '
}

both() {
    await 60 is_two "$1" || return
    answers "$1" 6
}

is_two() {
    local told
    told=$(answers "$1" 4)
    echo "$told"
    [ "$(tr -d '\n' <<< "$told")" = ' 2 real 12 2 real 13' ]
}

# is_attached xdp|tc: the program is there, and nowhere else.
is_attached() {
    local seen
    seen=$(ways)
    echo "${seen:-$(grep -o 'attached.*' agent.log)}"
    grep -o "what the kernel drops .* isn't counted.*" agent.log
    [ "$seen" = "$1" ]
}

# Where programs of the director run: `xdp`, `xdpgeneric`, `tc`. The latter is told by its name, since not every bpftool
# knows of tcx; it is loaded for as long as an interface has it.
ways() {
    ip -o link show eth0 | grep -oE '\bxdp(generic)?[ /]' | tr -d ' /' | head -1
    bpftool prog show name lb_tc | grep -q lb_tc && echo tc
}

real_dies() {
    kill "$httpd12"
    await 60 is_down || return
    local told
    told=$(answers "$VIP" 6)
    echo "$told"
    [ "$told" = ' 6 real 13' ] || return
    serve 12
    await 60 is_two "$VIP"
}

is_down() {
    "$LB" list | grep -A1 10.0.0.12 | grep DOWN
}

# unlost COMMAND…: a client asks all the while; no answer is missing, and nothing had to be sent twice.
unlost() {
    local before after asked
    rm -f /tmp/stop /tmp/asked
    before=$(resent)
    (
        asked=0
        until [ -e /tmp/stop ]; do
            ask "$VIP" > /tmp/answer && asked=$((asked + 1)) || echo 'no answer' >> /tmp/missed
            echo $asked > /tmp/asked
        done
    ) &
    local load=$!
    "$@" || return
    asked=$(cat /tmp/asked)
    await 60 more_than $((asked + 10)) || return
    touch /tmp/stop
    wait $load
    after=$(resent)
    echo "$(cat /tmp/asked) requests, $((after - before)) sent again"
    [ ! -e /tmp/missed ] && [ "$before" = "$after" ]
}

more_than() {
    [ "$(cat /tmp/asked)" -gt "$1" ]
}

# Segments that the client had to send again.
resent() {
    ip netns exec host10 cat /proc/net/snmp | awk '/^Tcp: [0-9]/ { print $13 }'
}

restart_killed() {
    kill -9 $agent
    wait $agent 2>/dev/null
    start auto && grep -q 'adopted, without a gap' agent.log
}

upgrade() {
    stop
    cp "$LB" /tmp/lb-new
    start auto /tmp/lb-new && grep -q 'adopted, without a gap' agent.log
}

upgrade_layout() {
    stop
    mv /sys/fs/bpf/lb/* /sys/fs/bpf/lb/0000000000000000
    start auto && grep -q 'taken over' agent.log
}

stop() {
    kill $agent
    wait $agent
}

detached() {
    stop
    "$LB" detach
    traces
    [ -z "$(traces)" ]
}

# What a director leaves on its host.
traces() {
    ls -d /sys/fs/bpf/lb 2>/dev/null
    ways
    tc qdisc show dev eth0 | grep clsact
    ip -o addr show dev eth0 | grep -oE "$VIP/|$VIP6/"
}

main
