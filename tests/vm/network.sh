# The machine's network, for a job to read in. The director is the guest itself; a switch, a client and two reals are network
# namespaces.
VIP=10.0.0.100 VIP6=fd01::100

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
