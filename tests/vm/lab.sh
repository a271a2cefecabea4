#!/bin/bash
# A director's life on this kernel. The director is the guest itself; a switch, a client and two reals are network
# namespaces. Each step prints `STEP name ok|failed what was seen`; one that fails ends the job.
VIP=10.0.0.100 VIP6=fd01::100
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

# A bridge in a namespace of its own, and who hangs on it.
plug() {
    ip netns add switch
    ip -n switch link add br0 type bridge forward_delay 0 mcast_snooping 0
    ip -n switch link set br0 up
    # `ip -n` has a /sys of its own, without what is pinned below it.
    mkdir /pins
    mount -t bpf bpf /pins
    bpftool prog loadall baseline.o /pins/base
    cable 11 ''
    for number in 10 12 13; do
        ip netns add "host$number"
        cable "$number" "host$number"
    done
    ip -n host10 route add "$VIP6/128" via fd00::11
    local number
    for number in 12 13; do
        ip netns exec "host$number" bash -c 'echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
            echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce'
        ip -n "host$number" addr add "$VIP/32" dev lo
        ip -n "host$number" addr add "$VIP6/128" dev lo nodad
        mkdir -p "/tmp/$number"
        echo "real $number" > "/tmp/$number/index.html"
        serve "$number"
    done
}

# cable NUMBER NAMESPACE: an interface eth0 with the addresses of that number, on the switch.
cable() {
    local inside=()
    [ -n "$2" ] && inside=(-n "$2")
    ip link add "port$1" netns switch type veth peer name eth0 ${2:+netns "$2"}
    ip -n switch link set "port$1" master br0 up
    # A veth takes XDP_TX frames of its peer only where it has a program itself.
    [ -z "$2" ] && ip -n switch link set dev "port$1" xdpdrv pinned /pins/base/base_pass
    ip "${inside[@]}" addr add "10.0.0.$1/24" dev eth0
    ip "${inside[@]}" addr add "fd00::$1/64" dev eth0 nodad
    ip "${inside[@]}" link set eth0 up
    ip "${inside[@]}" link set lo up
    # A veth leaves checksums to hardware that isn't there, and native XDP sees the frame as it is.
    [ -n "$2" ] && ip netns exec "$2" ethtool -K eth0 tx off > /tmp/ethtool
    return 0
}

serve() {
    ip netns exec "host$1" busybox httpd -f -p '[::]:80' -h "/tmp/$1" > /tmp/httpd 2>&1 &
    eval "httpd$1=$!"
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

# await SECONDS COMMAND…: until it succeeds.
await() {
    local end=$((SECONDS + $1))
    shift
    until "$@" > /tmp/awaited 2>&1; do
        if [ $SECONDS -ge $end ]; then
            cat /tmp/awaited
            return 1
        fi
        sleep 0.1
    done
}

# The client's request, answered by a real's page.
ask() {
    timeout 20 ip netns exec host10 bash -c 'exec 3<>"/dev/tcp/$0/80" && printf "GET / HTTP/1.0\r\n\r\n" >&3 && tail -1 <&3' "$1"
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
