//! The memory of cells: a freed cell is kept for the next task whose cell has the same size.
//!
//! ```text
//!   SPARES.lists:  [ 8 | 24 | 40 | .. | 88 | .. | 504 ]       one list for each size in bytes, rounded up
//!                                       |
//!                                       v
//!                                     [next] -> [next] -> None       freed cells; the first word is the link
//! ```
//!
//! A program spawns tasks of few types over and over. Asking the allocator for each cell took a seventh of the instructions of a
//! spawn with its await. The nodes of callbacks in the ready queue come from here too.
//!
//! A thread keeps at most `KEPT` bytes, and frees them when its last loop ends.
//! With `--cfg onelane_fresh_cells`, for tools that find memory errors, no cell is kept. Nor without `std`.
#![allow(unsafe_code, reason = "allocates and frees cells")]

use crate::platform::thread_local;
use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::NonNull;

/// Sizes are rounded up to 8, 24, 40 and so on. Usual allocators work in blocks of 16 bytes, and
/// use half of the first block for themselves. So these sizes waste nothing.
const STEP: usize = 16;

/// Cells with another alignment than a header's are not kept.
const ALIGN: usize = align_of::<u64>();

/// Larger cells are not kept.
const LARGEST: usize = 504;

const LISTS: usize = list_of(LARGEST) + 1;

/// Maximum number of bytes that a thread keeps.
const KEPT: usize = 256 << 10;

/// Written into freed memory: a link to the next cell of the list.
struct Spare {
    next: Option<NonNull<Spare>>,
}

struct Spares {
    lists: [Cell<Option<NonNull<Spare>>>; LISTS],
    /// Number of bytes that the thread may still keep.
    room: Cell<usize>,
    /// Bit n is set if memory of list n was ever allocated. The other lists are empty.
    used: Cell<u32>,
}

const _: () = assert!(LISTS <= u32::BITS as usize);

thread_local! {
    /// Has no destructor, so that cells can be freed while the thread ends.
    static SPARES: Spares =
        const { Spares { lists: [const { Cell::new(None) }; LISTS], room: Cell::new(0), used: Cell::new(0) } };
}

const fn may_be_kept(layout: Layout) -> bool {
    !cfg!(any(miri, onelane_fresh_cells, not(feature = "std"))) && layout.align() == ALIGN && layout.size() <= LARGEST
}

const fn list_of(size: usize) -> usize {
    (size + STEP / 2 - 1) / STEP
}

/// The layout of the memory in a list.
#[inline]
const fn layout_of(list: usize) -> Layout {
    match Layout::from_size_align(list * STEP + STEP / 2, ALIGN) {
        Ok(layout) => layout,
        Err(_) => panic!("a cell that may be kept is small"),
    }
}

/// Returns memory of this layout.
#[inline]
pub(in crate::kernel) fn take(layout: Layout) -> NonNull<u8> {
    if may_be_kept(layout) {
        let spare = SPARES.with(|spares| {
            let list = &spares.lists[list_of(layout.size())];
            let first = list.get()?;
            // SAFETY: `give` has put it into the list and written the link. Nobody else has a pointer to it.
            list.set(unsafe { first.as_ref() }.next);
            spares.room.set(spares.room.get() + layout_of(list_of(layout.size())).size());
            Some(first.cast())
        });
        if let Some(spare) = spare {
            return spare;
        }
        return allocate_for(list_of(layout.size()));
    }
    allocate(layout)
}

#[cold]
#[inline(never)]
fn allocate_for(list: usize) -> NonNull<u8> {
    SPARES.with(|spares| spares.used.set(spares.used.get() | 1 << list));
    allocate(layout_of(list))
}

