//! Frames as they pass an interface, kept in memory and as a pcap file when a test fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use socket2::{Domain, Protocol, Socket, Type};

use super::sys;
use super::wait::wait_for;

/// One captured frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// When it was read from the capture.
    pub at: SystemTime,
    /// The interface sent it, rather than received it.
    pub outgoing: bool,
    /// The frame from its destination address on, with its VLAN tags where they were on the wire.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// The VLAN id of its outermost 802.1Q or 802.1ad tag.
    #[must_use]
    pub fn vlan(&self) -> Option<u16> {
        match *self.bytes.get(12..16)? {
            [0x81, 0x00, high, low] | [0x88, 0xa8, high, low] => Some(u16::from_be_bytes([high, low]) & 0xfff),
            _ => None,
        }
    }

    /// What follows its addresses and VLAN tags: the EtherType (host byte order) and its payload.
    #[must_use]
    pub fn payload(&self) -> Option<(u16, &[u8])> {
        let mut rest = self.bytes.get(12..)?;
        loop {
            let ([high, low], after) = rest.split_first_chunk()?;
            match u16::from_be_bytes([*high, *low]) {
                0x8100 | 0x88a8 => rest = after.get(2..)?,
                kind => return Some((kind, after)),
            }
        }
    }
}

/// A running capture. When it is dropped, it ends and leaves all frames in a pcap file in the host's directory, which
/// a failing test keeps.
#[derive(Debug)]
pub struct Capture {
    name: String,
    file: PathBuf,
    frames: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    pub(crate) fn start(name: String, file: PathBuf, socket: Socket) -> Result<Self> {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let reader = thread::Builder::new().name("capture".to_owned()).spawn({
            let (frames, stop) = (frames.clone(), stop.clone());
            move || read(&socket, &frames, &stop)
        })?;
        Ok(Self { name, file, frames, stop, reader: Some(reader) })
    }

    /// All frames so far.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        self.lock().clone()
    }

    /// How many frames so far satisfy `condition`.
    #[must_use]
    pub fn count(&self, condition: impl FnMut(&&Frame) -> bool) -> usize {
        self.lock().iter().filter(condition).count()
    }

    /// Forgets all frames so far.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Waits for a frame that satisfies `condition`, among those of the past too.
    ///
    /// # Errors
    /// When `deadline` passes; the message names `what` was waited for.
    pub fn wait_for(&self, deadline: Duration, what: &str, mut condition: impl FnMut(&Frame) -> bool) -> Result<Frame> {
        let what = format!("{what} in the capture of {}", self.name);
        let find = || self.lock().iter().find(|frame| condition(frame)).cloned();
        wait_for(deadline, &what, find).map(|(frame, _)| frame)
    }

    /// Writes all frames so far to a pcap file.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut writer = PcapWriter::new(file)?;
        for frame in self.lock().iter() {
            let at = frame.at.duration_since(SystemTime::UNIX_EPOCH)?;
            let length = u32::try_from(frame.bytes.len())?;
            writer.write_packet(&PcapPacket::new(at, length, &frame.bytes))?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Frame>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // A reader that has panicked has said so.
            let _ = reader.join();
        }
        // Nobody may come to need it.
        let _ = self.save(&self.file);
    }
}

/// A packet socket on one interface. Called inside the namespace.
pub(crate) fn open_socket(device: &str) -> Result<Socket> {
    let index = if_nametoindex(device).with_context(|| format!("no interface {device}"))?;
    // Protocol 0 until the address is bound: no frame of another interface gets in.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None::<Protocol>)?;
    sys::want_auxdata(&socket)?;
    socket.set_recv_buffer_size(8 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    sys::bind_packet(&socket, index)?;
    Ok(socket)
}

fn read(socket: &Socket, frames: &Mutex<Vec<Frame>>, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    // Read on after the stop until nothing is left, so that what had been sent before it is in.
    loop {
        match sys::receive_packet(socket, &mut buffer) {
            Ok(received) => {
                let bytes = buffer.get(..received.length).unwrap_or(&buffer);
                let frame =
                    Frame { at: SystemTime::now(), outgoing: received.outgoing, bytes: with_tag(bytes, received.tag) };
                frames.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
            }
            Err(_) if stop.load(Ordering::Relaxed) => return,
            // A time-out, or the interface went down: it may come up again.
            Err(_) => {}
        }
    }
}

/// Puts a tag that the kernel has taken out back where it was.
fn with_tag(bytes: &[u8], tag: Option<(u16, u16)>) -> Vec<u8> {
    match (tag, bytes.split_at_checked(12)) {
        (Some((tpid, tci)), Some((addresses, rest))) => {
            let (tpid, tci) = (tpid.to_be_bytes(), tci.to_be_bytes());
            [addresses, &tpid, &tci, rest].concat()
        }
        _ => bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: Option<(u16, u16)>) -> Frame {
        let mut bytes = vec![0xaa; 12];
        bytes.extend([0x08, 0x00, 0x45]);
        Frame { at: SystemTime::UNIX_EPOCH, outgoing: false, bytes: with_tag(&bytes, tag) }
    }

    #[test]
    fn a_tag_that_the_kernel_took_out_is_put_back() {
        let tagged = frame(Some((0x8100, 0x2000 | 10)));
        assert_eq!(tagged.vlan(), Some(10));
        assert_eq!(tagged.payload(), Some((0x0800, &[0x45][..])));
    }

    #[test]
    fn a_plain_frame_has_no_vlan() {
        assert_eq!(frame(None).vlan(), None);
        assert_eq!(frame(None).payload(), Some((0x0800, &[0x45][..])));
    }
}
