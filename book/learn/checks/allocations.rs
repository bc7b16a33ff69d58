//! The cost of a switch: when a loop has run for a while, a yield and a wake allocate nothing.

use crate::common::{self, fail};
use crate::kernel;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn measured(what: &str, tasks: usize, spawn: impl Fn(Rc<Cell<u64>>)) {
    common::begin(format!("{tasks} tasks: {what}"), Vec::new());
    let steps = Rc::new(Cell::new(0));
    for _ in 0..tasks {
        spawn(steps.clone());
    }
    for _ in 0..50 {
        kernel::turn();
    }
    let (before, counted) = (steps.get(), COUNT.get());
    for _ in 0..200 {
        kernel::turn();
    }
    let (made, allocated) = (steps.get() - before, COUNT.get() - counted);
    common::event(&[], format!("{made} steps, {allocated} allocations"));
    if made != 200 * tasks as u64 {
        fail("READY-2", format!("{made} steps in 200 turns of {tasks} tasks"));
    }
    if allocated > 0 {
        fail("COST-1", format!("{allocated} allocations in {made} steps"));
    }
    kernel::run(async {});
}

pub fn check() {
    for tasks in [1, 2, 7, 50] {
        measured("yield_now", tasks, |steps| {
            _ = kernel::spawn(async move {
                loop {
                    steps.set(steps.get() + 1);
                    kernel::yield_now().await;
                }
            });
        });
        measured("a clone of the waker", tasks, |steps| {
            _ = kernel::spawn(std::future::poll_fn(move |cx| {
                steps.set(steps.get() + 1);
                cx.waker().clone().wake();
                Poll::<()>::Pending
            }));
        });
    }
    // Pairs that wake each other.
    let wakers: Rc<RefCell<Vec<Option<Waker>>>> = Rc::new(RefCell::new(vec![None, None]));
    let next = Cell::new(0);
    measured("wake each other", 2, move |steps| {
        let (wakers, me) = (wakers.clone(), next.replace(next.get() + 1));
        _ = kernel::spawn(std::future::poll_fn(move |cx| {
            steps.set(steps.get() + 1);
            wakers.borrow_mut()[me] = Some(cx.waker().clone());
            match &wakers.borrow()[1 - me] {
                Some(other) => other.wake_by_ref(),
                None => cx.waker().wake_by_ref(),
            }
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
    });
}
