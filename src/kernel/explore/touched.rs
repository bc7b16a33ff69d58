//! What a step touches, for a search that leaves out orders (`Explore::reduce`).
//!
//! Two steps commute if none of them touches what the other one touches. So each place of the library
//! where a task can reach another task calls a function of this file:
//!
//! ```text
//!   Known::writes, reads, adds    a lock, a queue, a promise, a `Tracked`, ..
//!   touch(Of::Steps, task)        a wake of the task; each of its steps
//!   touch(Of::End, task)          its end, and what waits for its end
//!   touch(Of::Spawns, 0)          a task is numbered
//!   touches_all                   a cancellation, a callback: conflicts with every other step
//!   unknown                       what this file does not know: the search then leaves out nothing
//! ```
//!
//! Nothing is noted unless a search has asked for it. Objects are numbered by the step that creates
//! them, so an object has the same number in all orders in which that step is the same.

use crate::kernel::cell::Header;
use std::cell::Cell;

/// How an object is touched. Two reads commute, and two additions: both orders lead to one state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mode {
    Read,
    Add,
    Write,
}

/// What is touched, if it is no `Known`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Of {
    Steps,
    End,
    Spawns,
}

/// What one step has touched.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Touched {
    /// Sorted, each object once.
    objects: Vec<(u64, Mode)>,
    everything: bool,
}

impl Touched {
    fn add(&mut self, object: u64, mode: Mode) {
        match self.objects.binary_search_by_key(&object, |&(object, _)| object) {
            // A read and an addition together are a write.
            Ok(at) if self.objects[at].1 != mode => self.objects[at].1 = Mode::Write,
            Ok(_) => {}
            Err(at) => self.objects.insert(at, (object, mode)),
        }
    }

    pub(crate) fn merge(&mut self, other: &Touched) {
        other.objects.iter().for_each(|&(object, mode)| self.add(object, mode));
        self.everything |= other.everything;
    }

    /// Whether this may have been added to the object.
    pub(crate) fn may_add(&self, what: Of, task: u64) -> bool {
        let is_added = |&(object, mode): &(u64, Mode)| object == number_of(what, task) && mode != Mode::Read;
        self.everything || self.objects.iter().any(is_added)
    }

    /// Whether both have added to one object, which is not the steps of this task, and are known.
    pub(crate) fn counts_with(&self, other: &Touched, task: u64) -> bool {
        let is_count = |&(object, mode): &(u64, Mode)| {
            mode == Mode::Add && object != number_of(Of::Steps, task) && other.objects.contains(&(object, Mode::Add))
        };
        !self.everything && !other.everything && self.objects.iter().any(is_count)
    }

    /// Whether two steps that have touched this may not be exchanged.
    pub(crate) fn conflicts(&self, other: &Touched) -> bool {
        if self.everything || other.everything {
            return true;
        }
        let (mut ours, mut theirs) = (self.objects.iter().peekable(), other.objects.iter().peekable());
        while let (Some(&&(our, one)), Some(&&(their, two))) = (ours.peek(), theirs.peek()) {
            if our == their && (one != two || one == Mode::Write) {
                return true;
            }
            if our <= their {
                ours.next();
            }
            if their <= our {
                theirs.next();
            }
        }
        false
    }
}

#[derive(Default)]
struct Notes {
    touched: Touched,
    /// The step that runs.
    step: u64,
    /// Number of objects and callbacks that the step has created.
    made: u64,
    /// The callbacks that were queued since the last call of `take_queued`.
    queued: Vec<u64>,
    unknown: Option<&'static str>,
}

thread_local! {
    /// `None` if nothing is noted.
    static NOTES: Cell<Option<Box<Notes>>> = const { Cell::new(None) };
}

fn note<R>(act: impl FnOnce(&mut Notes) -> R) -> Option<R> {
    // A thread that ends may drop a loop behind its thread-local values.
    let noted = NOTES.try_with(|cell| {
        let mut notes = cell.take()?;
        let result = act(&mut notes);
        cell.set(Some(notes));
        Some(result)
    });
    noted.ok().flatten()
}

fn number_of(what: Of, task: u64) -> u64 {
    mixed(what as u64 + 1, task)
}

