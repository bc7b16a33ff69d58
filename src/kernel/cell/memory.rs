//! The memory of cells: a freed cell is kept for the next task whose cell has the same size.
//!
//! ```text
//!   SPARES.lists:  [ 0 | 8 | 16 | .. | 88 | .. | 512 ]        one list for each size in bytes
//!                                      |
//!                                      v
//!                                    [next] -> [next] -> NIL        freed cells; the first word is the link
//! ```
//!
//! A program spawns tasks of few types over and over. Asking the allocator for each cell took a seventh of the instructions of a
//! spawn with its await.
//!
//! A thread keeps at most `KEPT` bytes, only while it has a loop: the end of its last loop frees them. Code in which memory errors
//! are searched for is built with `--cfg onelane_fresh_cells`: then each cell comes from the allocator.
#![allow(unsafe_code, reason = "allocates and frees cells")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;

/// Cells are as large as a multiple of this, in bytes.
const STEP: usize = 8;

/// Larger cells are not kept.
const LARGEST: usize = 512;

/// Maximum number of bytes that a thread keeps.
const KEPT: usize = 256 << 10;

/// What is written into freed memory: the next cell of the list.
struct Spare {
    next: Option<NonNull<Spare>>,
}

struct Spares {
    lists: [Cell<Option<NonNull<Spare>>>; LARGEST / STEP + 1],
    /// Number of bytes that may still be kept.
    room: Cell<usize>,
}

thread_local! {
    /// It has no destructor, so it can be used while the thread ends.
    static SPARES: Spares =
        const { Spares { lists: [const { Cell::new(None) }; LARGEST / STEP + 1], room: Cell::new(0) } };
}

const fn may_be_kept(layout: Layout) -> bool {
    !cfg!(any(miri, onelane_fresh_cells)) && layout.align() == STEP && layout.size() <= LARGEST
}

/// Returns memory of this layout.
#[inline]
pub(super) fn take(layout: Layout) -> NonNull<u8> {
    if may_be_kept(layout) {
        let spare = SPARES.with(|spares| {
            let list = &spares.lists[layout.size() / STEP];
            let first = list.get()?;
            // SAFETY: `give` has put it into the list and written the link. Nobody else has a pointer to it.
            list.set(unsafe { first.as_ref() }.next);
            spares.room.set(spares.room.get() + layout.size());
            Some(first.cast())
        });
        if let Some(spare) = spare {
            return spare;
        }
    }
    allocate(layout)
}

#[cold]
#[inline(never)]
fn allocate(layout: Layout) -> NonNull<u8> {
    debug_assert!(layout.size() >= size_of::<Spare>(), "a cell has a header");
    // SAFETY: the size is not 0.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Frees memory, or keeps it.
///
/// # Safety
///
/// It is from `take` with the same layout, on this thread, and is used no more.
#[inline]
pub(super) unsafe fn give(memory: NonNull<u8>, layout: Layout) {
    let is_kept = may_be_kept(layout)
        && SPARES.with(|spares| {
            let Some(room) = spares.room.get().checked_sub(layout.size()) else { return false };
            spares.room.set(room);
            let list = &spares.lists[layout.size() / STEP];
            let spare = memory.cast();
            // SAFETY: the caller gives the memory up. It is aligned like a `Spare`, and is not smaller.
            unsafe { spare.write(Spare { next: list.get() }) };
            list.set(Some(spare));
            true
        });
    if !is_kept {
        // SAFETY: `allocate` has allocated it with this layout.
        unsafe { dealloc(memory.as_ptr(), layout) };
    }
}

/// The thread has its first loop.
pub(in crate::kernel) fn begin_keeping() {
    SPARES.with(|spares| spares.room.set(KEPT));
}

/// The thread has no loop any more. Frees what is kept.
pub(in crate::kernel) fn stop_keeping() {
    SPARES.with(|spares| {
        spares.room.set(0);
        for (nth, list) in spares.lists.iter().enumerate() {
            while let Some(first) = list.get() {
                // SAFETY: as in `take`.
                list.set(unsafe { first.as_ref() }.next);
                let layout = Layout::from_size_align(nth * STEP, STEP).expect("`give` was called with this layout");
                // SAFETY: `allocate` has allocated it with this layout, and it is in no list any more.
                unsafe { dealloc(first.as_ptr().cast(), layout) };
            }
        }
    });
}
