//! Why a value is refused, before its place is known.

/// One refusal: whoever knows the place reports it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

impl Fault {
    /// A fault with its mend.
    pub fn new(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { message: message.into(), mend: mend.into() }
    }
}
