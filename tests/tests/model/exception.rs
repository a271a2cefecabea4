//! Why a connection to a living real may go to another one.

/// ARCHITECTURE.md lists them by these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exception {
    SilentForLong,
    HalfClosed,
    OnePacket,
    OpenerAgain,
    TableFull,
    TakenForDead,
    WithinLag,
    OnlyOpened,
    NotConfigured,
    Rebooted,
    OtherHash,
    BecameTracked,
}
