//! One row per kind of error.

use super::load;

/// A good file of 13 lines, for a row to break one line of.
pub(super) const GOOD: [&str; 13] = [
    "[director]",
    "interfaces = [\"eth1\"]",
    "[vrrp.web]",
    "interface = \"eth1\"",
    "id = 210",
    "addresses = [\"192.0.2.1/24\"]",
    "[service.web]",
    "address = \"192.0.2.1:80\"",
    "protocol = \"tcp\"",
    "check = { type = \"http\" }",
    "[[service.web.reals]]",
    "address = \"192.0.2.40\"",
    "weight = 1",
];

/// (line that is replaced, by what; line that is blamed, words of the fault, words of the mend).
type Row = (usize, &'static str, usize, &'static str, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // TOML itself.
    (5, "id = 2s", 5, "string values must be quoted", "put quotes around it"),
    (4, "interface = eth1", 4, "string values must be quoted", "put quotes around it"),
    (5, "id =", 5, "string values must be quoted", "write a value behind the ="),
    (5, "id", 5, "key with no value", "key = value"),
    (5, "id = 01", 5, "unexpected leading zero", "remove the zero"),
    (2, "interfaces = [\"eth1\" \"eth2\"]", 2, "missing comma between array elements", "put a comma"),
    (2, "interfaces = [\"eth1\"]\nmode.x = 1\nmode = 1", 4, "duplicate key", "keep one"),
    (3, "[director.mode]\n[director.interfaces.a]", 4, "cannot extend", "the key or the section"),
    (10, "check = { type = \"http\", path = \"\\d\" }", 10, "missing escaped value", "double the backslash"),
    (10, "check = { type = \"http\"", 11, "missing key for inline table element", "close the { before this"),
    (3, "[director]", 3, "duplicate key", "keep one of the two"),
    (9, "address = \"192.0.2.1:81\"", 9, "duplicate key", "keep one of the two"),
    (4, "interface = \"eth1", 4, "invalid basic string", "close the quotes"),
    // Keys.
    (3, "[vrpp.web]", 3, "`vrpp` is not a key of the file", "did you mean \"vrrp\"?"),
    (2, "interfaces = [\"eth1\"]\nmod = \"auto\"", 3, "`mod` is not a key of [director]", "did you mean \"mode\"?"),
    (4, "interfaces = \"eth1\"", 4, "`interfaces` is not a key of [vrrp.web]", "did you mean \"interface\"?"),
    (8, "adress = \"192.0.2.1:80\"", 8, "`adress` is not a key of [service.web]", "did you mean \"address\"?"),
    (13, "wieght = 1", 13, "`wieght` is not a key of a real of [service.web]", "did you mean \"weight\"?"),
    (10, "check = { type = \"tcp\", intervall = \"2s\" }", 10, "`intervall` is not a key of the check of [service.web]", "did you mean \"interval\"?"),
    (1, "[limits]\nflow = 4096\n[director]", 2, "`flow` is not a key of [limits]", "did you mean \"flows\"?"),
    (9, "protocol = \"tcp\"\npersistence_timeout = 300", 10, "`persistence_timeout` is not a key", "persistence = \"6m\""),
    (9, "protocol = \"tcp\"\npersistence = \"5m\"", 10, "needs a scheduler that keeps connections; mh keeps none", "scheduler = \"wlc\""),
    (9, "protocol = \"tcp\"\nscheduler = \"rr\"\npersistence = \"2d\"", 11, "`persistence` = 2days is out of range", "24h"),
    (9, "protocol = \"tcp\"\nscheduler = \"rr\"\npersistence_prefix = 24", 11, "`persistence_prefix` says nothing", "add persistence"),
    (9, "protocol = \"tcp\"\nscheduler = \"rr\"\npersistence = \"5m\"\npersistence_prefix = 64", 12, "32 bits, not 64", "write 0 to 32"),
    (9, "protocol = \"tcp\"\nscheduler = \"rr\"\npersistence = \"5m\"\npersistence_group = \"shop\"", 12, "have to have the same reals", "[pool.NAME]"),
    (9, "protocol = \"tcp\"\nudp = \"query\"", 10, "`udp` says nothing of a service over TCP", "protocol = \"udp\""),
    (9, "protocol = \"udp\"\nscheduler = \"rr\"\npersistence = \"5m\"\nudp = \"query\"", 11, "no connection to keep", "remove one"),
    (13, "strength = 1", 13, "`strength` is not a key", "its keys are address, weight, mac, interface, vlan, check or join_checks"),
    (5, "virtual_router_id = 210", 5, "`virtual_router_id` is not a key of [vrrp.web]", "it is `id` here"),
    (6, "virtual_ipaddress = [\"192.0.2.1\"]", 6, "`virtual_ipaddress` is not a key", "it is `addresses` here"),
    (5, "id = 210\nstate = \"MASTER\"", 6, "`state` is not a key", "remove it"),
    (5, "id = 210\nnopreempt = true", 6, "`nopreempt` is not a key", "preempt = false"),
    (9, "protocol = \"tcp\"\nlb_algo = \"wlc\"", 10, "`lb_algo` is not a key", "it is `scheduler` here"),
    (9, "protocol = \"tcp\"\nsorry_server = \"192.0.2.9\"", 10, "`sorry_server` is not a key", "it is fleet = { sorry = { address = \"192.0.2.9\" } } here"),
    // What reals do together.
    (10, "fleet = { sory = { address = \"192.0.2.9\" } }", 10, "`sory` is not a key of the fleet of [service.web]", "did you mean \"sorry\"?"),
    (10, "fleet = { sorry = { address = \"192.0.2.40\" } }", 10, "192.0.2.40 is one of the reals already", "name another host"),
    (10, "fleet = { sorry = { address = \"192.0.2.1\" } }", 10, "192.0.2.1 is the VIP of this service", "write the real's own address"),
    (10, "fleet = { sorry = { address = \"2001:db8::9\" } }", 10, "2001:db8::9 is IPv6, but the VIP is 192.0.2.1", "write the real's IPv4 address"),
    (10, "fleet = { sorry = { address = \"192.0.2.9\", weight = 2 } }", 10, "its weight says nothing", "remove it"),
    (10, "fleet = { sorry = { address = \"192.0.2.9\", join_checks = \"any\" } }", 10, "no checks to join", "remove it"),
    (10, "fleet = { quorum = 2, hysteresis = 2 }", 10, "would never be lost", "make it smaller than `quorum`"),
    (10, "fleet = { hysteresis = 1 }", 10, "a quorum of 1 would never be lost", "make it smaller than `quorum`"),
    (10, "fleet = { panic_below = 50, sorry = { address = \"192.0.2.9\" } }", 10, "either all take new connections", "remove `panic_below` or `sorry`"),
    (10, "fleet = { panic_below = 101 }", 10, "out of range", "from 1 to 100"),
    (10, "fleet = { slow_start = \"1s\" }", 10, "out of range", "2s"),
    (10, "check = { type = \"tcp\", delay_loop = 6 }", 10, "`delay_loop` is not a key", "it is `interval` of the check"),
    (10, "check = { type = \"https\" }", 10, "\"https\" is not a `type`", "tls = true"),
    (10, "SSL_GET = 1", 10, "`SSL_GET` is not a key", "keepalived verifies no certificate"),
    (10, "check = { type = \"tcp\", interval = 6 }", 10, "`interval` must be a string, not a number", "\"6s\""),
    (11, "[service.web.reals]", 11, "`reals` must be a list, not a table", "write [[service.web.reals]] with two brackets"),
    (11, "[service.web.reals]\naddress = \"192.0.2.41\"\n[service.web.reals]", 13, "duplicate key", "write [[service.web.reals]] above each"),
    (11, "reals = [{ address = \"192.0.2.41\" }]\n[[service.web.reals]]", 12, "duplicate key", "no `reals = …` beside them"),
    (7, "[services.web]", 7, "`services` is not a key of the file", "did you mean \"service\"?"),
    (1, "limits = 1\n[director]", 1, "[limits] is a section, not a number", "key = value"),
    // What is missing.
    (2, "", 1, "[director] has no `interfaces`", "add interfaces = "),
    (4, "", 3, "[vrrp.web] has no `interface`", "add interface = "),
    (5, "", 3, "[vrrp.web] has no `id`", "add id = "),
    (6, "", 3, "[vrrp.web] has no `addresses`", "add addresses = "),
    (8, "", 7, "[service.web] has no `address`", "add address = "),
    (9, "", 7, "[service.web] has no `protocol`", "add protocol = "),
    (12, "", 11, "a real of [service.web] has no `address`", "add address = "),
    (10, "check = { port = 80 }", 10, "has no `type`", "add type = "),
    (7, "[service.b]\naddress = \"192.0.2.1:1\"\nprotocol = \"tcp\"\n[service.web]", 7, "[service.b] has no `reals`", "add [[service.b.reals]]"),
    // Several checks, and who is asked.
    (10, "check = []", 10, "`check` is empty", "remove the line, or name a check"),
    (10, "check = [{ type = \"tcp\" }, 1]", 10, "the check of [service.web] is a section, not a number", "key = value"),
    (10, "join_checks = \"both\"", 10, "\"both\" is not a `join_checks`", "write all or any"),
    (10, "check = { type = \"tcp\", address = \"10.0.0.1\" }", 10, "all reals would be asked at 10.0.0.1", "the check of each real"),
    (13, "check = { type = \"tcp\", address = \"192.0.2.1\" }", 13, "192.0.2.1 is a VIP, of [service.web]", "an address of the real's own"),
    (10, "check = { type = \"tcp\", source = \"192.0.2.1\" }", 10, "192.0.2.1 is a VIP, of [service.web]", "leave it to the routes"),
    (10, "check = { type = \"tcp\", source = \"fd00::1\" }", 10, "fd00::1 is IPv6, but 192.0.2.1 is asked, which is IPv4", "IPv4 address"),
    (10, "check = { type = \"tcp\", source = \"192.0.2.7:80\" }", 10, "is neither an address nor an interface", "an address alone"),
    (10, "check = { type = \"tcp\", damp_for = \"1s\" }", 10, "`damp_for` says nothing without `damp_after`", "add damp_after = 5"),
    (10, "check = { type = \"tcp\", damp_after = 1 }", 10, "`damp_after` = 1 is out of range", "from 2 to 100"),
    // Pools.
    (7, "[pool.ingress]\nreals = [{ address = \"192.0.2.9\" }]\n[service.b]\naddress = \"192.0.2.1:1\"\nprotocol = \"tcp\"\npool = \"ingres\"\n[service.web]", 12, "there is no pool \"ingres\"", "did you mean \"ingress\"?"),
    (7, "[service.b]\naddress = \"192.0.2.1:1\"\nprotocol = \"tcp\"\npool = \"a\"\n[service.web]", 10, "there is no pool \"a\"", "add [pool.a]"),
    (7, "[pool.a]\nreals = [{ address = \"192.0.2.9\" }]\n[service.b]\naddress = \"192.0.2.1:1\"\nprotocol = \"tcp\"\npool = \"a\"\nreals = [{ address = \"192.0.2.8\" }]\n[service.web]", 13, "[service.b] has a pool, and reals of its own", "the pool's reals are in [pool.a]"),
    (7, "[pool.a]\nreals = [{ address = \"192.0.2.9\" }]\n[service.b]\naddress = \"192.0.2.1:1\"\nprotocol = \"tcp\"\npool = \"a\"\ncheck = { type = \"tcp\" }\n[service.web]", 13, "whose reals are checked once", "move the check to [pool.a]"),
    (7, "[pool.a]\nreals = [{ address = \"192.0.2.9\" }]\n[service.b]\naddress = \"192.0.2.1:1\"\nprotocol = \"tcp\"\npol = \"a\"\n[service.web]", 12, "`pol` is not a key of [service.b]", "did you mean \"pool\"?"),
    (7, "[pool.a]\n[service.web]", 7, "[pool.a] has no `reals`", "add [[pool.a.reals]]"),
    (7, "[pool.a]\nreals = []\n[service.web]", 8, "[pool.a] has no real to send to", "or remove the pool"),
    (7, "[pool.a]\nreals = [{ address = \"192.0.2.9\" }, { address = \"192.0.2.9\" }]\n[service.web]", 8, "already a real of this pool", "once"),
    (7, "[pool.a]\nreals = [{ address = \"192.0.2.9\" }, { address = \"fd00::9\" }]\n[service.web]", 8, "fd00::9 is IPv6, but 192.0.2.9 of this pool is IPv4", "a pool of each family"),
    (7, "[pool.a]\nreals = [{ address = \"fd00::9\" }]\n[service.b]\naddress = \"192.0.2.1:1\"\nprotocol = \"tcp\"\npool = \"a\"\n[service.web]", 12, "the reals of [pool.a] are IPv6, but the VIP is 192.0.2.1", "a pool of IPv4 reals"),
    (7, "[pool.a]\ncheck = { type = \"tcp\" }\nreals = [{ address = \"192.0.2.9\" }]\n[service.b]\naddress = \"192.0.2.1:1\"\nprotocol = \"tcp\"\npool = \"a\"\n[service.c]\naddress = \"192.0.2.1:2\"\nprotocol = \"tcp\"\npool = \"a\"\n[service.web]", 8, "the services of [pool.a] have ports 1, 2, so its check needs one", "port = 80"),
    (7, "[pool.a]\ncheck = { type = \"tcp\" }\nreals = [{ address = \"192.0.2.9\" }]\n[service.b]\naddress = \"192.0.2.1:any\"\nprotocol = \"tcp\"\npool = \"a\"\n[service.web]", 8, "any port, so its check needs one", "port = 80"),
    // Kinds of values.
    (2, "interfaces = \"eth1\"", 2, "`interfaces` must be a list, not a string", "write interfaces = [\"eth1\"]"),
    (2, "interfaces = [1]", 2, "an item of `interfaces` must be a string, not a number", "such as \"eth1\""),
    (2, "interfaces = []", 2, "`interfaces` is empty", "clients' packets"),
    (5, "id = \"210\"", 5, "`id` must be a whole number, not a string", "from 1 to 255"),
    (10, "check = true", 10, "is a section, not true or false", "key = value"),
    (10, "check = { type = \"tcp\", interval = 2 }", 10, "`interval` must be a string, not a number", "interval = \"2s\""),
    // Words, names, numbers.
    (2, "interfaces = [\"eth1\"]\nmode = \"natve\"", 3, "\"natve\" is not a `mode`", "did you mean \"native\"?"),
    (9, "protocol = \"tpc\"", 9, "\"tpc\" is not a `protocol`", "did you mean \"tcp\"?"),
    (9, "protocol = \"sctp\"", 9, "\"sctp\" is not a `protocol`", "tcp or udp"),
    (9, "protocol = \"tcp\"\nscheduler = \"lblc\"", 10, "\"lblc\" is not a `scheduler`", "it isn't there: it is for caches by destination, the nearest is wlc; write mh, sh, rr, wrr, lc, wlc, sed or nq"),
    (10, "check = { type = \"htpp\" }", 10, "\"htpp\" is not a `type`", "did you mean \"http\"?"),
    (3, "[vrrp.\"a b\"]", 3, "\"a b\" can't be a name", "letters, digits"),
    (2, "interfaces = [\"a/name\"]", 2, "can't be the name of an interface", "127 bytes"),
    (2, "interfaces = [\"eth1\"]\nhash_seed = -1", 3, "`hash_seed` = -1 is out of range", "from 0"),
    (1, "[limits]\nservices = 0\n[director]", 2, "`services` = 0 is out of range", "from 1 to 65536"),
    (1, "[limits]\nflows = 5000\n[director]", 2, "5000 is not a power of two", "4096 or 8192"),
    // Peers.
    (1, "[peers]\nlisten = \"192.0.2.2\"\naddresses = [\"192.0.2.3\"]\n[director]", 1, "[peers] has no `key_file`", "add key_file = \"/etc/lb/peers.key\""),
    (1, "[peers]\naddresses = [\"192.0.2.3\"]\nkey_file = \"/k\"\n[director]", 1, "[peers] has no `listen`", "add listen = "),
    (1, "[peers]\nlisten = \"lb1\"\naddresses = [\"192.0.2.3\"]\nkey_file = \"/k\"\n[director]", 2, "\"lb1\" is not a director's address", "host names aren't looked up"),
    (1, "[peers]\nlisten = \"0.0.0.0\"\naddresses = [\"192.0.2.3\"]\nkey_file = \"/k\"\n[director]", 2, "the unspecified address", "one host"),
    (1, "[peers]\nlisten = \"192.0.2.2:0\"\naddresses = [\"192.0.2.3\"]\nkey_file = \"/k\"\n[director]", 2, "there is no port 0", "from 1 to 65535"),
    (1, "[peers]\nlisten = \"192.0.2.2\"\naddresses = []\nkey_file = \"/k\"\n[director]", 3, "`addresses` is empty", "remove the section"),
    (1, "[peers]\nlisten = \"192.0.2.2\"\naddresses = [\"192.0.2.2:9\"]\nkey_file = \"/k\"\n[director]", 3, "192.0.2.2 is this director itself", "name the others alone"),
    (1, "[peers]\nlisten = \"192.0.2.2\"\naddresses = [\"fd00::3\"]\nkey_file = \"/k\"\n[director]", 3, "fd00::3 can't be called from 192.0.2.2", "of one family"),
    (1, "[peers]\nlisten = \"fd00::2\"\naddresses = [\"fe80::3\"]\nkey_file = \"/k\"\n[director]", 3, "fe80::3 is link-local", "global"),
    (1, "[peers]\nlisten = \"192.0.2.2\"\naddresses = [\"192.0.2.3\", \"192.0.2.3:9\"]\nkey_file = \"/k\"\n[director]", 3, "192.0.2.3 is named twice", "name it once"),
    (1, "[peers]\nlisten = \"192.0.2.2\"\naddresses = [\"192.0.2.3\"]\nkey_file = \"k\"\n[director]", 4, "\"k\" is not a path from the root", "/etc/lb/peers.key"),
    (1, "[peers]\nlisten = \"192.0.2.2\"\naddresses = [\"192.0.2.3\"]\nkey_file = \"/k\"\nbulk_wait = \"2h\"\n[director]", 5, "`bulk_wait` = 2h is out of range", "don't wait"),
    (1, "[peers]\nlisten = \"192.0.2.1\"\naddresses = [\"192.0.2.3\"]\nkey_file = \"/k\"\n[director]", 2, "192.0.2.1 is a VIP of [", "always has"),
    (2, "interfaces = [\"eth1\"]\nhash_seed = 7\n[peers]\nlisten = \"192.0.2.2\"\naddresses = [\"192.0.2.3\"]\nkey_file = \"/k\"", 3, "`hash_seed` has no meaning with [peers]", "remove it"),
    // VRRP.
    (5, "id = 0", 5, "`id` = 0 is out of range", "from 1 to 255"),
    (5, "id = 256", 5, "`id` = 256 is out of range", "from 1 to 255"),
    (5, "id = 210\nversion = 4", 6, "`version` = 4 is out of range", "from 2 to 3"),
    (5, "id = 210\npriority = 0", 6, "`priority` = 0 is out of range", "from 1 to 255"),
    (5, "id = 210\nversion = 2\nadvertise = \"100ms\"", 7, "VRRPv2 can't advertise every 100ms", "whole seconds"),
    (5, "id = 210\nversion = 2\nadvertise = \"256s\"", 7, "VRRPv2 can't advertise", "255s"),
    (5, "id = 210\nadvertise = \"41s\"", 6, "VRRPv3 can't advertise every 41s", "multiple of \"10ms\""),
    (5, "id = 210\nadvertise = \"15ms\"", 6, "VRRPv3 can't advertise every 15ms", "multiple of \"10ms\""),
    (5, "id = 210\nadvertise = \"0s\"", 6, "VRRPv3 can't advertise", "from \"10ms\""),
    (5, "id = 210\nversion = 2\npassword = \"PassW0rD!\"", 7, "the password has 9 bytes, VRRPv2 carries 8", "shorten it to 8"),
    (5, "id = 210\nversion = 2\npassword = \"\"", 7, "password is empty", "1 to 8"),
    (5, "id = 210\npassword = \"PassW0rD\"", 6, "VRRPv3 has no password", "version = 2"),
    (6, "addresses = []", 6, "`addresses` is empty", "remove the section"),
    (6, "addresses = [\"192.0.2.1/33\"]", 6, "not an address with a prefix length", "/24"),
    (6, "addresses = [\"192.0.2.0/24\"]", 6, "the network's own address", "one host"),
    (6, "addresses = [\"192.0.2.255/24\"]", 6, "the network's broadcast address", "one host"),
    (6, "addresses = [\"192.0.2.1/0\"]", 6, "whole internet", "prefix length"),
    (6, "addresses = [\"224.0.0.18/24\"]", 6, "a multicast address", "one host"),
    (6, "addresses = [\"192.0.2.1/24\", \"2001:db8::1/64\"]", 6, "2001:db8::1 is IPv6, the first address is not", "two virtual routers"),
    (6, "version = 2\naddresses = [\"2001:db8::1/64\"]", 7, "VRRPv2 has no IPv6", "version = 3"),
    (6, "addresses = [\"192.0.2.1/24\", \"192.0.2.1\"]", 6, "192.0.2.1 is already a VIP on line 6", "one virtual router"),
    (6, "addresses = [{ address = \"192.0.2.1/24\", dev = \"eth2\" }]", 6, "`dev` is not a key of an address of [vrrp.web]", "it is `interface` here"),
    (6, "addresses = [{ interface = \"eth2\" }]", 6, "an address of [vrrp.web] has no `address`", "add address = "),
    (6, "addresses = [7]", 6, "an item of `addresses` must be a string or a table, not a number", "\"192.0.2.1/24\""),
    (6, "version = 3\naddresses = [\"fe80::1\", { address = \"fe80::1\", interface = \"eth1\" }]", 7, "fe80::1 is already a VIP on line 7", "one virtual router"),
    (7, "[vrrp.web2]\ninterface = \"eth1\"\nid = 210\naddresses = [\"192.0.2.3/24\"]\n[service.web]", 9, "eth1 already has an IPv4 virtual router 210, on line 5", "id of its own"),
    (2, "interfaces = [\"eth1\", \"eth1\"]", 2, "eth1 is named twice", "once"),
    (5, "id = 210\npreempt = 1", 6, "`preempt` must be true or false, not a number", "without quotes"),
    (5, "id = 210\npreempt = \"yes\"", 6, "`preempt` must be true or false, not a string", "preempt = true"),
    (5, "id = 210\npreemt = true", 6, "`preemt` is not a key of [vrrp.web]", "did you mean \"preempt\"?"),
    (5, "id = 210\npriority = 255\npreempt = false", 7, "always takes over", "priority = 254"),
    (5, "id = 210\npreempt = false\npreempt_delay = \"5s\"", 7, "no meaning with preempt = false", "remove one"),
    (5, "id = 210\npreempt_delay = \"2h\"", 6, "`preempt_delay` = 2h is out of range", "\"0s\" to \"1h\""),
    (5, "id = 210\nhandover = \"2h\"", 6, "`handover` = 2h is out of range", "withdraw at once"),
    (5, "id = 210\npeers = []", 6, "`peers` is empty", "remove the line for multicast"),
    (5, "id = 210\npeers = [\"lb2\"]", 6, "\"lb2\" is not an IP address", "host names aren't looked up"),
    (5, "id = 210\npeers = [\"224.0.0.18\"]", 6, "a multicast address: it can't be a peer", "one host"),
    (5, "id = 210\npeers = [\"fe80::1\"]", 6, "the peer fe80::1 is IPv6, but the VIP is 192.0.2.1", "IPv4 address"),
    (5, "id = 210\npeers = [\"192.0.2.1\"]", 6, "is a VIP of this virtual router", "the other director's own"),
    (5, "id = 210\npeers = [\"192.0.2.3\", \"192.0.2.3\"]", 6, "the peer 192.0.2.3 is named twice", "once"),
    (5, "id = 210\nminimum_ttl = 0", 6, "`minimum_ttl` = 0 is out of range", "from 1 to 255"),
    (5, "id = 210\nchecksum = \"pseudo\"", 6, "\"pseudo\" is not a `checksum`", "auto, pseudo-header or plain"),
    (5, "id = 210\nversion = 2\nchecksum = \"plain\"", 7, "VRRPv2 has one form of checksum", "remove the line"),
    (5, "id = 210\nbackup = \"foward\"", 6, "\"foward\" is not a `backup`", "did you mean \"forward\"?"),
    (5, "id = 210\nsync_group = \"a b\"", 6, "\"a b\" can't be a name", "letters, digits"),
    (5, "id = 210\nsync_group = \"g\"", 6, "the sync group \"g\" has no other member", "a second member"),
    (7, "[vrrp.a]\ninterface = \"eth1\"\nid = 1\naddresses = [\"192.0.2.3\"]\nsync_group = \"g\"\n[vrrp.b]\ninterface = \"eth1\"\nid = 2\naddresses = [\"192.0.2.4\"]\nsync_group = \"g\"\npreempt = false\n[service.web]", 16, "\"g\" preempts otherwise in [vrrp.a], line 7", "the same preempt"),
    (7, "[vrrp.a]\ninterface = \"eth1\"\nid = 1\naddresses = [\"192.0.2.3\"]\nannounce = { pace = 1 }\n[vrrp.b]\ninterface = \"eth1\"\nid = 2\naddresses = [\"192.0.2.4\"]\nannounce = { pace = 2 }\n[service.web]", 16, "the pace of eth1 is 1 on line 11, here 2", "write the same"),
    (5, "id = 210\nannounce = { repeat = 101 }", 6, "`repeat` = 101 is out of range", "from 0 to 100 (0 for none)"),
    (5, "id = 210\nannounce = { refresh = \"1ms\" }", 6, "`refresh` = 1ms is out of range", "never"),
    (5, "id = 210\nannounce = { dealy = \"1s\" }", 6, "`dealy` is not a key of the announce of [vrrp.web]", "did you mean \"delay\"?"),
    (5, "id = 210\nnotify = \"/a b\"", 6, "`notify` must be a list, not a string", "[\"/usr/local/bin/notify\"]"),
    (5, "id = 210\nnotify = [\"notify\"]", 6, "`notify` is not an absolute path", "no shell"),
    (5, "id = 210\nnotify = [\"/a\\u0000\"]", 6, "a zero byte", "remove it"),
    (5, "id = 210\nnotify_timeout = \"1ms\"", 6, "`notify_timeout` = 1ms is out of range", "\"100ms\""),
    (5, "id = 210\ntrack = { interface = \"eth2\" }", 6, "`track` must be a list, not a table", "[{ interface = \"eth2\" }]"),
    (5, "id = 210\ntrack = [{ weight = -1 }]", 6, "a track watches one thing", "one of interface"),
    (5, "id = 210\ntrack = [{ interface = \"a\", service = \"web\" }]", 6, "a track watches one thing", "one of interface"),
    (5, "id = 210\ntrack = [{ interface = \"eth2\", wieght = 1 }]", 6, "`wieght` is not a key of a track of [vrrp.web]", "did you mean \"weight\"?"),
    (5, "id = 210\ntrack = [{ interface = \"eth2\", weight = 0 }]", 6, "`weight` = 0 changes nothing", "give up the VIPs"),
    (5, "id = 210\ntrack = [{ interface = \"eth2\", weight = -254 }]", 6, "`weight` = -254 is out of range", "from -253 to 253"),
    (5, "id = 210\npriority = 255\ntrack = [{ interface = \"eth2\", weight = -5 }]", 7, "no weight changes it", "priority = 254"),
    (5, "id = 210\ntrack = [{ interface = \"eth2\", fall = 2 }]", 6, "a tracked interface has no `fall`", "a tracked script"),
    (5, "id = 210\ntrack = [{ service = \"web\", interval = \"1s\" }]", 6, "a tracked service has no `interval`", "a tracked script"),
    (5, "id = 210\ntrack = [{ interface = \"a\" }, { interface = \"a\", weight = 1 }]", 6, "already tracks the same", "once"),
    (5, "id = 210\ntrack = [{ script = [] }]", 6, "`script` is empty", "/path/check"),
    (5, "id = 210\ntrack = [{ script = [\"check\"] }]", 6, "`script` is not an absolute path", "no shell"),
    (5, "id = 210\ntrack = [{ script = [\"/c\"], timeout = \"3s\" }]", 6, "3s is longer than the interval of 2s", "overlap"),
    (5, "id = 210\ntrack = [{ script = [\"/c\"], interval = \"1ms\", timeout = \"1ms\" }]", 6, "`interval` = 1ms is out of range", "\"10ms\""),
    (5, "id = 210\ntrack = [{ service = \"wbe\" }]", 6, "there is no service \"wbe\"", "did you mean \"web\"?"),
    (5, "id = 210\ntrack = [{ service = \"web\", healthy = 2 }]", 6, "[service.web] has 1 reals", "write 1 to 1"),
    // What a dead agent leaves.
    (2, "interfaces = [\"eth1\"]\nwhen_agent_dies = \"relase\"", 3, "\"relase\" is not a `when_agent_dies`", "did you mean \"release\"?"),
    (2, "interfaces = [\"eth1\"]\nrelease_after = \"9s\"", 3, "no meaning without when_agent_dies = \"release\"", "add that line"),
    (2, "interfaces = [\"eth1\"]\nwhen_agent_dies = \"release\"\nrelease_after = \"0s\"", 4, "`release_after` = 0s is out of range", "\"1s\" to \"24h\""),
    (1, "[limits]\nreals = 65536\n[director]", 2, "`reals` = 65536 is out of range", "from 1 to 65535"),
    // Services.
    (8, "address = \"example.org:80\"", 8, "not the address of a service", "host names aren't looked up"),
    (8, "address = \"192.0.2.1:http\"", 8, "has no port from 1 to 65535", "IP:any"),
    (8, "address = \"192.0.2.1:65536\"", 8, "has no port from 1 to 65535", "IP:PORT"),
    (8, "address = \"192.0.2.1:0\"", 8, "there is no port 0", "any"),
    (8, "address = \"fd00::1:80\"", 8, "can be read with and without a port", "write \"[fd00::1]:80\" for port 80"),
    (8, "address = \"0.0.0.0:80\"", 8, "the unspecified address", "one host"),
    (8, "address = \"127.0.0.1:80\"", 8, "a loopback address: it can't be a VIP", "one host"),
    (8, "address = \"239.0.0.1:80\"", 8, "a multicast address", "one host"),
    (8, "address = \"255.255.255.255:80\"", 8, "the broadcast address", "one host"),
    (8, "address = \"[fe80::1]:80\"", 8, "link-local", "fd00::/8"),
    (8, "address = \"[::ffff:192.0.2.1]:80\"", 8, "IPv4 address in IPv6's clothes", "write \"192.0.2.1\""),
    (7, "[service.a]\naddress = \"192.0.2.1:80\"\nprotocol = \"tcp\"\nreals = [{ address = \"192.0.2.4\" }]\n[service.web]", 12, "this address, port and protocol, on line 8", "one service of both"),
    (9, "protocol = \"tcp\"\nring_size = 65536", 10, "65536 is not a prime", "65521 or 65537"),
    (9, "protocol = \"tcp\"\nring_size = 13", 10, "`ring_size` = 13 is out of range", "from 251 to 1048573 slots"),
    (7, "[service.b]\naddress = \"192.0.2.1:1\"\nprotocol = \"tcp\"\nreals = []\n[service.web]", 10, "[service.b] has no real to send to", "add a real"),
    (1, "[limits]\nservices = 1\nreals = 1\n[service.b]\naddress = \"192.0.2.1:81\"\nprotocol = \"tcp\"\n[[service.b.reals]]\naddress = \"192.0.2.40\"\n[director]", 2, "has 2 services, but the limit is 1", "services = 2"),
    // Checks.
    (8, "address = \"192.0.2.1\"", 10, "its check needs one", "such as port = 80"),
    (10, "check = { type = \"tcp\", path = \"/\" }", 10, "type \"tcp\" has no `path`", "type = \"http\""),
    (10, "check = { type = \"tcp\", port = 0 }", 10, "`port` = 0 is out of range", "from 1 to 65535"),
    (10, "check = { type = \"tcp\", interval = \"2\" }", 10, "\"2\" is not a length of time", "\"2s\""),
    (10, "check = { type = \"tcp\", interval = \"5ms\" }", 10, "`interval` = 5ms is out of range", "\"10ms\" to \"1h\""),
    (10, "check = { type = \"tcp\", timeout = \"0s\" }", 10, "`timeout` = 0s is out of range", "\"1ms\""),
    (10, "check = { type = \"tcp\", timeout = \"3s\" }", 10, "3s is longer than the interval of 2s", "lengthen the interval"),
    (10, "check = { type = \"tcp\", rise = 0 }", 10, "`rise` = 0 is out of range", "from 1 to 100"),
    (10, "check = { type = \"tcp\", jitter = 51 }", 10, "`jitter` = 51 is out of range", "from 0 to 50 percent"),
    (10, "check = { type = \"tcp\", fast = \"3s\" }", 10, "`fast` = 3s is longer than the interval of 2s", "shorten it"),
    (10, "check = { type = \"tcp\", fast = \"5ms\" }", 10, "`fast` = 5ms is out of range", "\"10ms\""),
    (10, "check = { type = \"ping\", port = 80 }", 10, "this type of check asks no port", "remove it"),
    (10, "check = { type = \"ping\", via = \"vip\" }", 10, "asks a real on its own address alone", "the types tcp, http"),
    (13, "check = { type = \"tcp\", address = \"192.0.2.41\", via = \"vip\" }", 13, "this address is not", "via = \"both\""),
    (10, "check = { type = \"tcp\", via = \"lo\" }", 10, "`via`", "vip"),
    (10, "check = { type = \"icmp\" }", 10, "icmp", "it is ping here"),
    (10, "check = { type = \"http\", body = \"\" }", 10, "an empty text", "remove the line"),
    (10, "check = { type = \"http\", method = \"HEAD\", body = \"OK\" }", 10, "the answer to HEAD has no body", "method = \"GET\""),
    (10, "check = { type = \"http\", headers = 1 }", 10, "`headers` must be a table", "headers = { \"X-Check\""),
    (10, "check = { type = \"http\", headers = { Host = \"a\" } }", 10, "`host` is not given as a header", "host = "),
    (10, "check = { type = \"http\", headers = { \"a b\" = \"a\" } }", 10, "can't be a header's name", "letters"),
    (10, "check = { type = \"http\", headers = { a = \"b\\n\" } }", 10, "value of `a` can't be sent", "on one line"),
    (10, "check = { type = \"http\", headers = { a = 1 } }", 10, "must be a table of strings", "quotes"),
    (10, "check = { type = \"http\", body_regex = \"(\" }", 10, "not a regular expression: unclosed group", "single quotes"),
    (10, "check = { type = \"http\", body_regex = \"\" }", 10, "matches everything", "remove the line"),
    (10, "check = { type = \"http\", body_regex = '(\\w{500}){500}' }", 10, "too large a pattern", "repeat less"),
    (10, "check = { type = \"http\", body_regex = \"a\", body = \"b\" }", 10, "looks for one thing", "remove `body` or"),
    (10, "check = { type = \"http\", method = \"HEAD\", body_regex = \"OK\" }", 10, "the answer to HEAD has no body", "GET"),
    (10, "check = { type = \"http\", body_limit = 1 }", 10, "`body_limit` = 1 is out of range", "from 1024 to 1048576 bytes"),
    (10, "check = { type = \"http\", tls = 1 }", 10, "is a section, not a number", "key = value"),
    (10, "check = { type = \"http\", tls = { x = 1 } }", 10, "`x` is not a key of the tls of", "its keys are sni, ca"),
    (10, "check = { type = \"http\", tls = { sni = \"192.0.2.1\" } }", 10, "no SNI for", "the real's address"),
    (10, "check = { type = \"http\", tls = { sni = \"a b\" } }", 10, "\"a b\" is not a name", "www.example.org"),
    (10, "check = { type = \"http\", tls = { ca = \"a.pem\" } }", 10, "not a path from the root", "write it whole"),
    (10, "check = { type = \"http\", tls = { insecure = true, ca = \"/a\" } }", 10, "`ca` has no meaning", "remove one"),
    (10, "check = { type = \"http\", tls = { cert = \"/a\" } }", 10, "`cert` has no `key`", "add key"),
    (10, "check = { type = \"http\", tls = { key = \"/a\" } }", 10, "`key` has no `cert`", "add cert"),
    (10, "check = { type = \"http\", tls = { certificate_days = 0 } }", 10, "out of range", "1 to 3650 days"),
    (10, "check = { type = \"dns\" }", 10, "has no `name`", "add name = \"www.example.org\""),
    (10, "check = { type = \"dns\", name = \"\" }", 10, "not a name that can be asked for", "the root"),
    (10, "check = { type = \"dns\", name = \"a..b\" }", 10, "not a name that can be asked for", "dots between"),
    (10, "check = { type = \"dns\", name = \".\", record = \"ANY\" }", 10, "is not a `record`", "A, AAAA"),
    (10, "check = { type = \"dns\", name = \".\", answer = \"a\" }", 10, "\"a\" is no IPv4 address", "192.0.2.10"),
    (10, "check = { type = \"dns\", name = \".\", record = \"AAAA\", answer = \"192.0.2.1\" }", 10, "is no IPv6 address", "2001:db8::10"),
    (10, "check = { type = \"dns\", name = \".\", rcode = \"NXDOMAIN\", answer = \"192.0.2.1\" }", 10, "has no records", "remove"),
    (10, "check = { type = \"dns\", name = \".\", answer = \" \" }", 10, "an empty answer", "remove the line"),
    (10, "check = { type = \"dns\", name = \".\", transport = \"tls\" }", 10, "is not a `transport`", "udp or tcp"),
    (10, "check = { type = \"dns\", name = \".\", rcode = \"OK\" }", 10, "is not a `rcode`", "NOERROR"),
    (10, "check = { type = \"smtp\", helo = \"a b\" }", 10, "not a name that EHLO can give", "lb1.example.org"),
    (10, "check = { type = \"grpc\", service = \"a b\" }", 10, "not a service's name", "shop.v1.Cart"),
    (10, "check = { type = \"script\" }", 10, "has no `command`", "add command = "),
    (10, "check = { type = \"script\", command = [\"check\"] }", 10, "not an absolute path", "write command = "),
    (10, "check = { type = \"script\", command = [] }", 10, "there is no command", "/path/check"),
    (10, "check = { type = \"script\", command = [\"/a\"], user = \"a b\" }", 10, "not a user's name", "nobody"),
    (10, "check = { type = \"script\", command = [\"/a\"], via = \"vip\" }", 10, "on its own address alone", "remove `via`"),
    (10, "check = { type = \"udp\", expect_regex = \"(\" }", 10, "not a regular expression", "single quotes"),
    (10, "check = { type = \"udp\", tls = true }", 10, "type \"udp\" has no `tls`", "type = \"http\""),
    (10, "check = { type = \"http\", method = \"get\" }", 10, "not a method", "capitals"),
    (10, "check = { type = \"http\", path = \"a\" }", 10, "not the path of a request", "start it with \"/\""),
    (10, "check = { type = \"http\", path = \"/a\\r\\nX: y\" }", 10, "not the path of a request", "%20"),
    (10, "check = { type = \"http\", host = \"http://a/\" }", 10, "not a host", "without scheme"),
    (10, "check = { type = \"http\", status = 200 }", 10, "`status` must be a list, not a number", "status = [200]"),
    (10, "check = { type = \"http\", status = [] }", 10, "`status` is empty", "good ones"),
    (10, "check = { type = \"http\", status = [\"299-200\"] }", 10, "not a range of status codes", "lower first"),
    (10, "check = { type = \"http\", status = [99] }", 10, "not a range of status codes", "100 to 599"),
    (10, "check = { type = \"tcp\", send = \"x\" }", 10, "type \"tcp\" has no `send`", "type = \"udp\""),
    (10, "check = { type = \"udp\", path = \"/\" }", 10, "type \"udp\" has no `path`", "type = \"http\""),
    (10, "check = { type = \"udp\", send = \"hex:0\" }", 10, "no pairs of hexadecimal digits", "hex:00 01 fe ff"),
    (10, "check = { type = \"udp\", expect = \"hex:+1\" }", 10, "no pairs of hexadecimal digits", "hex:00 01 fe ff"),
    // Reals.
    (12, "address = \"192.0.2.40:8080\"", 12, "a real has no port of its own", "write \"192.0.2.40\""),
    (12, "address = \"real-1\"", 12, "not an IP address", "host names aren't looked up"),
    (12, "address = \"192.0.2.1\"", 12, "the VIP of this service", "the real's own address"),
    (6, "addresses = [\"192.0.2.1/24\", \"192.0.2.40/24\"]", 12, "a VIP, of [vrrp.web]", "the real's own address"),
    (12, "address = \"2001:db8::40\"", 12, "is IPv6, but the VIP is 192.0.2.1", "the real's IPv4 address"),
    (12, "address = \"224.0.0.1\"", 12, "a multicast address: it can't be a real", "one host"),
    (12, "address = \"fe80::1\"", 12, "link-local", "unique local"),
    (12, "address = \"192.0.2.40\"\n[[service.web.reals]]\naddress = \"192.0.2.40\"", 14, "already a real of this service, on line 12", "once"),
    (13, "weight = 65536", 13, "`weight` = 65536 is out of range", "from 0 to 65535 (0 quiesces)"),
    (13, "weight = -1", 13, "`weight` = -1 is out of range", "from 0"),
    (13, "vlan = 4095", 13, "`vlan` = 4095 is out of range", "from 0 to 4094"),
    (13, "mac = \"02:00\"", 13, "not a MAC address", "02:00:5e:10:00:28"),
    (13, "mac = \"01:00:5e:00:00:12\"", 13, "not the MAC address of one interface", "02:00:5e:10:00:28"),
    (13, "mac = \"02:00:00:00:00:+1\"", 13, "not a MAC address", "02:00:5e:10:00:28"),
];

