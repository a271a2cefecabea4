# The director's interface is a bond of two cables, which it waits for: its program runs on the slaves. The rest of
# tests/vm/lab.sh is here as well.

bonds() {
    ip link delete eth0
    ip -n switch link add lag0 type bond mode balance-xor
    start_on_bond || step 'a bond is waited for' false
    step 'a bond is waited for' "$LB" list
    bond active-backup
    step 'bond, a late one is attached to' await 60 is_two "$VIP"
    step 'bond, native' grep 'bond1: program attached, native XDP' agent.log
    step 'bond, sent by the active slave' await 20 is_sent_by slavea
    step 'bond, its active slave fails' fails_over
    step 'bond, a slave leaves' leaves
    step 'bond, a slave joins' joins
    ip link delete bond1
    step 'bond, waited for again' await 20 is_waited_for
    unplug_slaves
    bond balance-xor
    step 'bond, in a mode that spreads' await 60 is_two "$VIP"
    step 'bond, IPv6' await 60 is_two "$VIP6"
    stop
    "$LB" detach
    step 'bond, nothing stays' test ! -e /sys/fs/bpf/lb
}

# bond MODE: the bond bond1 with the director's addresses; where it spreads, the switch has one as well.
bond() {
    local side master=br0
    if [ "$1" != active-backup ]; then
        master=lag0
        ip -n switch link set lag0 master br0
    fi
    ip link add bond1 type bond mode "$1" miimon 50
    for side in a b; do
        ip link add "port11$side" netns switch type veth peer name "slave$side"
        ip -n switch link set "port11$side" master $master
        ip -n switch link set "port11$side" up
        ip -n switch link set dev "port11$side" xdpdrv pinned /pins/base/base_pass
        ip link set "slave$side" master bond1
    done
    ip -n switch link set lag0 up
    ip addr add 10.0.0.11/24 dev bond1
    ip addr add fd00::11/64 dev bond1 nodad
    ip link set bond1 up
}

unplug_slaves() {
    ip link delete slavea
    ip link delete slaveb
}

start_on_bond() {
    configure auto
    sed -i 's/"eth0"/"bond1"/' lb.toml
    : > agent.log
    "$LB" run --config lb.toml > agent.log 2>&1 &
    agent=$!
    await 30 grep -q ': ready' agent.log && is_waited_for
}

is_waited_for() {
    "$LB" list | grep 'WAITED FOR: bond1'
}

# Each real's last way was by this slave.
is_sent_by() {
    local real
    for real in 12 13; do
        grep "real 10.0.0.$real: .*resolved" agent.log | tail -1 | grep "by $1;" || return
    done
}

# Through the whole of which a slave is there, so that only what was on its way is lost.
fails_over() {
    ip -n switch link set port11a down
    await 20 is_sent_by slaveb && await 60 is_two "$VIP" && ip -n switch link set port11a up
}

leaves() {
    ip link set slavea nomaster
    await 20 has_slaves 1 && await 60 is_two "$VIP"
}

joins() {
    ip link set slavea down
    ip link set slavea master bond1
    await 20 has_slaves 2 || return
    ip -n switch link set port11b down
    await 20 is_sent_by slavea && await 60 is_two "$VIP"
}

has_slaves() {
    local told
    told=$(grep "slaves have the indices" agent.log | tail -1)
    echo "$told"
    [ "$(grep -o '[0-9]*[,}]' <<< "${told#*\{}" | wc -l)" = "$1" ]
}
