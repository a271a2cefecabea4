//! From what is known to the maps that follow from it, without touching either.
//!
//! [`model`] is what is known: the configuration, reals' health and addresses, interfaces. `carry` is what a reload leaves of that, [`drain`] are the
//! reals that it left out and that still have connections, [`overrides`] is what was set at run time, [`fleet`] what the reals of a pool do together. [`plan`] says which maps
//! follow, and [`urgent`] which of them first, with the places that [`allocation`] keeps (`space` has the ranges, `numbers` the numbers); [`gates`] joins services with the virtual routers of their VIPs.

pub mod allocation;
mod carry;
pub mod drain;
pub mod fleet;
pub mod gates;
pub mod model;
mod numbers;
pub mod overrides;
pub mod plan;
mod space;
pub mod theirs;
pub mod told;
pub mod urgent;
