//! The numbers of sources, with the feature `io`: sockets and other file descriptors.
//!
//! Plain data, so that a value that contains one can be sent to another thread and dropped there.

/// Names one source of one loop, for ever: `number` distinguishes it from later ones with the same
/// index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SourceKey {
    pub(in crate::kernel) index: usize,
    pub(in crate::kernel) number: u64,
}
