//! Several awaitables at once: `gather`, `wait`, `as_completed`, `shield`.

pub(crate) mod as_completed;
pub(crate) mod gather;
pub(crate) mod shield;
pub(crate) mod wait;
