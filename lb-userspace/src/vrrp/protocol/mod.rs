//! What virtual routers do, without a socket or a clock.
//!
//! [`machine`] is the protocol, [`instance`] one virtual router of it with what it accepts, [`group`] what several do
//! together, [`holding`] which VIPs this host has for whom, [`weights`] what tracked things do to a priority. [`announcing`] is when to announce a VIP, [`pace`] how
//! fast anything may go.

pub mod announcing;
pub mod group;
pub mod holding;
pub mod instance;
pub mod machine;
pub mod pace;
pub mod settings;
pub mod status;
pub mod weights;

pub use instance::Instance;
pub use machine::Machine;
pub use settings::Settings;
pub use status::Status;
