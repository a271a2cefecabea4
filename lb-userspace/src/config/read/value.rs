//! Single values of the file: each is read from its text alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::report::{Fault, text::clip};

/// Bytes of an interface's name at most: that of an alternative one (the kernel's ALTIFNAMSIZ without its zero).
const INTERFACE_BYTES: usize = 127;

/// Bytes of a service's or virtual router's name at most.
const NAME_BYTES: usize = 63;

/// A service's address: the VIP, and its port unless it is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The VIP.
    pub address: IpAddr,
    /// `None` for any.
    pub port: Option<u16>,
}

/// The name of a section, as it appears in lists, logs and metrics.
pub fn name(text: &str) -> Result<(), Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && text.len() <= NAME_BYTES && text.bytes().all(plain) {
        return Ok(());
    }
    Err(Fault::new(
        format!("\"{}\" can't be a name", short(text)),
        format!("use 1 to {NAME_BYTES} letters, digits, '-', '_' or '.'"),
    ))
}

/// Where something listens or is called: `IP:PORT` or `[v6]:PORT`, and `IP` or `[v6]` where there is a usual port. `what` says what
/// it is to be, such as "a director's address".
pub fn socket(text: &str, usual: Option<u16>, what: &str) -> Result<SocketAddr, Fault> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = match (bare.parse::<IpAddr>(), usual) {
        (Ok(ip), Some(port)) => SocketAddr::new(ip, port),
        _ => text.parse::<SocketAddr>().map_err(|_| {
            let port = usual.unwrap_or(9849);
            let bare = if usual.is_some() { "\"192.0.2.3\", " } else { "" };
            Fault::new(
                format!("\"{}\" is not {what}", short(text)),
                format!("write {bare}\"192.0.2.3:{port}\" or \"[2001:db8::3]:{port}\": host names aren't looked up"),
            )
        })?,
    };
    if address.port() == 0 {
        return Err(Fault::new(format!("\"{text}\": there is no port 0"), "write a port from 1 to 65535"));
    }
    if let IpAddr::V6(v6) = address.ip()
        && v6.is_unicast_link_local()
    {
        return Err(Fault::new(
            format!("{v6} is link-local: it says nothing without an interface"),
            "use a global (2000::/3) or unique local (fd00::/8) address",
        ));
    }
    Ok(address)
}

/// `IP:PORT`, `[v6]:PORT`, and for any port `IP`, `[v6]`, `IP:any` or `[v6]:any`.
pub fn endpoint(text: &str) -> Result<Endpoint, Fault> {
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        // "fd00::1:80" is an address; whoever wrote it may have meant port 80 of another.
        if let Some((host, port)) = text.rsplit_once(':')
            && port.parse::<u16>().is_ok()
            && host.parse::<Ipv6Addr>().is_ok()
        {
            return Err(Fault::new(
                format!("\"{text}\" can be read with and without a port"),
                format!("write \"[{host}]:{port}\" for port {port}, \"[{text}]\" for any port"),
            ));
        }
        let address = vip(IpAddr::V6(v6))?;
        return Ok(Endpoint { address, port: None });
    }
    let (host, rest) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, rest)) if host.parse::<Ipv6Addr>().is_ok() => (host, rest),
        Some(_) => return Err(not_an_endpoint(text)),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let address = host.parse::<IpAddr>().map_err(|_| not_an_endpoint(text))?;
    let port = match rest {
        "" | ":any" => None,
        ":0" => {
            return Err(Fault::new(
                format!("\"{text}\": there is no port 0"),
                "write a port from 1 to 65535, or \"any\"",
            ));
        }
        other => {
            let port = other.strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
            Some(port.ok_or_else(|| {
                Fault::new(
                    format!("\"{}\" has no port from 1 to 65535 behind its address", short(text)),
                    "write \"IP:PORT\", or \"IP:any\" for any port",
                )
            })?)
        }
    };
    let address = vip(address)?;
    Ok(Endpoint { address, port })
}

fn not_an_endpoint(text: &str) -> Fault {
    Fault::new(
        format!("\"{}\" is not the address of a service", short(text)),
        "write \"192.0.2.1:80\" or \"[2001:db8::1]:80\": host names aren't looked up, \
         and IPv6 stands in brackets",
    )
}

/// An address that a service or virtual router may have.
pub fn vip(address: IpAddr) -> Result<IpAddr, Fault> {
    let address = unicast(address, "a VIP")?;
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(Fault::new(
            format!("{address} is link-local: no client behind a router reaches it"),
            "use a global (2000::/3) or unique local (fd00::/8) address",
        )),
        other => Ok(other),
    }
}

/// A real's own address.
pub fn real(text: &str) -> Result<IpAddr, Fault> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(match endpoint(text) {
            Ok(Endpoint { address, port }) => Fault::new(
                match port {
                    Some(port) => format!("a real has no port of its own (here {port})"),
                    None => "a real is an address alone".to_owned(),
                },
                format!("write \"{address}\": direct routing keeps the service's port"),
            ),
            Err(_) => Fault::new(
                format!("\"{}\" is not an IP address", short(text)),
                "write an address such as \"192.0.2.40\": host names aren't looked up",
            ),
        });
    };
    let address = unicast(address, "a real")?;
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(Fault::new(
            format!("{address} is link-local: it says nothing without an interface"),
            "use the real's global or unique local address",
        )),
        other => Ok(other),
    }
}

