//! The program where the driver has no XDP: behind the kernel's socket buffers, which hold merged packets and the
//! tags that were taken out of frames.

use core::cell::Cell;

use aya_ebpf::bindings::{__sk_buff, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC};
use aya_ebpf::helpers::{bpf_redirect, bpf_skb_pull_data, bpf_skb_store_bytes, bpf_skb_vlan_pop, bpf_skb_vlan_push};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use lb_common::header::ethertype;
use lb_common::maps::Real;
use lb_common::{Action, Verdict, parse_network, parse_transport};

use crate::kernel::{Hook, Kernel};
use crate::stray::lb_stray_tc;

/// Most bytes of headers that are made linear.
const HEADERS: u32 = 512;
/// Bits of a tag's control field that aren't the VLAN's id.
const PRIORITY: u16 = 0xf000;

/// Attached to the ingress of each interface of `director.interfaces` whose driver has no XDP.
#[classifier]
pub fn lb_tc(context: TcContext) -> i32 {
    let buffer = Buffer::new(context.skb.skb);
    match decide::<false>(&buffer).action() {
        Action::Pass => TC_ACT_UNSPEC,
        // SAFETY: a helper that takes two numbers.
        Action::Transmit => unsafe { bpf_redirect(buffer.ifindex(), 0) as i32 },
        // As `redirect` has told the kernel.
        Action::Redirect => TC_ACT_REDIRECT,
        Action::Drop | Action::Abort => TC_ACT_SHOT,
    }
}

/// What `lb_tc` would do is counted, and every frame passes.
#[classifier]
pub fn lb_tc_observe(context: TcContext) -> i32 {
    decide::<true>(&Buffer::new(context.skb.skb));
    TC_ACT_UNSPEC
}

#[inline(always)]
fn decide<const OBSERVES: bool>(buffer: &Buffer) -> Verdict {
    let kernel = Kernel::<_, OBSERVES>::new(buffer);
    // Asked beforehand: the path is too long for the verifier to walk it a second time.
    if buffer.has_more() && lb_reaches_beyond(buffer.skb) != 0 {
        buffer.pull();
    }
    let verdict = lb_common::balance(kernel.packet(), &kernel);
    kernel.count_verdict(verdict, buffer.packets.get());
    verdict
}

/// Whether headers of the packet are in fragments, or may be: those that an ICMP error embeds aren't looked for. A function of
/// the program's own, as in `recall.rs`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lb_reaches_beyond(skb: *mut __sk_buff) -> u64 {
    let buffer = Buffer::new(skb);
    let packet = Kernel::<_>::new(&buffer).packet();
    let parsed = parse_network(&packet, buffer.merged()).and_then(|network| {
        if network.is_stray() { Err(Verdict::Truncated) } else { parse_transport(&packet, network) }
    });
    u64::from(parsed.is_err_and(|verdict| verdict == Verdict::Truncated))
}

/// The kernel's socket buffer.
pub struct Buffer {
    skb: *mut __sk_buff,
    /// How many packets of the wire it holds, once that is known.
    packets: Cell<u32>,
}

impl Buffer {
    #[inline(always)]
    pub fn new(skb: *mut __sk_buff) -> Self {
        Self { skb, packets: Cell::new(1) }
    }

    /// Whether there is something of the headers' size that isn't linear.
    #[inline(always)]
    fn has_more(&self) -> bool {
        self.end() - self.start() < self.headers() as usize
    }

    /// Makes the headers linear. Where that fails the frame is truncated, as before.
    #[inline(always)]
    fn pull(&self) {
        // SAFETY: the context is the kernel's own, and no packet is held over this call.
        unsafe { bpf_skb_pull_data(self.skb, self.headers()) };
    }

    #[inline(always)]
    fn headers(&self) -> u32 {
        self.field(|skb| skb.len).min(HEADERS)
    }

    #[inline(always)]
    fn field<T>(&self, read: impl Fn(&__sk_buff) -> T) -> T {
        // SAFETY: the kernel gives the context to this run alone.
        read(unsafe { &*self.skb })
    }
}

