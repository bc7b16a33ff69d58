//! Two probes combined.

use crate::kernel::observe::probe::{Event, Probe};

/// Passes each event to two probes, in order.
///
/// If one of them panics, both are removed.
///
/// # Examples
///
/// ```
/// use onelane::EventLoop;
/// use onelane::probe::{Counters, Ring, Tee};
/// use std::rc::Rc;
///
/// let (counters, ring) = (Rc::new(Counters::new()), Rc::new(Ring::new(100)));
/// let event_loop = EventLoop::builder().probe(Tee(counters.clone(), ring.clone())).build();
/// event_loop.run(async {});
/// assert_eq!(counters.counts().spawns, 1);
/// assert!(ring.to_string().contains("spawn task=1"));
/// ```
#[derive(Clone, Copy, Default, Debug)]
pub struct Tee<A, B>(pub A, pub B);

impl<A: Probe, B: Probe> Probe for Tee<A, B> {
    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
        self.1.event(event);
    }
}