#[cold]
#[inline(never)]
fn allocate(layout: Layout) -> NonNull<u8> {
    debug_assert!(layout.size() >= size_of::<Spare>(), "a freed cell has room for a link");
    // SAFETY: the size is not 0.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Frees memory, or keeps it.
///
/// # Safety
///
/// The memory is from `take` with the same layout, on this thread, and is not used again.
#[inline]
pub(in crate::kernel) unsafe fn give(memory: NonNull<u8>, layout: Layout) {
    let is_kept = may_be_kept(layout)
        && SPARES.with(|spares| {
            let list = list_of(layout.size());
            let Some(room) = spares.room.get().checked_sub(layout_of(list).size()) else { return false };
            spares.room.set(room);
            let list = &spares.lists[list];
            let spare = memory.cast();
            // SAFETY: the caller gives the memory up. It is aligned like a `Spare`, and is not smaller.
            unsafe { spare.write(Spare { next: list.get() }) };
            list.set(Some(spare));
            true
        });
    if !is_kept {
        let layout = if may_be_kept(layout) { layout_of(list_of(layout.size())) } else { layout };
        // SAFETY: `take` has allocated it with this layout.
        unsafe { dealloc(memory.as_ptr(), layout) };
    }
}

/// Drops a value, and passes its memory to `give` even if the destructor panics.
///
/// # Safety
///
/// The memory is from `take` with the layout of `T`, on this thread. It contains a value, to which no reference is left.
#[inline]
pub(super) unsafe fn drop_and_give<T>(value: NonNull<T>) {
    struct Memory<T>(NonNull<T>);
    impl<T> Drop for Memory<T> {
        #[inline]
        fn drop(&mut self) {
            // SAFETY: the caller says that the memory is from `take`, and the value was dropped.
            unsafe { give(self.0.cast(), Layout::new::<T>()) };
        }
    }
    let memory = Memory(value);
    // SAFETY: the caller says so.
    unsafe { memory.0.drop_in_place() };
}

/// Called when the thread gets its first loop.
pub(in crate::kernel) fn begin_keeping() {
    SPARES.with(|spares| spares.room.set(KEPT));
}

/// Called when the thread's last loop has ended. Frees the kept cells.
pub(in crate::kernel) fn stop_keeping() {
    SPARES.with(|spares| {
        spares.room.set(0);
        let mut used = spares.used.get();
        while used != 0 {
            let nth = used.trailing_zeros() as usize;
            used &= used - 1;
            let list = &spares.lists[nth];
            while let Some(first) = list.get() {
                // SAFETY: as in `take`.
                list.set(unsafe { first.as_ref() }.next);
                // SAFETY: `take` has allocated it with this layout, and it is in no list any more.
                unsafe { dealloc(first.as_ptr().cast(), layout_of(nth)) };
            }
        }
    });
}

#[cfg(all(test, not(any(loom, miri, onelane_fresh_cells))))]
mod tests {
    use super::*;

    fn room() -> usize {
        SPARES.with(|spares| spares.room.get())
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, ALIGN).unwrap()
    }

    #[test]
    fn keep_memory_for_the_next_of_about_the_same_size() {
        begin_keeping();
        let [small, large] = [72, 88].map(|size| take(layout(size)));
        // SAFETY: they are from `take`, with these layouts.
        [(small, 72), (large, 88)].into_iter().for_each(|(memory, size)| unsafe { give(memory, layout(size)) });
        assert_eq!(KEPT - room(), 72 + 88);
        // Cells of 80 bytes and of 88 bytes are in the same list.
        assert_eq!((take(layout(80)), take(layout(72))), (large, small));
        assert_eq!(room(), KEPT);
        // SAFETY: as above.
        [(small, 72), (large, 80)].into_iter().for_each(|(memory, size)| unsafe { give(memory, layout(size)) });
        stop_keeping();
        assert_eq!(room(), 0);
        assert!(SPARES.with(|spares| spares.lists.iter().all(|list| list.get().is_none())));
    }

    #[test]
    fn keep_no_more_than_promised() {
        begin_keeping();
        let many: Vec<_> = (0..KEPT / 500 + 10).map(|_| take(layout(500))).collect();
        // SAFETY: as above.
        many.into_iter().for_each(|memory| unsafe { give(memory, layout(500)) });
        assert!(room() < 504, "{} bytes may still be kept", room());
        // Larger ones, and those with another alignment, are never kept.
        let others = [layout(LARGEST + 1), Layout::from_size_align(64, 64).unwrap()];
        let before = room();
        // SAFETY: as above.
        others.into_iter().for_each(|layout| unsafe { give(take(layout), layout) });
        assert_eq!(room(), before);
        stop_keeping();
        let memory = take(layout(88));
        // SAFETY: as above.
        unsafe { give(memory, layout(88)) };
        assert_eq!(room(), 0, "without a loop nothing is kept");
    }
}
