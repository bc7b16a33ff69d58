//! What stands in the place of `std`, built on `core`, `alloc` and the program's [`Platform`].
//!
//! ```text
//!   the loop's thread                                interrupt handlers, other threads
//!     wait(until)  <------- wake() ------------------  a waker: mask(); lock; push; unlock; unmask()
//!     now()                                            context() differs, so they use the inbox alone
//! ```
//!
//! A lock is a flag. `mask` keeps an interrupt handler from running on the thread that holds the
//! lock, because the handler could never get it. A thread on another core waits in a loop.
#![allow(unsafe_code, reason = "locks, and values of one thread, without std")]
#![cfg_attr(doc, allow(dead_code, reason = "with std, only the documentation uses this file"))]

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::any::Any;
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::hint::spin_loop;
use core::marker::PhantomData;
use core::mem::forget;
use core::ops::{Deref, DerefMut};
use core::panic::UnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use core::time::Duration;

/// What a program without `std` gives to its loops: time, waiting, and wakes from elsewhere.
///
/// Implement it for a type of yours, and pass a `static` of this type to [`set`] at the start of the
/// program, on the thread that runs the loops. On a microcontroller this is the main program:
/// `now` reads a counter, `wait` is the instruction WFE or WFI, `wake` is SEV or nothing, `mask` and
/// `unmask` turn interrupts off and on, and `context` reads the number of the running exception.
/// `examples/cortex-m` has all of it for a Cortex-M, in a page.
///
/// Needs a target with atomic operations for pointers, as `alloc::sync::Arc` does.
///
/// # Panics of tasks
///
/// Without `std`, no code can catch a panic. A panic of a task, a callback or a destructor reaches the
/// program's panic handler, which ends or restarts the program. No task is cancelled, no destructor
/// runs, and [`TaskError::Panicked`](crate::TaskError::Panicked) and
/// [`LoopBuilder::exception_handler`](crate::LoopBuilder::exception_handler) are never used. On a
/// target whose panics unwind, the program aborts.
///
/// # Memory
///
/// The loop allocates. A wake from an interrupt handler may allocate and free too, so the program's
/// allocator must be usable there.
///
/// # Safety
///
/// `context` returns different numbers to pieces of code of which one may run while the other has not
/// finished: to each thread, and to each interrupt handler. Values of one thread, such as the
/// ready queue, are used without a lock where the number is that of the loop's thread.
///
/// # Examples
///
/// ```
/// # #[cfg(not(feature = "std"))] mod bare {
/// use core::time::Duration;
/// use onelane::platform::Platform;
///
/// struct Board;
///
/// // SAFETY: this program has neither threads nor interrupt handlers.
/// unsafe impl Platform for Board {
///     fn now(&self) -> Duration {
///         Duration::ZERO // a counter of the hardware
///     }
///     fn wait(&self, _until: Option<Duration>) {
///         core::hint::spin_loop();
///     }
///     fn wake(&self) {}
///     fn mask(&self) -> usize {
///         0
///     }
///     fn unmask(&self, _state: usize) {}
///     fn context(&self) -> usize {
///         0
///     }
/// }
///
/// static BOARD: Board = Board;
///
/// pub fn main() {
///     onelane::platform::set(&BOARD);
///     assert_eq!(onelane::EventLoop::with_virtual_clock().run(async { 42 }), 42);
/// }
/// # }
/// # #[cfg(not(feature = "std"))] bare::main();
/// ```
pub unsafe trait Platform: Sync {
    /// The time since some moment, for example since the start. It never goes back.
    fn now(&self) -> Duration;

    /// Waits until [`wake`](Platform::wake) is called, or until [`now`](Platform::now) reaches
    /// `until`. It may return earlier.
    ///
    /// A `wake` that came after the last `wait` has returned must end this `wait` too, or a wake
    /// would be lost (WAKE-2). Called only on the loop's thread, with interrupts unmasked.
    fn wait(&self, until: Option<Duration>);

    /// Ends a [`wait`](Platform::wait) of the loop's thread. Called in every context.
    fn wake(&self);

    /// Until [`unmask`](Platform::unmask), no interrupt handler that uses this crate runs on this
    /// thread's core. Returns a state for `unmask`; pairs nest. On a system of threads that has no
    /// interrupt handlers, this does nothing.
    fn mask(&self) -> usize;

    /// Undoes the [`mask`](Platform::mask) that returned `state`.
    fn unmask(&self, state: usize);

