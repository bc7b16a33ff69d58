//! The numbers of sources, with the feature `io`: sockets and other file descriptors.
//!
//! A key is plain data, so a value that contains one can be sent to another thread, and dropped.

/// Names one source of one loop, for ever: `number` distinguishes it from later ones with the same
/// index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SourceKey {
    pub(in crate::kernel) index: usize,
    pub(in crate::kernel) number: u64,
}
