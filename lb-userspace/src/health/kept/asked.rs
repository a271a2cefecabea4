//! The name of a question to a real: a digest, since a question may have secrets (a header's value) in it.

use std::hash::{Hash as _, Hasher};

use blake2::{Blake2s256, Digest as _};
use serde::{Deserialize, Serialize};

use super::Target;

/// What is asked of whom, whatever the pace: 128 bits in hexadecimal. Another version of this program may give another
/// name to the same question, never the same to another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asked(String);

impl Asked {
    /// What this target is asked.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        let mut hasher = Hashed(Blake2s256::new());
        target.address.hash(&mut hasher);
        target.check.question().hash(&mut hasher);
        // The words tell kinds apart that only another version would confound, by their order.
        target.check.label().hash(&mut hasher);
        let digest = hasher.0.finalize();
        Self(digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

struct Hashed(Blake2s256);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks for so little of it.
        0
    }
}