fn with_line(number: usize, text: &str) -> String {
    let mut lines = GOOD;
    lines[number - 1] = text;
    lines.join("\n")
}

#[test]
fn the_good_file_is_good() {
    load(&GOOD.join("\n")).unwrap();
}

#[test]
fn each_error_names_its_line_and_the_mend() {
    let mut wrong = String::new();
    for &(number, text, line, fault, mend) in ROWS {
        let Err(error) = load(&with_line(number, text)) else {
            wrong += &format!("accepted: {text}\n\n");
            continue;
        };
        let blames = error.diagnostics().iter().any(|one| {
            error.position(one).is_some_and(|at| at.line == line)
                && one.message.contains(fault)
                && one.mend.contains(mend)
        });
        // The row of limits breaks two of them at once.
        let count = if fault.contains("the limit is") { 2 } else { 1 };
        let fits = error.to_string().lines().all(|line| line.chars().count() <= 80);
        if !blames || !fits || error.diagnostics().len() != count {
            wrong += &format!("{line}: {fault} / {mend} was expected of:\n{error}\n\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_password_is_never_echoed() {
    let lines = [
        "id = 210\npassword = \"Sesame42\"",
        "id = 210\nversion = 2\npassword = \"Sesame42!\"",
        "id = 210\npasword = \"Sesame42\"",
        "id = 210\nauth_pass = \"Sesame42\"",
        "id = 210\npassword = Sesame42",
        "id = 210\npassword = \"Sesame42",
        "id = 210\npassword = \"Sesame42\"!\"",
        "id = 210\npassword \"Sesame42\"",
        "id = 210\npassword = [\"Sesame42\"]",
        "id = 999 password = \"Sesame42\"",
    ];
    for line in lines {
        let error = load(&with_line(5, line)).unwrap_err();
        assert!(!error.to_string().contains("Sesame"), "{error}");
        assert!(!error.render(true).contains("Sesame"), "{error}");
    }
    let error = load(&with_line(5, "id = 210\npassword = \"Sesame42\" # of v2")).unwrap_err().to_string();
    let expected = "\
lb.toml:6:12: VRRPv3 has no password
  6 | password = ********** # of v2
    |            ^^^^^^^^^^
  fix: remove it, or set version = 2";
    assert_eq!(error, expected);
}

#[test]
fn sections_need_names() {
    let error = load("service = 1\n[director]\ninterfaces = [\"eth1\"]\n").unwrap_err().to_string();
    assert!(error.contains("`service` is not a number") && error.contains("[service.NAME]"), "{error}");
    let error = load("[[vrrp]]\nid = 1\n[director]\ninterfaces = [\"eth1\"]\n").unwrap_err().to_string();
    assert!(error.contains("`vrrp` is not a list") && error.contains("[vrrp.NAME]"), "{error}");
}

#[test]
fn a_file_without_a_director_is_told_so() {
    let error = load("").unwrap_err().to_string();
    assert_eq!(
        error,
        "lb.toml: the file has no `director`\n  \
         fix: add [director] and below it interfaces = [\"eth1\"]"
    );
}

#[test]
fn wrr_refuses_a_round_that_is_too_long() {
    let file = |weights: &[u32]| {
        let reals: Vec<String> = weights
            .iter()
            .enumerate()
            .map(|(at, weight)| format!("{{ address = \"192.0.2.{}\", weight = {weight} }}", at + 9))
            .collect();
        format!(
            "director.interfaces = [\"eth1\"]\n[service.a]\naddress = \"192.0.2.1:80\"\n\
             protocol = \"tcp\"\nscheduler = \"wrr\"\nreals = [{}]\n",
            reals.join(", ")
        )
    };
    load(&file(&[65_535, 1])).unwrap();
    load(&file(&[60_000, 60_000, 30_000])).unwrap();
    load(&file(&[0, 0])).unwrap();
    let error = load(&file(&[65_535, 2])).unwrap_err();
    let [one] = error.diagnostics() else {
        panic!("{error}");
    };
    assert_eq!(error.position(one).unwrap().line, 5);
    assert!(one.message.contains("65537 turns"), "{error}");
    assert!(one.mend.contains("common divisor"), "{error}");
}
