//! One run of the program, in a new loop, and whether it failed.
//!
//! This file does not know which schedules are run, or why.

use crate::event_loop::{Clock, EventLoop, LoopBuilder, RunError};
use crate::explore::player::{Divergence, Player, Row};
use crate::explore::schedule::Deviation;
use crate::kernel::context;
use crate::kernel::explore::Options;
use crate::kernel::explore::touched::Noting;
use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// The program: each call creates its main future, which returns the error that main returns.
pub(crate) type Program<'a> = dyn Fn() -> Pin<Box<dyn Future<Output = Option<String>> + 'a>> + 'a;

/// After this time, a run that waits for a wake from outside is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why an order fails.
///
/// # Examples
///
/// ```
/// use onelane::explore::Fault;
///
/// let failure = onelane::explore(|| async { Err::<(), _>("no tea") }).check().unwrap_err();
/// assert!(matches!(failure.fault, Fault::Error(_)));
/// assert_eq!(failure.fault.to_string(), "main returned an error: \"no tea\"");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// Main panicked, with this message.
    Panic(String),
    /// A task panicked whose result was never read, or a callback or destructor panicked.
    UnhandledPanic(String),
    /// Main returned an error, or was cancelled.
    Error(String),
    /// The program cannot continue. The report in words.
    Deadlock(String),
    /// The program waited for a second of real time for a wake from outside.
    Stalled,
    /// The order took more steps than the limit. The steps that repeat at its end, if there are any:
    /// then the program may run for ever.
    StepLimit(Vec<String>),
    /// Main has ended, and these tasks have not.
    TasksLeft(Vec<String>),
    /// Two equal runs differ, or the program does not fit to a recorded schedule. The first difference.
    Differs(String),
}

/// What one run has done.
pub(crate) struct Run {
    pub(crate) fault: Option<Fault>,
    pub(crate) player: Rc<Player>,
}

async fn main(program: &Program<'_>) -> Option<String> {
    if let Some(kernel) = context::running() {
        kernel.name_main();
    }
    program().await
}

/// Runs the program. `at` is where it was given to `explore`.
pub(crate) fn run(program: &Program<'_>, at: &'static Location<'static>, options: Options, player: Player) -> Run {
    let builder = EventLoop::builder();
    // `ONELANE_REPLAY` is for the page of the exploration, not for each of its orders.
    #[cfg(feature = "replay")]
    let builder = builder.without_page();
    run_in(builder, program, at, options, player)
}

/// Like `run`, in a loop with a probe, for example.
pub(crate) fn run_in(
    builder: LoopBuilder,
    program: &Program<'_>,
    at: &'static Location<'static>,
    options: Options,
    player: Player,
) -> Run {
    let player = Rc::new(player);
    let unhandled = Rc::new(RefCell::new(None));
    let copy = unhandled.clone();
    let event_loop = builder
        .clock(Clock::Virtual)
        .debug(false)
        .exception_handler(move |exception| {
            copy.borrow_mut().get_or_insert_with(|| exception.to_string());
        })
        .build();
    event_loop.kernel.set_guide(player.clone(), options);
    event_loop.kernel.limit_waits(PATIENCE);
    let noting = player.is_reduced().then(Noting::begin);
    let result = catch_unwind(AssertUnwindSafe(|| event_loop.try_run_at(main(program), at)));
    player.run_is_over();
    drop(noting);
    // Main may have waited, or the shutdown.
    let has_stalled = event_loop.kernel.has_stalled();
    // The drop of the loop runs entries too, but it has a limit of its own.
    let never_ends = player.never_ends();
    let closed = catch_unwind(AssertUnwindSafe(|| drop(event_loop)));
    player.over();
    let fault = match result {
        _ if player.diverged.get().is_some() => {
            player.diverged.get().map(|divergence| Fault::Differs(words(divergence, &player)))
        }
        _ if player.is_at_limit.get() => Some(Fault::StepLimit(repeating(&player.rows()))),
        _ if has_stalled => Some(Fault::Stalled),
        _ if never_ends.is_some() => never_ends.map(|rows| {
            let lines = repeating(&rows).into_iter();
            Fault::StepLimit(lines.map(|line| format!("{line}, while the loop shuts down")).collect())
        }),
        Err(payload) => Some(Fault::Panic(crate::error::Panic::new(payload).message().into())),
        Ok(Err(RunError::Nested)) => {
            panic!("onelane::explore() was called from a running event loop; call it from a test, outside of any loop")
        }
        Ok(Err(RunError::Deadlock(report))) => Some(Fault::Deadlock(report.to_string())),
        Ok(Err(error)) => Some(Fault::Error(error.to_string())),
        Ok(Ok(Some(error))) => Some(Fault::Error(format!("main returned an error: {error}"))),
        Ok(Ok(None)) => None,
    };
    let left = || {
        let left: Vec<String> = player.left.borrow().iter().map(|name| name.to_string()).collect();
        (!left.is_empty()).then_some(Fault::TasksLeft(left))
    };
    let fault = fault.or_else(|| unhandled.take().map(Fault::UnhandledPanic)).or_else(left);
    let fault = fault.or_else(|| {
        let payload = closed.err()?;
        Some(Fault::UnhandledPanic(crate::error::Panic::new(payload).message().into()))
    });
    Run { fault, player }
}

fn words(divergence: Divergence, player: &Player) -> String {
    let list = |names: &[String]| if names.is_empty() { String::new() } else { format!(" {{{}}}", names.join(", ")) };
    let before = |Deviation { at, among, .. }: Deviation| {
        format!("diverged at choice {at}: recorded {among} to choose from{}", list(player.recorded_names(at)))
    };
    match divergence {
        Divergence::Among { recorded, now } => {
            format!("{}, now {now}{}", before(recorded), list(&player.instead.borrow()))
        }
        Divergence::Past { at } => {
            format!("two equal runs differ before choice {at}: other tasks ran, or ran in another order")
        }
        Divergence::Ended { recorded, choices } => {
            format!("{}, now the run ends after {choices} choice(s)", before(recorded))
        }
    }
}

/// The shortest part that the end of a run repeats, at least three times.
fn repeating(rows: &[Row]) -> Vec<String> {
    let line = |row: &Row| row.to_string();
    let lines: Vec<String> = rows.iter().rev().take(600).map(line).collect();
    let repeats = |length: &usize| {
        let length = *length;
        lines.len() >= 3 * length && (0..2 * length).all(|nth| lines[nth] == lines[nth + length])
    };
    let Some(length) = (1..=200).find(repeats) else { return Vec::new() };
    lines[..length].iter().rev().cloned().collect()
}
