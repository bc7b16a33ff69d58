//! A panic that was printed once is not printed again when its order runs again.
//!
//! The standard library prints a panic through one hook for the whole process. So the first exploration
//! that runs an order again puts a hook around the present one. It prints nothing for a thread that
//! runs an order again, and otherwise calls the hook that was there.

use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

static HOOKED: Once = Once::new();

/// Until this is dropped, panics of this thread are not printed.
pub(crate) struct Quiet {
    before: bool,
}

impl Quiet {
    pub(crate) fn begin() -> Self {
        HOOKED.call_once(|| {
            let hook = take_hook();
            set_hook(Box::new(move |panic| {
                if !IS_QUIET.try_with(Cell::get).unwrap_or(false) {
                    hook(panic);
                }
            }));
        });
        Quiet { before: IS_QUIET.replace(true) }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        IS_QUIET.set(self.before);
    }
}
