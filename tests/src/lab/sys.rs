//! The lab's system calls that no kept crate wraps. This file holds the lab's only `unsafe`: `bpf(2)`, the
//! ethtool ioctl, the packet socket's address and ancillary data, `TCP_INFO`, and a signal handler.
#![expect(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use std::ffi::CString;
use std::io::{self, PipeReader};
use std::mem::{size_of, zeroed};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use aya_obj::generated::bpf_cmd;
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// One eBPF instruction in the kernel's layout (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Insn {
    pub(crate) code: u8,
    /// Destination register in the low nibble, source register in the high one.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative: [u64; 4],
}

#[repr(C)]
struct ObjPin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Calls `bpf(2)`; `attr` must be the attribute struct that `cmd` reads.
fn bpf<T>(cmd: bpf_cmd, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attr` is a live, fully initialised repr(C) struct of the given size, and every pointer in it was
    // taken from a value that the caller keeps alive over this call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, cmd as libc::c_long, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    RawFd::try_from(result).map_err(io::Error::other)
}

/// Calls a `bpf(2)` command that returns a new descriptor.
fn bpf_fd<T>(cmd: bpf_cmd, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(cmd, attr)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a program of `prog_type` from its instructions.
pub(crate) fn prog_load(prog_type: u32, attach_type: u32, name: &str, insns: &[Insn]) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    // The kernel wants a terminating NUL, so 15 bytes are left for the name.
    for (to, from) in prog_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let mut attr = ProgLoad {
        prog_type,
        insn_cnt: u32::try_from(insns.len()).map_err(io::Error::other)?,
        insns: insns.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: attach_type,
    };
    bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Attaches a program to the interface `ifindex` of the calling thread's network namespace.
pub(crate) fn link_create(program: BorrowedFd<'_>, ifindex: u32, attach_type: u32, flags: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_ifindex: ifindex,
        attach_type,
        flags,
        relative: [0; 4],
    };
    bpf_fd(bpf_cmd::BPF_LINK_CREATE, &mut attr)
}

/// Pins a program, map or link at a path of the calling thread's mount namespace.
pub(crate) fn obj_pin(object: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let path = CString::new(path)?;
    let mut attr = ObjPin { pathname: path.as_ptr() as u64, bpf_fd: object.as_raw_fd().cast_unsigned(), file_flags: 0 };
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attr).map(|_| ())
}

const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_SFLAGS: u32 = 0x26;

/// Sets one of ethtool's on/off words for `device` of the calling thread's network namespace.
fn ethtool(device: &str, command: u32, data: u32) -> io::Result<()> {
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    let mut value = Value { command, data };
    // SAFETY: ifreq is plain data, and all zeroes is a valid value of it.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays the terminating NUL.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut value).cast();
    // SAFETY: `request` is a named ifreq whose data pointer is the ethtool_value that these two commands read;
    // both live until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes `device` put whole frames on the wire, as a cable would: checksums filled in, segments cut, VLAN tags in
/// the frame. An XDP program at the other end sees the frame alone, and what it sends on loses the notes that
/// the kernel keeps beside a packet.
pub(crate) fn offloads_off(device: &str) -> io::Result<()> {
    ethtool(device, ETHTOOL_STXCSUM, 0)?;
    ethtool(device, ETHTOOL_SFLAGS, 0)
}

/// Binds a packet socket to one interface, or to all of its namespace with `ifindex` 0.
pub(crate) fn bind_packet(socket: &socket2::Socket, ifindex: u32) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data, and all zeroes is a valid value of it.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = ifindex.cast_signed();
    // SAFETY: the address is a live sockaddr_ll of the size given.
    let result = unsafe {
        libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends one frame so that the kernel's buffer has its Ethernet header alone and all else in a fragment, as some
/// drivers hand frames on: by a ring that the kernel shares the pages of.
pub(crate) fn send_in_fragments(socket: &socket2::Socket, frame: &[u8]) -> io::Result<()> {
    const RING: usize = 4096;
    const SLOT: usize = RING / 2;
    const HEADER: usize = size_of::<libc::tpacket_hdr>();
    if frame.len() > SLOT - HEADER {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let request =
        libc::tpacket_req { tp_block_size: RING as u32, tp_block_nr: 1, tp_frame_size: SLOT as u32, tp_frame_nr: 2 };
    // SAFETY: the option's value is a live tpacket_req of the size given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_TX_RING,
            (&raw const request).cast(),
            size_of::<libc::tpacket_req>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of the ring's size, wherever there is room.
    let ring = unsafe { libc::mmap(std::ptr::null_mut(), RING, protection, libc::MAP_SHARED, socket.as_raw_fd(), 0) };
    if ring == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: header and frame lie inside the mapping's first slot, which is the kernel's only once its status says so;
    // the mapping is used no more after it is given back.
    let sent = unsafe {
        std::ptr::copy_nonoverlapping(frame.as_ptr(), ring.cast::<u8>().add(HEADER), frame.len());
        let header = ring.cast::<libc::tpacket_hdr>();
        (*header).tp_len = frame.len() as u32;
        (&raw mut (*header).tp_status).write_volatile(libc::TP_STATUS_SEND_REQUEST.into());
        let sent = libc::send(socket.as_raw_fd(), std::ptr::null(), 0, 0);
        let error = io::Error::last_os_error();
        libc::munmap(ring, RING);
        if sent < 0 { Err(error) } else { Ok(sent.unsigned_abs()) }
    };
    if sent? == frame.len() { Ok(()) } else { Err(io::Error::other("the frame was not sent")) }
}

/// Asks for the packet's metadata, which carries the VLAN tag that the kernel took out of the frame.
pub(crate) fn want_auxdata(socket: &socket2::Socket) -> io::Result<()> {
    let one: libc::c_int = 1;
    // SAFETY: the option's value is a live int of the size given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            (&raw const one).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What a packet socket says of one frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Bytes of the frame in the buffer.
    pub(crate) length: usize,
    /// Sent by the interface rather than received.
    pub(crate) outgoing: bool,
    /// TPID and TCI of a tag that the kernel keeps beside the frame.
    pub(crate) tag: Option<(u16, u16)>,
}

/// Receives one frame with its metadata; a time-out of the socket is `WouldBlock`.
pub(crate) fn receive_packet(socket: &socket2::Socket, buffer: &mut [u8]) -> io::Result<Received> {
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Auxdata {
        status: u32,
        len: u32,
        snaplen: u32,
        mac: u16,
        net: u16,
        vlan_tci: u16,
        vlan_tpid: u16,
    }
    const VLAN_VALID: u32 = 1 << 4;

    // u64s, for the alignment that cmsghdr needs.
    let mut control = [0_u64; 16];
    // SAFETY: both are plain data, and all zeroes is a valid value of each.
    let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in the message leads to a live local of the length beside it.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;

    let mut tag = None;
    // SAFETY: recvmsg has filled the header in, and the CMSG macros stay inside the control buffer it describes.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    while let Some(header) = next {
        let room = header.cmsg_len >= size_of::<Auxdata>() + size_of::<libc::cmsghdr>();
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) && room {
            // SAFETY: the kernel says that this control message holds a tpacket_auxdata, and it is long enough.
            let data = unsafe { libc::CMSG_DATA(header).cast::<Auxdata>().read_unaligned() };
            if data.status & VLAN_VALID != 0 {
                tag = Some((data.vlan_tpid, data.vlan_tci));
            }
        }
        // SAFETY: as for the first header.
        next = unsafe { libc::CMSG_NXTHDR(&raw const message, header).as_ref() };
    }
    Ok(Received { length, outgoing: address.sll_pkttype == libc::PACKET_OUTGOING, tag })
}

/// How many segments the kernel had to send again on this connection since it began.
pub(crate) fn retransmitted_segments(stream: &TcpStream) -> io::Result<u32> {
    // SAFETY: tcp_info is plain data, and all zeroes is a valid value of it.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the buffer is a live tcp_info of the length given; the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info.tcpi_total_retrans)
}

/// The write end of the pipe below; -1 until there is one.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

/// Turns each of `signals` into a byte with its number, to be read from the pipe that is returned. To be called once.
pub(crate) fn signals_to_pipe(signals: &[Signal]) -> io::Result<PipeReader> {
    let (reader, writer) = io::pipe()?;
    // Open for as long as the process lives, as the handler is.
    SIGNAL_PIPE.store(OwnedFd::from(writer).into_raw_fd(), Ordering::SeqCst);
    let handler = SigHandler::Handler(forward);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    for signal in signals {
        // SAFETY: the handler only calls write(2) and touches errno and an atomic, all async-signal-safe.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(reader)
}

extern "C" fn forward(signal: libc::c_int) {
    let errno = Errno::last_raw();
    // Signals are numbered from 1 to 64.
    let [number, ..] = signal.to_le_bytes();
    let fd = SIGNAL_PIPE.load(Ordering::SeqCst);
    // SAFETY: the byte is live; the descriptor is never closed, and a bad one is only an error.
    unsafe { libc::write(fd, (&raw const number).cast(), 1) };
    Errno::set_raw(errno);
}