    /// The number of the thread or of the interrupt handler that runs. See [Safety](#safety).
    fn context(&self) -> usize;

    /// Writes a line for a person who looks for a fault, such as a destructor that failed. By default,
    /// nothing is written.
    fn print(&self, line: &str) {
        let _ = line;
    }
}

struct Set {
    platform: &'static dyn Platform,
    /// The context of the loops.
    home: usize,
}

struct Place(UnsafeCell<Option<Set>>);

// SAFETY: written once, by the caller that has changed `STATE` from `UNSET`, and read after `STATE`
// is `READY`. A `Platform` is `Sync`.
unsafe impl Sync for Place {}

static PLACE: Place = Place(UnsafeCell::new(None));
static STATE: AtomicU8 = AtomicU8::new(UNSET);

const UNSET: u8 = 0;
const IN_WORK: u8 = 1;
const READY: u8 = 2;

/// Sets the platform of the program. The calling thread becomes the thread of the loops.
///
/// # Panics
///
/// If it was called before. Without a platform, making a loop panics; so does making a loop on another
/// thread.
///
/// # Examples
///
/// See [`Platform`].
///
/// ```
/// # #[cfg(not(feature = "std"))]
/// fn start(board: &'static impl onelane::platform::Platform) {
///     onelane::platform::set(board);
///     onelane::run(async { /* the program */ });
/// }
/// ```
pub fn set(platform: &'static dyn Platform) {
    let is_first = STATE.compare_exchange(UNSET, IN_WORK, Ordering::Acquire, Ordering::Relaxed).is_ok();
    assert!(is_first, "platform::set() was called twice; call it once, at the start of the program");
    // SAFETY: only the caller that has changed the state writes, and nobody reads yet.
    unsafe { *PLACE.0.get() = Some(Set { platform, home: platform.context() }) };
    STATE.store(READY, Ordering::Release);
}

fn place() -> Option<&'static Set> {
    // SAFETY: it is not written any more.
    if STATE.load(Ordering::Acquire) == READY { unsafe { (*PLACE.0.get()).as_ref() } } else { None }
}

fn platform() -> &'static Set {
    place().expect("onelane was used without a platform; call onelane::platform::set() at the start of the program")
}

/// Whether this is the thread of the loops, and no interrupt handler.
fn is_home() -> bool {
    place().is_some_and(|set| set.platform.context() == set.home)
}

/// # Panics
///
/// Panics if this is not the thread of the loops.
pub(crate) fn check() {
    platform();
    assert!(is_home(), "a loop was made elsewhere than on the thread that called platform::set(); make it there");
}

pub(crate) fn now() -> Duration {
    platform().platform.now()
}

pub(crate) fn complain(text: &str) {
    if let Some(set) = place() {
        set.platform.print(text.trim_end());
    }
}

/// A number that no other thread and no interrupt handler has.
pub(crate) fn this_thread() -> u64 {
    platform().platform.context() as u64
}

// ---- panics ----

pub(crate) type Caught<T> = Result<T, Box<dyn Any + Send>>;

/// Runs a function. A panic is not caught. On a target that unwinds, the program ends here: the loop
/// must not be used after a panic.
pub(crate) fn catch_unwind<T>(act: impl FnOnce() -> T + UnwindSafe) -> Caught<T> {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            panic!("a panic cannot be caught without the feature `std` of onelane");
        }
    }
    let end = End;
    let result = act();
    forget(end);
    Ok(result)
}

pub(crate) fn resume_unwind(payload: Box<dyn Any + Send>) -> ! {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(message), _) => panic!("{message}"),
        (_, Some(message)) => panic!("{message}"),
        _ => panic!("a payload that is no text"),
    }
}

/// Ends the program, by a panic that no code can catch.
pub(crate) fn abort() -> ! {
    catch_unwind(|| panic!("onelane cannot continue")).unwrap_or_else(|_| unreachable!())
}

/// Code that runs while a panic unwinds ends with the program.
pub(crate) fn panicking() -> bool {
    false
}

// ---- tables ----

pub(crate) type HashMap<K, V> = BTreeMap<K, V>;
pub(crate) type HashSet<T> = BTreeSet<T>;

// ---- values of one thread ----

/// A value of the thread of the loops. All other code has the initial value.
pub(crate) struct OfOneThread<T> {
    value: T,
    initial: fn() -> T,
}

// SAFETY: only the thread of the loops uses the value, and no interrupt handler does (`Platform`).
unsafe impl<T> Sync for OfOneThread<T> {}

