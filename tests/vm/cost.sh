#!/bin/bash
# What a packet costs on this kernel. The machine's clock goes by a nanosecond with each instruction, and has one CPU: sender,
# director and sink run one after another in the sender's system call. Lines are `COST case value…`: the whole path of a
# packet, runs of it; `PROGRAM case value`: the XDP program alone, with the kernel's meter.
COUNT=20000 RUNS=3 FLOWS=100 OTHERS=100
VIP=10.0.0.100 DIRECTOR=02:00:00:00:00:0d
trap 'exit 1' USR1

main() {
    plug
    tc qdisc add dev d0 clsact
    tc filter add dev d0 ingress matchall action drop
    whole skb-drop ack
    tc qdisc del dev d0 clsact

    tc -n gen qdisc add dev p0 clsact
    tc -n gen filter add dev p0 ingress matchall action drop
    ipvs
    whole ipvs-known ack
    whole ipvs-new new
    ipvsadm -C
    tc -n gen qdisc del dev p0 clsact

    mkdir /pins
    mount -t bpf bpf /pins
    bpftool prog loadall baseline.o /pins/base
    bpftool prog loadall balancer.o /pins/c
    bpftool map update name reals key 0 0 0 0 value 2 0 0 0 0 0x12 0 0
    bpftool map update name reals key 1 0 0 0 value 2 0 0 0 0 0x13 0 0
    xdp base/base_drop
    both xdp-drop ack 80 $VIP
    ip -n gen link set dev p0 xdpdrv pinned /pins/base/base_drop
    xdp base/base_tx
    both xdp-tx ack 80 $VIP
    xdp c/balancer
    both c-known ack 80 $VIP
    both c-new new 80 $VIP
    ip link set dev d0 xdpdrv off

    lb
    both lb-mh-known ack 80 $VIP
    both lb-mh-new new 80 $VIP
    both lb-rr-known ack 81 $VIP
    both lb-rr-new new 81 $VIP
    # What isn't for a service goes on to the host's stack, which is none of the program's cost.
    program lb-other-port ack 9 $VIP
    program lb-other-address ack 80 10.0.0.99
    # 3 says that no agent runs, as it should.
    ./lb list > list || [ $? = 3 ]
}

plug() {
    ip netns add gen
    ip link add d0 address "$DIRECTOR" type veth peer name p0 netns gen address 02:00:00:00:00:01
    for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > "$file"; done
    ip netns exec gen bash -c 'for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > "$file"; done'
    ip addr add 10.0.0.11/24 dev d0
    ip link set d0 up
    ip -n gen addr add 10.0.0.1/24 dev p0
    ip -n gen link set p0 up
    echo 1 > /proc/sys/net/ipv4/ip_forward
    for file in /proc/sys/net/ipv4/conf/*/{send_redirects,rp_filter}; do echo 0 > "$file"; done
    ip neigh replace 10.0.0.12 lladdr 02:00:00:00:00:12 dev d0 nud permanent
    ip neigh replace 10.0.0.13 lladdr 02:00:00:00:00:13 dev d0 nud permanent
    ip neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev d0 nud permanent
    ip route add 10.9.0.0/16 via 10.0.0.1
}

ipvs() {
    ip addr add "$VIP/32" dev lo
    {
        for port in 80 $(seq 1000 $((999 + OTHERS))); do
            echo "-A -t $VIP:$port -s rr"
            for real in 12 13; do echo "-a -t $VIP:$port -r 10.0.0.$real:$port -g"; done
        done
    } | ipvsadm -R
}

lb() {
    {
        echo '[director]'
        echo 'interfaces = ["d0"]'
        echo 'mode = "native"'
        echo '[limits]'
        echo 'services = 256'
        echo 'reals = 1024'
        echo 'flows = 262144'
        local port scheduler
        for port in 80 81 $(seq 1000 $((999 + OTHERS))); do
            scheduler=mh
            [ "$port" = 81 ] && scheduler=rr
            echo "[service.s$port]"
            echo "address = \"$VIP:$port\""
            echo 'protocol = "tcp"'
            echo "scheduler = \"$scheduler\""
            echo 'ring_size = 65537'
            for real in 12 13; do
                echo "[[service.s$port.reals]]"
                echo "address = \"10.0.0.$real\""
                echo "mac = \"02:00:00:00:00:$real\""
                echo 'interface = "d0"'
            done
        done
    } > lb.toml
    sed -i '/s1[0-9][0-9][0-9]\]/,/ring_size/ s/65537/251/' lb.toml
    ./lb run --config lb.toml > agent.log 2>&1 &
    local agent=$!
    until grep -q ': ready' agent.log; do
        kill -0 $agent || { cat agent.log; kill -USR1 $$; }
        sleep 0.1
    done
    # The program goes on without it, and it takes no time of the machine's one CPU.
    kill -9 $agent
}

# xdp PIN: on the director.
xdp() {
    ip link set dev d0 xdpdrv off
    ip link set dev d0 xdpdrv pinned "/pins/$1"
}

# both CASE KIND PORT ADDRESS: the whole path, then the program.
both() {
    whole "$@"
    program "$@"
}

# whole CASE KIND [PORT [ADDRESS]]
whole() {
    local values=() run before after
    warm "${@:2}"
    before=$(received "$1")
    for run in $(seq $RUNS); do values+=("$(flood "${@:2}")"); done
    after=$(received "$1")
    echo "COST $1 ${values[*]}"
    [ $((after - before)) -ge $((COUNT * RUNS * 99 / 100)) ] || { echo "COST $1 lost: $((after - before)) arrived"; kill -USR1 $$; }
}

program() {
    local id start end
    id=$(ip -o link show d0 | grep -oE 'xdp id [0-9]+' | cut -d' ' -f3)
    warm "${@:2}"
    echo 1 > /proc/sys/kernel/bpf_stats_enabled
    start=$(meter "$id")
    flood "${@:2}" > flooded
    end=$(meter "$id")
    echo 0 > /proc/sys/kernel/bpf_stats_enabled
    set -- "$1" $start $end
    echo "PROGRAM $1 $((($4 - $2) / ($5 - $3)))"
}

# Nanoseconds and runs of a program so far.
meter() {
    bpftool -j prog show id "$1" | grep -oE '"run_(time_ns|cnt)":[0-9]+' | cut -d: -f2 | tr '\n' ' '
}

# Known connections are opened first.
warm() {
    [ "$1" = new ] && return
    send syn "$FLOWS" "$FLOWS" 10.9.0.1 "${@:2}" > warmed
    send ack "$FLOWS" 500 10.9.0.1 "${@:2}" > warmed
}

# New connections have a client that was never seen. Its number is in a file, since this runs in subshells.
echo 0 > /tmp/client
flood() {
    if [ "$1" = new ]; then
        local client=$(($(cat /tmp/client) + 1))
        echo $client > /tmp/client
        send syn "$COUNT" "$COUNT" "10.9.$client.1" "${@:2}"
    else
        send ack "$FLOWS" "$COUNT" 10.9.0.1 "${@:2}"
    fi
}

# send KIND FLOWS COUNT CLIENT [PORT [ADDRESS]]
send() {
    ip netns exec gen ./send p0 "$DIRECTOR" "$4" "${6:-$VIP}" "${5:-80}" "$1" "$2" "$3"
}

# Frames that arrived where the case ends.
received() {
    case $1 in
        *-drop) cat /sys/class/net/d0/statistics/rx_packets ;;
        *) ip netns exec gen cat /sys/class/net/p0/statistics/rx_packets ;;
    esac
}

main
