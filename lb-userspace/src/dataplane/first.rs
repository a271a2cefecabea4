//! What is written ahead of the rest: health that changed, as soon as it is heard of.

use super::clock::now;
use super::writer::worse;
use super::{Dataplane, Error, Part};

impl Dataplane {
    /// Writes a part of what is to be applied next, ahead of it: from then on flows of these pools go to whom they shall. The reals
    /// of the part are those that were applied last, and are sent to as then.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_first(&mut self, part: &Part) -> Result<(), Error> {
        for (start, pool) in &part.pools {
            for (index, real) in pool.reals.iter().map(|(number, real)| (start + u32::from(*number), real)) {
                let held = self.held_reals.get(&index);
                let is_better = held.is_some_and(|held| held != real && held.address == real.address);
                if is_better && !worse(held, real) {
                    self.maps.reals.set(index, *real)?;
                    self.held_reals.insert(index, *real);
                }
            }
        }
        self.slots.write_part(&mut self.maps.slots, part, now());
        self.applied.pools.extend(part.pools.clone());
        self.applied.rings.extend(part.rings.clone());
        Ok(())
    }
}
