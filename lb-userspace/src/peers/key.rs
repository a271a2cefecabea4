//! The secret that all directors share, and what follows from it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use blake2::Blake2s256;
use hkdf::SimpleHkdf;
use nix::fcntl::OFlag;
use secrecy::{ExposeSecret as _, SecretBox};

/// Bytes of a key at least.
const LEAST: usize = 32;
/// A longer file is no key.
const MOST: u64 = 4096;
/// Fewer different bytes are no random key: of 32 random ones about 30 differ, of 32 digits about 10.
const DIFFERENT: usize = 6;

/// The secret that all directors share. No log, error or `Debug` shows it, and its memory is wiped when it goes.
pub struct Key(SecretBox<Vec<u8>>);

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {}", path.display(), why.to_string().replace("FILE", &path.display().to_string()))]
pub struct Error {
    path: PathBuf,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(
        "can't be read: {0}.\nMake it once and copy it to each director: (umask 077; head -c 48 /dev/urandom | base64 -w0 > FILE)"
    )]
    Unreadable(io::Error),
    #[error("is not a file.\nName the key's file as key_file in [peers]")]
    NoFile,
    #[error("belongs to user {0}, who could read and change the key.\nGive it to root: chown root FILE")]
    Owner(u32),
    #[error("has mode {0:04o}, so that others may read or change the key.\nTake that from them: chmod 600 FILE")]
    Mode(u32),
    #[error(
        "has {0} bytes of key, at least {LEAST} are needed.\nMake it of random bytes: head -c 48 /dev/urandom | base64 -w0"
    )]
    Short(usize),
    #[error("is longer than {MOST} bytes, so it can't be a key.\nName the key's file as key_file in [peers]")]
    Long,
    #[error("has the same few bytes again and again.\nMake it of random bytes: head -c 48 /dev/urandom | base64 -w0")]
    Plain,
}

impl Key {
    /// Reads the key of a file. White space at the end of one of plain text doesn't count.
    ///
    /// # Errors
    /// It can't be read, is nobody's key, or others than root and this user may read or change it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        read(path, nix::unistd::geteuid().as_raw()).map_err(|why| Error { path: path.to_owned(), why })
    }

    fn new(mut bytes: Vec<u8>) -> Result<Self, Why> {
        if bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
            bytes.truncate(bytes.trim_ascii_end().len());
        }
        if bytes.len() < LEAST {
            return Err(Why::Short(bytes.len()));
        }
        let mut seen = [false; 256];
        for &byte in &bytes {
            if let Some(seen) = seen.get_mut(usize::from(byte)) {
                *seen = true;
            }
        }
        if seen.iter().filter(|seen| **seen).count() < DIFFERENT {
            return Err(Why::Plain);
        }
        Ok(Self(SecretBox::new(Box::new(bytes))))
    }

    /// The seed of flow hashes and rings: the same on all directors, and nobody else can compute which slot a client
    /// gets.
    #[must_use]
    pub fn hash_seed(&self) -> u64 {
        u64::from_be_bytes(self.derive(b"hash seed"))
    }

    /// The pre-shared key of connections between directors.
    pub(super) fn noise(&self) -> [u8; 32] {
        self.derive(b"noise psk")
    }

    /// HKDF (RFC 5869) with BLAKE2s.
    fn derive<const N: usize>(&self, purpose: &[u8]) -> [u8; N] {
        let mut out = [0; N];
        let hkdf = SimpleHkdf::<Blake2s256>::new(Some(b"lb peers"), self.0.expose_secret());
        // It refuses more than 255 hashes' length alone.
        debug_assert!(N <= 255 * 32);
        let _ = hkdf.expand(purpose, &mut out);
        out
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key")
    }
}

fn read(path: &Path, own: u32) -> Result<Key, Why> {
    // A pipe without a writer would hang.
    let flags = OFlag::O_NONBLOCK.bits();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(Why::Unreadable)?;
    let held = file.metadata().map_err(Why::Unreadable)?;
    if !held.is_file() {
        return Err(Why::NoFile);
    }
    if held.uid() != 0 && held.uid() != own {
        return Err(Why::Owner(held.uid()));
    }
    let mode = held.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Why::Mode(mode));
    }
    let mut bytes = Vec::with_capacity(4097);
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(Why::Unreadable)?;
    if bytes.len() as u64 > MOST {
        return Err(Why::Long);
    }
    Key::new(bytes)
}

#[cfg(test)]
impl Key {
    /// A key for tests; other texts are other keys.
    pub(crate) fn of(text: &str) -> Self {
        Self::new(format!("{text} 0123456789abcdef0123456789abcdef").into_bytes()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_follows_from_a_key_is_fixed() {
        let key = Key::new(b"0123456789abcdef0123456789abcdef\n".to_vec()).unwrap();
        // By Python's hmac with hashlib.blake2s: HKDF with the salt "lb peers".
        assert_eq!(format!("{:016x}", key.hash_seed()), "291088cfcadfea32");
        assert_eq!(key.noise()[..4], [27, 81, 246, 116]);
        assert_ne!(Key::of("a").hash_seed(), Key::of("b").hash_seed());
        assert_eq!(format!("{key:?}"), "Key");
    }

    #[test]
    fn key_files_that_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let random: Vec<u8> = (0..48).map(|n: u8| n.wrapping_mul(101)).collect();
        let rows: [(&[u8], u32, &str); 9] = [
            (&random, 0o600, ""),
            (&random, 0o400, ""),
            (b"0123456789abcdef0123456789abcdef\r\n", 0o600, ""),
            (&random, 0o640, "has mode 0640, so that others may read"),
            (&random, 0o602, "has mode 0602"),
            (b"0123456789abcdef0123456789abcde\n", 0o600, "has 31 bytes of key, at least 32"),
            (b"", 0o600, "has 0 bytes of key"),
            (&[0; 64], 0o600, "the same few bytes"),
            (&[7; 4097], 0o600, "is longer than 4096 bytes"),
        ];
        for (bytes, mode, expected) in rows {
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let said = Key::read(&path).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{expected}: {said}");
            assert!(said.is_empty() || said.starts_with(&path.display().to_string()), "{said}");
            fs::remove_file(&path).unwrap();
        }
        let said = Key::read(&path).unwrap_err().to_string();
        assert!(
            said.contains("can't be read: No such file") && said.ends_with(&format!("> {})", path.display())),
            "{said}"
        );
        assert!(Key::read(folder.path()).unwrap_err().to_string().contains("is not a file"));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(Key::read(&path).unwrap_err().to_string().contains("is not a file"));
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, b"0123456789abcdef0123456789abcdef").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let own = nix::unistd::geteuid().as_raw();
        if own == 0 {
            nix::unistd::chown(&path, Some(12345.into()), None).unwrap();
            assert!(Key::read(&path).unwrap_err().to_string().contains("belongs to user 12345"));
        }
        assert!(read(&path, if own == 0 { 12345 } else { own }).is_ok());
    }
}
