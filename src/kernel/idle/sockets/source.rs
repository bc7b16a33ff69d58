//! The numbers of sources: sockets and the like, with the feature `io`.
//!
//! Plain data, so that whoever holds one may go to another thread, and drop it there.

/// Names one source of one loop, for ever: `number` tells it from later ones under the same index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SourceKey {
    pub(in crate::kernel) index: usize,
    pub(in crate::kernel) number: u64,
}
