//! Queries on the wheel, and its end.

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

    /// Removes a timer and returns its value, unless it was removed or has fired.
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<T> {
        self.remove_if(key, |_| true)
    }

    /// The time to which the wheel was turned last.
    #[cfg(all(feature = "replay", debug_assertions))]
    pub(crate) fn time(&self) -> u64 {
        self.time
    }

    pub(crate) fn len(&self) -> usize {
        self.timers.len()
    }

    /// The value of a timer, unless it was removed or has fired.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        let timer = self.timers.get_mut(key.index).filter(|timer| timer.age == key.age)?;
        Some(&mut timer.value)
    }

    /// The age, the deadline and the value of each timer, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64, &T)> {
        self.timers.iter_all().map(|timer| (timer.age, timer.deadline, &timer.value))
    }

    /// Whether `expire` has set timers aside that `pop_due` has not taken yet.
    pub(crate) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// The timers that are set aside, in the order in which they fire.
    #[cfg(feature = "explore")]
    pub(crate) fn due(&self) -> impl Iterator<Item = (u64, &T)> {
        self.timers.iter(self.due).map(|timer| (timer.age, &timer.value))
    }

    /// Number of timers that are set aside and have the same deadline as the one that fires next.
    #[cfg(feature = "explore")]
    pub(crate) fn due_together(&self) -> usize {
        let mut due = self.timers.iter(self.due).map(|timer| timer.deadline);
        let first = due.next();
        usize::from(first.is_some()) + due.take_while(|&deadline| Some(deadline) == first).count()
    }

    /// Like `pop_due`, but takes number `nth` of the timers that are set aside.
    #[cfg(feature = "explore")]
    pub(crate) fn pop_due_at(&mut self, nth: usize) -> Option<(u64, T)> {
        if nth == 0 {
            return self.pop_due();
        }
        let index = core::iter::successors(self.due.first(), |&index| self.timers.next(index)).nth(nth)?;
        let age = self.timers.get(index)?.age;
        self.remove(TimerKey { index, age }).map(|value| (age, value))
    }

    /// Number of timers that are set aside.
    pub(crate) fn due_len(&self) -> usize {
        self.timers.iter(self.due).count()
    }

    /// Removes all timers and passes their ages and values to `take`, in no particular order.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(u64, T)) {
        self.levels.clear();
        self.late = List::EMPTY;
        self.due = List::EMPTY;
        self.earliest = None;
        self.timers.drain(|timer| take(timer.age, timer.value));
    }
}
