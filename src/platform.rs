//! What the crate needs from its platform, and takes from `std`: locks, panics, hash tables.
//!
//! All other files take what they use from `core` and `alloc`, or from here.

pub(crate) use std::collections::{HashMap, HashSet};
pub(crate) use std::panic::{catch_unwind, resume_unwind};
#[cfg(feature = "sync")]
pub(crate) use std::sync::PoisonError;
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
pub(crate) use std::thread::panicking;
pub(crate) use std::thread_local;

use alloc::boxed::Box;
use core::any::Any;

/// What `catch_unwind` returns.
pub(crate) type Caught<T> = Result<T, Box<dyn Any + Send>>;
