//! One sample: runs a work, and reads the instruments when it says that what is measured begins and ends.

use crate::alloc;
use onelane_cases::{Case, Measure, Meter, Rounds, Size, Work};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What the instruments say at a moment.
#[derive(Clone, Copy)]
struct Reading {
    wall: Instant,
    cpu: Duration,
    held: i64,
    allocations: u64,
}

thread_local! {
    static START: Cell<Option<Reading>> = const { Cell::new(None) };
    static STOP: Cell<Option<Reading>> = const { Cell::new(None) };
}

/// Both read the wall's clock closest to what is measured.
const METER: Meter = Meter {
    start: || {
        let (cpu, (held, allocations)) = (cpu_time(), alloc::counted());
        START.set(Some(Reading { wall: Instant::now(), cpu, held, allocations }));
    },
    stop: || {
        let wall = Instant::now();
        let (cpu, (held, allocations)) = (cpu_time(), alloc::counted());
        STOP.set(Some(Reading { wall, cpu, held, allocations }));
    },
};

/// The CPU time of the process, with all of its threads: some runtimes have one for timers.
#[allow(unsafe_code)]
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is good for the length of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "this system has no clock for the CPU time of a process");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs the work once. Gives what was measured of the whole: nanoseconds, bytes or allocations.
///
/// # Errors
///
/// If the work panics, or says that it has done other than it was to do.
pub(crate) fn sample(case: &Case, work: Work, size: Size) -> Result<f64, String> {
    START.set(None);
    STOP.set(None);
    alloc::count(matches!(case.measure, Measure::HeapBytes | Measure::Allocations));
    let done = catch_unwind(AssertUnwindSafe(|| work(size, METER)));
    alloc::count(false);
    check(done.map_err(|payload| panicked(&*payload))?, size)?;
    let (Some(start), Some(stop)) = (START.take(), STOP.take()) else {
        return Err("it has not told the meter of its beginning and its end".into());
    };
    Ok(match case.measure {
        Measure::Wall => (stop.wall - start.wall).as_nanos() as f64,
        Measure::Cpu => (stop.cpu - start.cpu).as_nanos() as f64,
        Measure::HeapBytes => (stop.held - start.held) as f64,
        Measure::Allocations => (stop.allocations - start.allocations) as f64,
        Measure::ResidentBytes => return Err("resident memory is measured in a process of its own".into()),
    })
}

fn panicked(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("it did not say why"))
}

/// No runtime wins by not doing the work.
pub(crate) fn check(done: u64, size: Size) -> Result<(), String> {
    if done == size.operations() {
        return Ok(());
    }
    Err(format!("it has done {done} operations where {} were to be done", size.operations()))
}

/// How large a sample has to be in order to last `target`. All that it runs to find out is a warm-up.
pub(crate) fn calibrate(
    case: &Case,
    quick: bool,
    target: Duration,
    mut sample: impl FnMut(Size) -> Result<f64, String>,
) -> Result<Size, String> {
    let mut size = case.least(quick);
    let target = target.as_nanos() as f64;
    loop {
        let spent = sample(size)?.max(1.0);
        let Rounds::AtLeast(least) = case.rounds else { return Ok(size) };
        let enough = ((size.rounds as f64 * target / spent) as usize).max(least);
        // A short run tells little of a long one: it goes up by steps.
        if spent >= target / 10.0 {
            return Ok(Size { rounds: enough, ..size });
        }
        size.rounds = enough.min(size.rounds * 20);
    }
}

/// Keeps this thread, and those that it starts, on one core. Says what it did.
pub(crate) fn pin() -> String {
    let core = core_affinity::get_core_ids().and_then(|cores| cores.last().copied());
    match core {
        Some(core) if core_affinity::set_for_current(core) => format!("pinned to core {}", core.id),
        _ => "not pinned to a core: this system does not let us".into(),
    }
}
