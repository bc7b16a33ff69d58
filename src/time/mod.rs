//! Sleeps, intervals, timeouts.

pub(crate) mod interval;
pub(crate) mod sleep;
pub(crate) mod timeout;