impl<T> OfOneThread<T> {
    pub(crate) const fn new(value: T, initial: fn() -> T) -> Self {
        OfOneThread { value, initial }
    }

    pub(crate) fn with<R>(&self, act: impl FnOnce(&T) -> R) -> R {
        if is_home() { act(&self.value) } else { act(&(self.initial)()) }
    }
}

impl<T: Copy> OfOneThread<Cell<T>> {
    pub(crate) fn get(&self) -> T {
        self.with(Cell::get)
    }

    /// # Panics
    ///
    /// As `set`.
    pub(crate) fn replace(&self, value: T) -> T {
        let old = self.get();
        self.set(value);
        old
    }

    /// # Panics
    ///
    /// Panics outside the thread of the loops, where the value would be lost.
    pub(crate) fn set(&self, value: T) {
        assert!(is_home(), "onelane was used outside the thread of its loops");
        self.value.set(value);
    }
}

macro_rules! of_one_thread {
    ($($(#[$doc:meta])* static $name:ident: $type:ty = const { $value:expr };)+) => {
        $($(#[$doc])* static $name: $crate::platform::OfOneThread<$type> =
            $crate::platform::OfOneThread::new(const { $value }, || const { $value });)+
    };
}
pub(crate) use of_one_thread as thread_local;

// ---- locks ----

/// Like std's, but a panic ends the program, so a lock is never poisoned.
pub(crate) struct Mutex<T> {
    is_locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `lock` gives the value to one at a time.
unsafe impl<T: Send> Send for Mutex<T> {}

// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

/// Stands in a `Result` that is never an error.
#[derive(Debug)]
pub(crate) struct PoisonError<G>(G);

impl<G> PoisonError<G> {
    pub(crate) fn into_inner(self) -> G {
        self.0
    }
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Mutex { is_locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    pub(crate) fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
        let state = platform().platform.mask();
        while self.is_locked.swap(true, Ordering::Acquire) {
            spin_loop();
        }
        Ok(MutexGuard { mutex: self, state, of_this_thread: PhantomData })
    }
}

/// Locks of a thread are released in the reverse order of their taking: the crate holds one at a time,
/// or the second within one function.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// What `mask` returned.
    state: usize,
    /// `unmask` is called where `mask` was.
    of_this_thread: PhantomData<*const ()>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard has the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard has the lock.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.is_locked.store(false, Ordering::Release);
        platform().platform.unmask(self.state);
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex(..)")
    }
}

/// A wait for the platform's `wake`. Every wait may return early, as with std's.
#[derive(Debug)]
pub(crate) struct Condvar;

impl Condvar {
    pub(crate) const fn new() -> Self {
        Condvar
    }

    pub(crate) fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
    ) -> Result<MutexGuard<'a, T>, PoisonError<MutexGuard<'a, T>>> {
        Ok(self.wait_until(guard, None))
    }

    #[allow(clippy::type_complexity, reason = "the type is that of std")]
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> Result<(MutexGuard<'a, T>, ()), PoisonError<(MutexGuard<'a, T>, ())>> {
        Ok((self.wait_until(guard, now().checked_add(timeout)), ()))
    }

    fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, until: Option<Duration>) -> MutexGuard<'a, T> {
        let mutex = guard.mutex;
        // A wake between these two calls ends the wait: `Platform::wait` says so.
        drop(guard);
        platform().platform.wait(until);
        let Ok(guard) = mutex.lock() else { unreachable!("a lock is never poisoned") };
        guard
    }

    pub(crate) fn notify_one(&self) {
        platform().platform.wake();
    }

    pub(crate) fn notify_all(&self) {
        platform().platform.wake();
    }
}

/// A value that is made once.
pub(crate) struct OnceLock<T> {
    is_made: AtomicBool,
    making: Mutex<()>,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written once, under the lock, and read after `is_made` is true.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        OnceLock { is_made: AtomicBool::new(false), making: Mutex::new(()), value: UnsafeCell::new(None) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: it is not written any more.
        if self.is_made.load(Ordering::Acquire) { unsafe { (*self.value.get()).as_ref() } } else { None }
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if !self.is_made.load(Ordering::Acquire) {
            let _making = self.making.lock();
            if !self.is_made.load(Ordering::Relaxed) {
                // SAFETY: nobody reads it before it is made, and the lock keeps other writers out.
                unsafe { *self.value.get() = Some(make()) };
                self.is_made.store(true, Ordering::Release);
            }
        }
        self.get().expect("it was made")
    }
}