/// An address of one host; `role` is what it should become.
fn unicast(address: IpAddr, role: &str) -> Result<IpAddr, Fault> {
    let (what, mend) = match address {
        IpAddr::V6(v6) if let Some(v4) = v6.to_ipv4_mapped() => {
            ("an IPv4 address in IPv6's clothes", format!("write \"{v4}\""))
        }
        _ => {
            let what = if address.is_unspecified() {
                "the unspecified address"
            } else if address.is_loopback() {
                "a loopback address"
            } else if address.is_multicast() {
                "a multicast address"
            } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
                "the broadcast address"
            } else {
                return Ok(address);
            };
            (what, "use an address of one host on the network".to_owned())
        }
    };
    Err(Fault::new(format!("{address} is {what}: it can't be {role}"), mend))
}

/// A virtual router's address with the prefix length it gets on the interface; alone, one for it alone.
pub fn interface_address(text: &str) -> Result<IpNet, Fault> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| {
            Fault::new(
                format!("\"{}\" is not an address with a prefix length", short(text)),
                "write \"192.0.2.1/24\", with the prefix length of the interface's segment",
            )
        })?,
    };
    let address = net.addr();
    // VRRPv3 over IPv6 announces a link-local address first (RFC 9568 section 5.2.9).
    if !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        vip(address)?;
    }
    if net.prefix_len() == 0 {
        return Err(Fault::new(
            format!("{net} would make the whole internet one segment"),
            "write the prefix length of the interface's segment",
        ));
    }
    let host_bits = net.max_prefix_len() - net.prefix_len();
    let special = match address {
        IpAddr::V4(_) if host_bits < 2 => None,
        IpAddr::V4(_) if address == net.network() => Some("the network's own address"),
        IpAddr::V4(_) if address == net.broadcast() => Some("the network's broadcast address"),
        _ => None,
    };
    match special {
        Some(what) => Err(Fault::new(format!("{net} is {what}"), "use the address of one host in it")),
        None => Ok(net),
    }
}

/// The name of a network interface.
pub fn interface(text: &str) -> Result<String, Fault> {
    let refused = |char: char| char.is_whitespace() || char.is_control() || "/:".contains(char);
    if text.is_empty() || text.len() > INTERFACE_BYTES || text.contains(refused) || text.starts_with('.') {
        return Err(Fault::new(
            format!("\"{}\" can't be the name of an interface", short(text)),
            format!("write a name of at most {INTERFACE_BYTES} bytes, as `ip link` shows it"),
        ));
    }
    Ok(text.to_owned())
}

/// `2s`, `100ms`, `1m 30s`.
pub fn duration(text: &str) -> Result<Duration, Fault> {
    humantime::parse_duration(text.trim()).map_err(|_| {
        Fault::new(
            format!("\"{}\" is not a length of time", short(text)),
            "write a number and its unit: \"100ms\", \"2s\", \"1m 30s\"",
        )
    })
}

/// An address of a director that adverts are sent to one by one.
pub fn peer(text: &str) -> Result<IpAddr, Fault> {
    // Over IPv6 adverts come from link-local addresses, so a peer's is one of them too.
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(Fault::new(
            format!("\"{}\" is not an IP address", short(text)),
            "write the peer's own address, such as \"192.0.2.3\": host names aren't looked up",
        ));
    };
    unicast(address, "a peer")
}

/// One argument of a command.
pub fn argument(text: &str) -> Result<String, Fault> {
    if text.contains('\0') {
        return Err(Fault::new("an argument has a zero byte", "remove it: the kernel takes none"));
    }
    Ok(text.to_owned())
}

/// A file of this machine, by its whole path. It isn't looked at.
pub fn file(text: &str) -> Result<PathBuf, Fault> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(text.into());
    }
    Err(Fault::new(
        format!("\"{}\" is not a path from the root", short(text)),
        "write it whole, such as \"/etc/lb/peers.key\"",
    ))
}

/// A MAC address of one interface.
pub fn mac(text: &str) -> Result<[u8; 6], Fault> {
    let fault = |message: String| Fault::new(message, "write it as in \"02:00:5e:10:00:28\"");
    let wrong = || fault(format!("\"{}\" is not a MAC address", short(text)));
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
        if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
    }
    if parts.next().is_some() {
        return Err(wrong());
    }
    let [first, ..] = mac;
    if mac == [0; 6] || first & 1 == 1 {
        return Err(fault(format!("{text} is not the MAC address of one interface")));
    }
    Ok(mac)
}

/// An inclusive range of status codes: `200-299`, or one alone.
pub fn status(text: &str) -> Result<(u16, u16), Fault> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| {
        let code = text.trim().parse::<u16>().ok()?;
        (100..=599).contains(&code).then_some(code)
    };
    match (code(low), code(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err(Fault::new(
            format!("\"{}\" is not a range of status codes", short(text)),
            "write one of 100 to 599, or a range with the lower first: 301, \"200-299\"",
        )),
    }
}

/// An HTTP method (RFC 9110 section 9.1; in capitals, as all that are registered).
pub fn method(text: &str) -> Result<String, Fault> {
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    if !text.is_empty() && text.len() <= 32 && text.bytes().all(plain) && text != "CONNECT" {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("\"{}\" is not a method that a check can use", short(text)),
        "write it in capitals: \"GET\", \"HEAD\", \"OPTIONS\"",
    ))
}

/// Path and query of an HTTP request.
pub fn path(text: &str) -> Result<String, Fault> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if text.starts_with('/') && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("\"{}\" is not the path of a request", short(text)),
        "start it with \"/\" and write spaces and other such characters as %20",
    ))
}

/// The value of a `Host` header.
pub fn host(text: &str) -> Result<String, Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:[]".contains(&byte);
    if !text.is_empty() && text.len() <= 255 && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("\"{}\" is not a host", short(text)),
        "write a name such as \"www.example.org\", without scheme and path",
    ))
}

/// A text of the file for a message: no control characters, not too long.
pub fn short(text: &str) -> String {
    clip(&text.escape_debug().to_string(), 40)
}
