//! What VRRP says and hears, in bytes: adverts ([`packet`], [`checksum`], [`frame`]), what a virtual router takes
//! of them and why not ([`accept`], [`refusal`]), and the frames that move a VIP's traffic here ([`announce`]).

pub mod accept;
pub mod announce;
pub mod checksum;
pub mod frame;
pub mod packet;
pub mod refusal;

pub use accept::Acceptance;
pub use packet::{Advert, Received};
pub use refusal::{Refusal, Refusals};
