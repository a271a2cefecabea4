//! Building rings: each that differs once, on all CPUs.

use std::num::NonZeroUsize;
use std::thread;

use aya::maps::MapData;

use super::{Error, Ring, ring};

/// Builds rings and fills their maps. Services of the same reals have the same ring but for their reals' numbers: it is
/// computed once (on each CPU that meets it), which is what takes the time.
pub(super) fn build_rings(rings: &[(u32, &Ring)]) -> Result<Vec<(u32, MapData)>, Error> {
    let mut shaped: Vec<(Ring, u32, &Ring)> = rings.iter().map(|(id, ring)| (ring.shape(), *id, *ring)).collect();
    shaped.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = shaped.len().div_ceil(threads).max(1);
    if shaped.len() <= 1 {
        return build(&shaped);
    }
    let parts: Vec<Result<Vec<_>, Error>> = thread::scope(|scope| {
        let parts: Vec<_> = shaped.chunks(share).map(|part| scope.spawn(move || build(part))).collect();
        let join = |part: thread::ScopedJoinHandle<'_, _>| {
            part.join().unwrap_or_else(|_| Err(Error::map("rings", "the ring builder failed")))
        };
        parts.into_iter().map(join).collect()
    });
    parts.into_iter().try_fold(Vec::new(), |mut all, part| {
        all.extend(part?);
        Ok(all)
    })
}

/// Builds rings of which those of the same shape follow one another. One shape at a time is held in memory.
fn build(part: &[(Ring, u32, &Ring)]) -> Result<Vec<(u32, MapData)>, Error> {
    let mut built = Vec::with_capacity(part.len());
    let mut held: Option<(&Ring, Vec<u32>)> = None;
    for (shape, id, ring) in part {
        let content = match &held {
            Some((same, content)) if *same == shape => content,
            _ => &held.insert((shape, shape.content())).1,
        };
        built.push((*id, ring::create(&ring.numbered(content))?));
    }
    Ok(built)
}
