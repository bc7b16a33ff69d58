//! Takes one sample: runs a work, and reads the clocks and counters when the measured part begins
//! and ends.

use crate::alloc;
use onelane_cases::{Case, Measure, Meter, Rounds, Size, Work};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The values of all clocks and counters at a moment.
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

/// Both functions read the wall clock as close as possible to the measured part.
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

/// The CPU time of all threads of the process, because some runtimes have a thread for timers.
#[allow(unsafe_code)]
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid during the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0, "this system has no clock for the CPU time of a process");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs the work once. Returns the measured total: nanoseconds, bytes or allocations.
///
/// # Errors
///
/// Returns an error if the work panics, or returns a wrong number of operations.
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
        Measure::ResidentBytes => return Err("resident memory is measured in a separate process".into()),
    })
}

fn panicked(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("it did not say why"))
}

/// Returns an error if not all operations were done, so that no runtime wins by leaving work out.
pub(crate) fn check(done: u64, size: Size) -> Result<(), String> {
    if done == size.operations() {
        return Ok(());
    }
    Err(format!("it has done {done} operations where {} were to be done", size.operations()))
}

/// Finds the size of a sample that lasts `target`. The runs of this search are also the warm-up.
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
        // The duration of a short run is not precise enough, so the size grows by steps.
        if spent >= target / 10.0 {
            return Ok(Size { rounds: enough, ..size });
        }
        size.rounds = enough.min(size.rounds * 20);
    }
}

/// Pins this thread, and all threads that it starts, to one core. Returns a description of the
/// result.
pub(crate) fn pin() -> String {
    let core = core_affinity::get_core_ids().and_then(|cores| cores.last().copied());
    match core {
        Some(core) if core_affinity::set_for_current(core) => format!("pinned to core {}", core.id),
        _ => "not pinned to a core: this system does not allow it".into(),
    }
}
