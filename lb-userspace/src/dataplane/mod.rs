//! The kernel's side: the program and its maps are loaded, pinned, adopted, written and read here, and
//! nowhere else.
//!
//! The pinned maps and links outlive the agent: it may stop, crash or be replaced, and the program goes on
//! forwarding. [`Dataplane::open`] adopts what is pinned or makes it; [`detach`] alone ends it. Maps of other layouts, which
//! another version has pinned, are a `predecessor`'s: read, replaced and removed.

mod attach;
mod btf;
mod changes;
pub mod clock;
mod counters;
mod desired;
mod drops;
mod error;
mod features;
mod first;
mod gate;
mod layout;
mod load;
mod loads;
mod mapped;
mod maps;
mod native;
mod occupant;
mod pin;
mod predecessor;
mod remembered;
mod slots;
mod stats;
mod structures;
mod sweep;
mod syscall;
mod table;
mod tc;
mod trace;
mod which;
mod writer;

pub use attach::{Attached, Hook};
pub use clock::{FlowTimes, ticks};
pub use desired::{Desired, Part, Pool, Ring, Taken, Turns};
pub use error::Error;
pub use features::Features;
pub use gate::Gates;
pub use load::{Dataplane, MapRow, Purpose, Sizes, map_rows, object};
pub use mapped::Mapped;
pub use maps::{Adopted, Maps, Room};
pub(crate) use occupant::describe as occupant;
pub use pin::{Pins, detach};
pub use remembered::{Arrays, At, Hears, KeyReader, News, Remembered, Watch, is_template};
pub use slots::{Open, SlotNews, Slots, ToldRing, Words};
pub use stats::{Counters, StatsReader};
pub use sweep::{Live, Rules, Sweep, Swept};
pub use table::{place, size_for};
pub use trace::{Traced, Tracer, mac_of};
pub use which::{Sought, Told};
