//! Drives a loop by the event loop of JavaScript.
//!
//! ```text
//!   a wake            ->  microtask  ->  turns, within the budget
//!   work is left      ->  macrotask  ->  turns, within the budget
//!   nothing is ready  ->  setTimeout for the next deadline
//! ```
//!
//! Microtasks run before the page gets control. So a chain of them, such as a task that awaits
//! promises which are already resolved, would keep the page from running, although each turn is
//! short. The driver measures such a chain as a *stretch*: it ends when a macrotask of the driver
//! runs, because the page was in control before. If a stretch takes longer than the budget, the next
//! turn is a macrotask.
//!
//! JavaScript cannot tell whether a macrotask has run between two microtasks. If a wake comes later
//! than a budget after the beginning of the stretch, the driver begins a new stretch, and posts a
//! macrotask that will end it. So the page gets control after two budgets at the latest, and a driver
//! that is seldom woken posts few macrotasks.
//!
//! A panic ends a WebAssembly program where it is, without destructors. If it was in a turn, the loop
//! remains in that turn, and this file runs no other one.

use super::js;
use crate::event_loop::EventLoop;
use crate::host::Budget;
use crate::kernel::{Instant, context};
use js_sys::{Function, Reflect};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::time::Duration;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};

/// How long turns may keep the page waiting, unless a loop has its own budget: a quarter of a frame.
pub(super) const BUDGET: Duration = Duration::from_millis(4);

/// The longest delay of `setTimeout`. A longer one overflows, and fires at once.
const LONGEST_DELAY: u64 = (1 << 31) - 1;

/// Why JavaScript calls the driver.
#[derive(Clone, Copy)]
enum Event {
    Microtask = 0,
    Macrotask = 1,
    Timeout = 2,
}

const EVENTS: [Event; 3] = [Event::Microtask, Event::Macrotask, Event::Timeout];

thread_local! {
    /// The drivers by their numbers. Functions of JavaScript, and the hooks of loops, know a driver by
    /// its number only: they may be called when it is gone.
    static DRIVERS: RefCell<(u32, BTreeMap<u32, Weak<Driver>>)> = const { RefCell::new((0, BTreeMap::new())) };

    /// Called with the number of an event and of a driver. The function exists as long as the program.
    static ON_EVENT: Function = Closure::<dyn Fn(u32, u32)>::new(|event: u32, number: u32| {
        if let (Some(event), Some(driver)) = (EVENTS.get(event as usize), find(number)) {
            driver.on(*event);
        }
    })
    .into_js_value()
    .unchecked_into();
}

fn find(number: u32) -> Option<Rc<Driver>> {
    DRIVERS.with(|drivers| drivers.borrow().1.get(&number).and_then(Weak::upgrade))
}

/// How a macrotask is posted.
enum Post {
    /// Node's `setImmediate`. A channel would keep the process from ending.
    Immediate(Function),
    /// Browsers delay nested timeouts of zero by four milliseconds, but not messages. The first port
    /// has the listener.
    Message(js::MessagePort, js::MessagePort),
}

pub(super) struct Driver {
    number: u32,
    pub(super) event_loop: EventLoop,
    pub(super) budget: Cell<Duration>,
    /// For each event, a function without arguments.
    functions: [Function; 3],
    post: Post,
    has_microtask: Cell<bool>,
    has_macrotask: Cell<bool>,
    /// Whether the macrotask runs turns. Otherwise it only ends the stretch.
    has_work: Cell<bool>,
    /// When the stretch began. `None` if the page was in control since the last turn.
    stretch: Cell<Option<Instant>>,
    /// The deadline for which a timeout is set, and its handle.
    timeout: RefCell<Option<(Instant, JsValue)>>,
}

impl Driver {
    pub(super) fn new(event_loop: EventLoop) -> Rc<Self> {
        let number = DRIVERS.with(|drivers| {
            let last = &mut drivers.borrow_mut().0;
            *last = last.checked_add(1).expect("fewer than 2^32 loops");
            *last
        });
        let function = |event: Event| -> Function {
            let [event, number] = [event as u32, number].map(JsValue::from);
            ON_EVENT.with(|on_event| on_event.bind2(&JsValue::NULL, &event, &number)).unchecked_into()
        };
        let functions = EVENTS.map(function);
        let immediate = Reflect::get(&js_sys::global(), &"setImmediate".into()).ok();
        let post = match immediate.and_then(|function| function.dyn_into().ok()) {
            Some(function) => Post::Immediate(function),
            None => {
                let channel = js::MessageChannel::new();
                let port = channel.port1();
                port.set_onmessage(&functions[Event::Macrotask as usize]);
                Post::Message(port, channel.port2())
            }
        };
        let driver = Rc::new(Driver {
            number,
            event_loop,
            budget: Cell::new(BUDGET),
            functions,
            post,
            has_microtask: Cell::default(),
            has_macrotask: Cell::default(),
            has_work: Cell::default(),
            stretch: Cell::default(),
            timeout: RefCell::default(),
        });
        DRIVERS.with(|drivers| drivers.borrow_mut().1.insert(number, Rc::downgrade(&driver)));
        // If the loop has work or a timer already, the hook is called at once.
        driver.event_loop.set_wake_hook(move || {
            if let Some(driver) = find(number) {
                driver.wake();
            }
        });
        driver
    }

