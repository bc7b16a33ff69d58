//! Stands in for `frozen` and `through` in builds that do not have them. Without the feature `groups`
//! there are no cleanups, and no task is polled in the step of another. A cancelled task may still
//! hold a lock that an awaited task wants. So `frozen` is also built with the feature `sync`.

#[cfg(not(any(feature = "groups", feature = "sync")))]
mod without_frozen {
    use crate::kernel::Kernel;
    use crate::kernel::cancel::scopes::Region;
    use crate::kernel::cell::{AnyTask, Header};

    impl Kernel {
        pub(crate) fn cleanup_suspended(&self, _task: &AnyTask, _region: Region) -> bool {
            false
        }

        pub(crate) fn look_before_the_host_rests(&self) {}

        pub(crate) fn has_neighbours(&self, _header: &Header, _region: Region, _scope: u64) -> bool {
            false
        }
    }
}

#[cfg(not(feature = "groups"))]
mod without_through {
    use crate::kernel::Kernel;
    use crate::kernel::cell::Header;
    use core::task::Waker;

    impl Kernel {
        pub(crate) fn defers(&self, _waker: &Waker) -> bool {
            false
        }

        pub(crate) fn is_woken_beneath(&self, _task: &Header) -> bool {
            false
        }

        pub(crate) fn is_beneath(&self, _task: &Header) -> bool {
            false
        }
    }
}