pub(crate) fn mixed(one: u64, other: u64) -> u64 {
    let number = (one ^ other.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

// ---- for the search ----

/// Notes what happens on this thread, until this is dropped.
pub(crate) struct Noting(());

impl Noting {
    pub(crate) fn begin() -> Self {
        NOTES.with(|notes| notes.set(Some(Box::default())));
        Noting(())
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        NOTES.with(|notes| notes.set(None));
    }
}

/// A step begins. `step` is a number that no other step of the order has.
pub(crate) fn begin_step(step: u64) {
    note(|notes| (notes.step, notes.made, notes.touched) = (step, 0, Touched::default()));
}

/// The running step is that of a callback with this number.
pub(crate) fn touch_callback(number: u64) {
    note(|notes| notes.touched.add(number, Mode::Write));
}

/// What was touched since the step began.
pub(crate) fn take_touched() -> Touched {
    note(|notes| std::mem::take(&mut notes.touched)).unwrap_or_default()
}

/// The callbacks that were queued since the last call, in order.
pub(crate) fn take_queued() -> Vec<u64> {
    note(|notes| std::mem::take(&mut notes.queued)).unwrap_or_default()
}

/// What was used that is not known.
pub(crate) fn seen_unknown() -> Option<&'static str> {
    note(|notes| notes.unknown).flatten()
}

// ---- for the library ----

/// An object through which tasks can reach each other.
pub(crate) struct Known(u64);

impl Known {
    /// Outside of a noted run, objects are not told apart.
    #[inline]
    pub(crate) fn new() -> Self {
        Known(note(Notes::number).unwrap_or(0))
    }

    #[inline]
    pub(crate) fn writes(&self) {
        note(|notes| notes.touched.add(self.0, Mode::Write));
    }

    #[inline]
    pub(crate) fn reads(&self) {
        note(|notes| notes.touched.add(self.0, Mode::Read));
    }

    /// The running callback only adds to this object: it touches nothing else.
    pub(crate) fn adds_only(&self) {
        note(|notes| {
            notes.touched.everything = false;
            notes.touched.add(self.0, Mode::Add);
        });
    }
}

impl Notes {
    fn number(&mut self) -> u64 {
        self.made += 1;
        mixed(self.step, self.made)
    }
}

pub(crate) fn touch(what: Of, task: u64, mode: Mode) {
    note(|notes| notes.touched.add(number_of(what, task), mode));
}

pub(crate) fn is_noting() -> bool {
    note(|_| ()).is_some()
}

pub(crate) fn touches_all() {
    note(|notes| notes.touched.everything = true);
}

pub(crate) fn callback_queued() {
    note(|notes| {
        let number = notes.number();
        notes.touched.add(number, Mode::Write);
        notes.queued.push(number);
    });
}

/// A task got this number. Its first step comes after the step that runs.
pub(crate) fn spawned(task: u64) -> u64 {
    touch(Of::Spawns, 0, Mode::Write);
    touch(Of::Steps, task, Mode::Add);
    task
}

pub(crate) fn woken(task: &Header) {
    touch(Of::Steps, task.id, Mode::Add);
}

pub(crate) fn unknown(what: &'static str) {
    note(|notes| notes.unknown = notes.unknown.or(Some(what)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(objects: &[(u64, Mode)]) -> Touched {
        let mut touched = Touched::default();
        objects.iter().for_each(|&(object, mode)| touched.add(object, mode));
        touched
    }

    #[test]
    fn reads_and_additions_commute() {
        use Mode::{Add, Read, Write};
        for (one, other, expected) in [
            (Read, Read, false),
            (Add, Add, false),
            (Read, Add, true),
            (Add, Write, true),
            (Read, Write, true),
            (Write, Write, true),
        ] {
            let (first, second) = (touched(&[(3, one), (5, Read)]), touched(&[(1, Write), (3, other), (4, Write)]));
            assert_eq!((first.conflicts(&second), second.conflicts(&first)), (expected, expected), "{one:?} {other:?}");
        }
        assert!(touched(&[(3, Read), (3, Add)]).conflicts(&touched(&[(3, Add)])), "together they are a write");
        assert!(!touched(&[(3, Write)]).conflicts(&touched(&[(4, Write)])));
        let everything = Touched { everything: true, ..Touched::default() };
        assert!(everything.conflicts(&Touched::default()));
    }

    #[test]
    fn numbers_objects_by_their_steps() {
        assert_eq!(Known::new().0, 0);
        let noting = Noting::begin();
        begin_step(7);
        let (one, other) = (Known::new(), Known::new());
        begin_step(7);
        let again = Known::new();
        assert!(one.0 == again.0 && one.0 != other.0);
        one.writes();
        assert_eq!(take_touched(), touched(&[(one.0, Mode::Write)]));
        assert_eq!(take_touched(), Touched::default());
        drop(noting);
        one.writes();
        assert_eq!(take_touched(), Touched::default());
    }
}
