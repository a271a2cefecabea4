//! What services have in common (the reals of their pool, the words of its ring) is held once, however many have it: a pool may be
//! behind a thousand of them.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

/// Changes what these have, each thing once; who has the same before has the same afterwards. Others that have it too keep it as it
/// was. Where it doesn't stay, they all have one that begins anew. `at` is where one has it, `None` for nobody, and no name
/// comes twice.
///
/// Returns the sizes of what went and of what came, for those who count them.
pub fn change<M, K, T: Clone + Default>(
    all: &mut M,
    names: &[K],
    at: impl for<'a> Fn(&'a mut M, &K) -> Option<&'a mut Arc<T>>,
    stays: impl Fn(&T) -> bool,
    mut change: impl FnMut(&mut T),
    size: impl Fn(&T) -> usize,
) -> (usize, usize) {
    let (mut went, mut came) = (0, 0);
    let mut changed = Vec::new();
    let mut anew = Vec::new();
    for (mut held, names) in take(all, names, &at) {
        if Arc::strong_count(&held) == 1 {
            went += size(&held);
        }
        if stays(&held) {
            change(Arc::make_mut(&mut held));
            changed.push((held, names));
        } else {
            anew.extend(names);
        }
    }
    if !anew.is_empty() {
        let mut new = T::default();
        change(&mut new);
        changed.push((Arc::new(new), anew));
    }
    for (held, names) in changed {
        came += size(&held);
        for name in names {
            if let Some(place) = at(all, name) {
                *place = held.clone();
            }
        }
    }
    (went, came)
}

/// What these have, each thing once, with the names of those who have it. They are left without.
fn take<'n, M, K, T: Default>(
    all: &mut M,
    names: &'n [K],
    at: &impl for<'a> Fn(&'a mut M, &K) -> Option<&'a mut Arc<T>>,
) -> Vec<(Arc<T>, Vec<&'n K>)> {
    let mut things: Vec<(Arc<T>, Vec<&'n K>)> = Vec::new();
    let mut places = HashMap::new();
    for name in names {
        let Some(held) = at(all, name).map(mem::take) else { continue };
        let place = *places.entry(Arc::as_ptr(&held)).or_insert(things.len());
        match things.get_mut(place) {
            Some((_, names)) => names.push(name),
            None => things.push((held, vec![name])),
        }
    }
    things
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type All = BTreeMap<u8, Arc<Vec<u8>>>;

    fn add(all: &mut All, names: &[u8], stays: bool, value: u8) -> (usize, usize) {
        change(all, names, |all, name| all.get_mut(name), |_| stays, |held| held.push(value), Vec::len)
    }

    #[test]
    fn who_has_the_same_has_the_same_afterwards() {
        let mut all: All = (0..4).map(|name| (name, Arc::default())).collect();
        let things = |all: &All| {
            let mut things: Vec<_> = all.values().map(Arc::as_ptr).collect();
            things.dedup();
            (all.values().map(|held| held.to_vec()).collect::<Vec<_>>(), things.len())
        };
        // Nobody is called 9.
        assert_eq!(add(&mut all, &[0, 1, 2, 9], false, 5), (0, 1));
        assert_eq!(things(&all), (vec![vec![5], vec![5], vec![5], vec![]], 2));
        // In place, since nobody else has it.
        let before = Arc::as_ptr(&all[&0]);
        assert_eq!(add(&mut all, &[0, 1, 2], true, 6), (1, 2));
        assert_eq!(
            (things(&all), Arc::as_ptr(&all[&0])),
            ((vec![vec![5, 6], vec![5, 6], vec![5, 6], vec![]], 2), before)
        );
        // The third keeps what it has.
        assert_eq!(add(&mut all, &[0, 1, 3], true, 7), (0, 4));
        assert_eq!(things(&all), (vec![vec![5, 6, 7], vec![5, 6, 7], vec![5, 6], vec![7]], 3));
        assert_eq!(add(&mut all, &[0, 1, 2, 3], false, 8), (6, 1));
        assert_eq!(things(&all), (vec![vec![8]; 4], 1));
        assert_eq!(add(&mut all, &[], false, 9), (0, 0));
    }
}
