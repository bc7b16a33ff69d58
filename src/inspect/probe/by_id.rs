//! A table of things by number, where numbers arrive almost in order: a sorted list.
//!
//! A removed entry leaves its place empty until half of the places are empty, so removing from a
//! long list costs no more than from a short one.

#[derive(Debug)]
pub(crate) struct ById<T> {
    /// In ascending order.
    entries: Vec<(u64, Option<T>)>,
    empty: usize,
}

impl<T> ById<T> {
    pub(crate) fn new() -> Self {
        Self::with_capacity(0)
    }

    /// Allocates memory for `capacity` entries now, and no more while there are fewer entries.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        ById { entries: Vec::with_capacity(capacity), empty: 0 }
    }

    fn place(&self, id: u64) -> Result<usize, usize> {
        match self.entries.last() {
            Some(&(last, _)) if last < id => Err(self.entries.len()),
            _ => self.entries.binary_search_by_key(&id, |&(id, _)| id),
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        self.place(id).ok().and_then(|place| self.entries[place].1.as_ref())
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        self.place(id).ok().and_then(|place| self.entries[place].1.as_mut())
    }

    /// Returns the entry, and creates it if it is missing.
    pub(crate) fn entry(&mut self, id: u64, make: impl FnOnce() -> T) -> &mut T {
        let place = self.place(id).unwrap_or_else(|place| {
            self.entries.insert(place, (id, None));
            self.empty += 1;
            place
        });
        let value = &mut self.entries[place].1;
        if value.is_none() {
            self.empty -= 1;
        }
        value.get_or_insert_with(make)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let place = self.place(id).ok()?;
        let value = self.entries[place].1.take()?;
        self.empty += 1;
        if self.empty > self.entries.len() / 2 {
            self.retain(|_| true);
        }
        Some(value)
    }

    /// Removes empty places, and entries that `keep` rejects.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.entries.retain(|(_, value)| value.as_ref().is_some_and(&keep));
        self.empty = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.empty
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().filter(|(_, value)| value.is_some()).map(|&(id, _)| id)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// `ById` behaves like a `BTreeMap`, for ids that are mostly in ascending order.
    #[test]
    fn hold_what_a_map_holds() {
        let (mut ours, mut theirs) = (ById::new(), BTreeMap::new());
        let mut random = 1_u64;
        for round in 0..4000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = random >> 33;
            let old = round - pick % 300.min(round + 1);
            match pick % 5 {
                0 | 1 => assert_eq!(ours.entry(round, || pick), theirs.entry(round).or_insert(pick)),
                2 => assert_eq!(ours.entry(old, || pick), theirs.entry(old).or_insert(pick)),
                _ => assert_eq!(ours.remove(old), theirs.remove(&old)),
            }
            assert_eq!((ours.get(old), ours.get(round)), (theirs.get(&old), theirs.get(&round)));
            assert_eq!(ours.get_mut(old), theirs.get_mut(&old));
            assert_eq!(ours.len(), theirs.len());
            assert!(ours.entries.len() <= 2 * theirs.len() + 1);
            if round % 500 == 0 {
                ours.retain(|value| value % 3 > 0);
                theirs.retain(|_, value| *value % 3 > 0);
            }
        }
        assert!(ours.ids().eq(theirs.keys().copied()) && ours.len() > 10);
    }
}