    fn function(&self, event: Event) -> &Function {
        &self.functions[event as usize]
    }

    /// The loop has new work.
    fn wake(&self) {
        if !self.has_work.get() && !self.has_microtask.replace(true) {
            js::queue_microtask(self.function(Event::Microtask));
        }
    }

    fn on(&self, event: Event) {
        match event {
            Event::Microtask => {
                self.has_microtask.set(false);
                if let Some(left) = self.left_of_stretch() {
                    self.turn(left);
                } else {
                    self.has_work.set(true);
                    self.post_macrotask();
                }
            }
            Event::Macrotask => {
                self.has_macrotask.set(false);
                self.stretch.set(None);
                if self.has_work.take() {
                    self.turn_in_new_stretch();
                }
            }
            Event::Timeout => {
                self.timeout.take();
                self.stretch.set(None);
                // The macrotask that is on its way runs the turn.
                if !self.has_work.get() {
                    self.turn_in_new_stretch();
                }
            }
        }
    }

    /// Returns what is left of the budget for a turn in a microtask. `None` if the page must get
    /// control first.
    fn left_of_stretch(&self) -> Option<Duration> {
        let (now, budget) = (Instant::now(), self.budget.get());
        let Some(began) = self.stretch.get() else {
            self.stretch.set(Some(now));
            return Some(budget);
        };
        let left = budget.saturating_sub(now.saturating_duration_since(began));
        if !left.is_zero() {
            return Some(left);
        }
        if self.has_macrotask.get() {
            return None;
        }
        // Perhaps the page was in control since then. If not, the macrotask will show it.
        self.post_macrotask();
        self.stretch.set(Some(now));
        Some(budget)
    }

    fn turn_in_new_stretch(&self) {
        self.stretch.set(Some(Instant::now()));
        self.turn(self.budget.get());
    }

    fn turn(&self, budget: Duration) {
        // JavaScript calls nothing while a turn runs. So that turn has panicked.
        if context::is_running() {
            return;
        }
        let turn = self.event_loop.turn_within(Budget::time(budget));
        // A virtual clock jumps to its deadline in the next turn.
        let jumps = turn.next_deadline.is_some() && self.event_loop.kernel.clock.is_virtual();
        if !turn.is_idle() || jumps {
            self.has_work.set(true);
            self.post_macrotask();
        } else {
            self.set_timeout(turn.next_deadline);
        }
    }

    fn post_macrotask(&self) {
        if self.has_macrotask.replace(true) {
            return;
        }
        match &self.post {
            Post::Immediate(set_immediate) => {
                let posted = set_immediate.call1(&JsValue::NULL, self.function(Event::Macrotask));
                posted.expect("setImmediate() takes a function");
            }
            Post::Message(_, port) => port.post_message(&JsValue::NULL),
        }
    }

    /// Sets a timeout for this deadline, and clears one for another deadline. It never fires early:
    /// the delay is rounded up, and the turn reads the clock. A deadline that is too far for one
    /// timeout is reached in steps: the turn after each of them sets the next one.
    fn set_timeout(&self, deadline: Option<Instant>) {
        let mut timeout = self.timeout.borrow_mut();
        if timeout.as_ref().map(|(deadline, _)| *deadline) == deadline {
            return;
        }
        if let Some((_, handle)) = timeout.take() {
            js::clear_timeout(&handle);
        }
        if let Some(deadline) = deadline {
            let nanoseconds = deadline.saturating_duration_since(Instant::now()).as_nanos();
            let delay = u64::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(u64::MAX).min(LONGEST_DELAY);
            let handle = js::set_timeout(self.function(Event::Timeout), delay as f64);
            *timeout = Some((deadline, handle));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        DRIVERS.with(|drivers| drivers.borrow_mut().1.remove(&self.number));
        self.set_timeout(None);
        if let Post::Message(port, other) = &self.post {
            port.close();
            other.close();
        }
        // The loop ends last: its tasks may call any function of this crate.
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deadline = self.timeout.borrow().as_ref().map(|(deadline, _)| *deadline);
        f.debug_struct("WebLoop")
            .field("budget", &self.budget.get())
            .field("deadline", &deadline)
            .finish_non_exhaustive()
    }
}
