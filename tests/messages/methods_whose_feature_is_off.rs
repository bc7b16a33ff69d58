//! Methods that need a feature.
//~ this method of onelane needs the feature `signals`, and Unix
//~ in the folder of your package: `cargo add onelane --features signals`
//~ this method of onelane needs the features `signals` and `report`, and Unix
//~ this method of onelane needs the feature `threads`
//~ this method of onelane needs the feature `probe`
//~ this method of onelane needs the feature `replay`
//~ this method of onelane needs the feature `explore`
//~ this method of onelane needs the feature `io`, and Unix
//~ this method of onelane needs the feature `stream`
//~ its feature is off

use onelane::EventLoop;
use onelane::sync::Queue;
use std::time::Duration;

fn main() {
    let builder = EventLoop::builder().debug(true).cancel_on_ctrl_c(true).print_call_graph_on(10);
    let event_loop = builder.thread_join_timeout(Duration::ZERO).probe(7).replay("run.html").schedule(1).build();
    event_loop.as_fd();
    Queue::<u8>::unbounded().stream();
    event_loop.drive(|_| async {}).with_io(|| async {});
}