impl Hook for Buffer {
    #[inline(always)]
    fn start(&self) -> usize {
        self.field(|skb| skb.data as usize)
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.field(|skb| skb.data_end as usize)
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.field(|skb| skb.ifindex)
    }

    #[inline(always)]
    fn packets(&self, payload: u32) -> u32 {
        let size = self.field(|skb| skb.gso_size);
        if size == 0 {
            return 1;
        }
        let packets = match self.field(|skb| skb.gso_segs) {
            // A hypervisor's device tells only how long each packet is.
            0 => payload.div_ceil(size),
            packets => packets,
        };
        self.packets.set(packets.max(1));
        self.packets.get()
    }

    #[inline(always)]
    fn merged(&self) -> u32 {
        if self.field(|skb| skb.gso_size) == 0 { 0 } else { self.field(|skb| skb.len) }
    }

    #[inline(always)]
    fn tag_beside(&self) -> Option<u16> {
        (self.field(|skb| skb.vlan_present) != 0).then(|| self.field(|skb| skb.vlan_tci) as u16)
    }

    #[inline(always)]
    fn stray(&self, which: u64) -> u64 {
        lb_stray_tc(self.skb, which)
    }

    #[inline(always)]
    fn redirect(&self, real: &Real) -> Result<(), Verdict> {
        // `tx_ports` can't be asked: a map of XDP's is for XDP programs alone.
        if real.ifindex == 0 {
            return Err(Verdict::NoDevice);
        }
        // SAFETY: a helper that takes two numbers.
        unsafe { bpf_redirect(real.ifindex, 0) };
        Ok(())
    }

    /// Never asked for: tags are moved by the kernel.
    #[inline(always)]
    fn move_start(&self, _: i32) -> bool {
        false
    }

    #[inline(always)]
    fn retag(&self, tags: u8, vlan: u16) -> Option<Result<(), Verdict>> {
        Some(retag(self, tags, vlan))
    }

    #[inline(always)]
    fn address(&self, real: &Real) -> Option<Result<(), Verdict>> {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (real.mac, real.source_mac);
        let addresses = Addresses([a, b, c, d, e, f, g, h, i, j, k, l]);
        // Not by pointer: for that the kernel would make a copy of every shared buffer, also of what passes.
        // SAFETY: the context is the kernel's own, and the bytes live until the call returns.
        let stored = unsafe { bpf_skb_store_bytes(self.skb, 0, addresses.0.as_ptr().cast(), 12, 0) };
        Some(if stored == 0 { Ok(()) } else { Err(Verdict::NoRoom) })
    }
}

/// Where the compiler writes eight of them at once, the verifier wants them at a place of eight.
#[repr(align(8))]
struct Addresses([u8; 12]);

#[inline(always)]
fn retag(buffer: &Buffer, tags: u8, vlan: u16) -> Result<(), Verdict> {
    if vlan == 0 {
        for tag in 0..2 {
            if tag < tags {
                pop(buffer)?;
            }
        }
        return Ok(());
    }
    let mut control = 0;
    let mut kind = ethertype::VLAN;
    if tags > 0 {
        // Before any program of this kind the kernel takes the outermost tag out, if the hardware hasn't.
        control = buffer.tag_beside().unwrap_or_default() & PRIORITY;
        kind = u16::from_be(buffer.field(|skb| skb.vlan_proto) as u16);
        pop(buffer)?;
    }
    // SAFETY: the context is the kernel's own; the packet was given up.
    match unsafe { bpf_skb_vlan_push(buffer.skb, kind.to_be(), control | vlan) } {
        0 => Ok(()),
        _ => Err(Verdict::NoRoom),
    }
}

#[inline(always)]
fn pop(buffer: &Buffer) -> Result<(), Verdict> {
    // SAFETY: as above.
    match unsafe { bpf_skb_vlan_pop(buffer.skb) } {
        0 => Ok(()),
        _ => Err(Verdict::NoRoom),
    }
}
