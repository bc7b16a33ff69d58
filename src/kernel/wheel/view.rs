//! Questions to the wheel, and its end.

use super::{List, TimerKey, Wheel};

impl TimerKey {
    #[inline]
    pub(crate) fn age(&self) -> u64 {
        self.age
    }
}

impl<T> Wheel<T> {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.timers.len()
    }

    /// The value under a key, unless it was taken or has fired.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        let timer = self.timers.get_mut(key.index).filter(|timer| timer.age == key.age)?;
        Some(&mut timer.value)
    }

    /// The age, the deadline and the value of each timer, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64, &T)> {
        self.timers.iter_all().map(|timer| (timer.age, timer.deadline, &timer.value))
    }

    /// Whether timers were set aside and have not been taken.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// How many they are.
    pub(crate) fn due_len(&self) -> usize {
        self.timers.iter(self.due).count()
    }

    /// Hands out what all timers hold, with their ages, in no order. None is left.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(u64, T)) {
        self.levels.clear();
        self.late = List::EMPTY;
        self.due = List::EMPTY;
        self.earliest = None;
        self.timers.drain(|timer| take(timer.age, timer.value));
    }
}
