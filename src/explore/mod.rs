//! Tests that run a program in every order (feature `explore`).
//!
//! A program on one thread has races too: what stands between two awaits can be overtaken, and two
//! locks that are taken in two orders deadlock. Which order runs is decided by the event loop alone.
//! So a test can run all of them:
//!
//! ```
//! use onelane::{gather, yield_now};
//! use std::{cell::Cell, rc::Rc};
//!
//! let failure = onelane::explore(|| async {
//!     let balance = Rc::new(Cell::new(100));
//!     let withdraw = |amount: i32| {
//!         let balance = balance.clone();
//!         async move {
//!             if balance.get() >= amount {
//!                 yield_now().await; // asks the bank
//!                 balance.set(balance.get() - amount);
//!             }
//!         }
//!     };
//!     gather([withdraw(80), withdraw(70)]).await.unwrap();
//!     assert!(balance.get() >= 0, "the account is overdrawn");
//! })
//! .check()
//! .unwrap_err();
//! assert!(failure.to_string().contains("the account is overdrawn"));
//! ```
//!
//! # What is varied
//!
//! - Which of the ready entries runs next: tasks and callbacks. Under exploration, an entry that has
//!   become ready in a turn may run in this turn. What a turn does after its entries (timers,
//!   messages) comes after as many entries as were ready when it began.
//! - Which of the timers for the same moment fires first.
//! - With [`Explore::late_timers`], when the loop sees that time has passed.
//! - With [`Explore::cancellations`], which tasks are cancelled, and at which of their awaits.
//! - What [`choose`] returns.
//!
//! Not varied: the order in which tasks end when main has ended; random numbers that the program draws;
//! real time; other threads; sockets. A [`Statement`] names those that were seen in use, and is not
//! complete then. The program runs on the virtual clock.
//!
//! # Costs
//!
//! The order without any deviation is the normal one, first in, first out, in which asyncio would run
//! the program. The *cost* of an order is the sum of its deviations: each choice costs the number of
//! entries that the chosen one overtakes. Orders are run by cost: first the normal one, then those of
//! cost 1, and so on. So the first failure is one that differs least from the normal order, and it says
//! what matters. Each order runs the program once, from its beginning.
//!
//! # Orders that make no difference
//!
//! With [`Explore::reduce`], one order is run of each class of orders that only exchange steps which share
//! nothing. This is off by default, because it is a promise: tasks share state only through
//! [`sync`](crate::sync), promises, tasks, and [`Tracked`](crate::sync::Tracked).
//!
//! # A failing order
//!
//! A [`Failure`] has a table of the steps, a sentence per deviation, and the line that runs the order
//! again: `ONELANE_SCHEDULE='7=2/3' cargo test name`. With this variable, every exploration in the
//! process runs only that order. If the program has changed since, it reports where the order diverges.
//! The line has the names of what was ready where the order deviates, `7=2/3{a b c}`, so a replay
//! notices a change there even if as many tasks are ready. The names may be left out.
//! The report has a *certificate*: the number of cheaper orders, which were all run, and passed.
//!
//! A panic is printed once. An order that runs again, to be shown, shrunk, or written to a page, prints
//! nothing: the first exploration in the process that needs this puts a panic hook around the present
//! one, which only leaves out these panics.

mod player;
mod quiet;
mod reduce;
mod report;
mod run;
mod schedule;
mod search;
#[cfg(feature = "replay")]
mod worlds;

#[cfg(feature = "replay")]
use crate::inspect::replay::{path_of_next_loop, write_page};
#[cfg(feature = "replay")]
use crate::kernel::callbacks::exceptions::complain;
use crate::kernel::explore::{Kind, Options};
use crate::kernel::{Kernel, context};
use player::{Chosen, Player, Policy, Who};
use quiet::Quiet;
use report::How;
pub use report::{Failure, Statement};
pub use run::Fault;
use run::{Program, Run, run};
use schedule::{Inner, Schedule};
pub use schedule::{InvalidSchedule, Order};
use search::{Findings, Limits, Reduced, Reduction, Search, reduced};
use std::fmt;
use std::ops::Range;
use std::panic::Location;
#[cfg(feature = "replay")]
use std::path::PathBuf;
use std::rc::Rc;

/// Explores the orders of a program. `program` is called once per order, and returns main. Each call
/// must begin anew: what a run changes outside of it, the next run sees.
///
/// [`run`](Explore::run) runs the orders, and panics with the report if one fails;
/// [`check`](Explore::check) returns it.
///
/// # Examples
///
/// ```
/// use onelane::sync::Lock;
/// use onelane::{gather, yield_now};
/// use std::rc::Rc;
///
/// let statement = onelane::explore(|| async {
///     let count = Rc::new(Lock::new(0));
///     let add = || {
///         let count = count.clone();
///         async move {
///             let mut count = count.lock().await;
///             let before = *count;
///             yield_now().await;
///             *count = before + 1;
///         }
///     };
///     gather([add(), add()]).await.unwrap();
///     assert_eq!(*count.lock().await, 2);
/// })
/// .run();
/// assert!(statement.is_complete());
/// ```
#[track_caller]
pub fn explore<'a, F, M>(program: F) -> Explore<'a>
where
    F: Fn() -> M + 'a,
    M: IntoFuture<Output: Outcome> + 'a,
{
    #[cfg(feature = "replay")]
    let type_name = std::any::type_name::<F>();
    let program = move || {
        let main = program();
        Box::pin(async move { main.await.error() }) as std::pin::Pin<Box<dyn Future<Output = Option<String>> + 'a>>
    };
    Explore {
        program: Box::new(program),
        at: Location::caller(),
        limits: Limits {
            max_cost: None,
            max_orders: 100_000,
            max_steps: 100_000,
            options: Options::default(),
            no_task_left: false,
            reduce: false,
        },
        drawn: None,
        replayed: None,
        #[cfg(feature = "replay")]
        page: None,
        #[cfg(feature = "replay")]
        type_name,
    }
}

/// What main of an explored program may return: `()`, or a `Result`, whose error fails the order.
///
/// # Examples
///
/// ```
/// use onelane::explore::Outcome;
///
/// assert_eq!(().error(), None);
/// assert_eq!(Err::<(), _>("no tea").error(), Some(String::from("\"no tea\"")));
/// ```
pub trait Outcome {
    /// The error in words, if it is one.
    fn error(self) -> Option<String>;
}

impl Outcome for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<T, E: fmt::Debug> Outcome for Result<T, E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| format!("{error:?}"))
    }
}

/// A choice of the program itself: returns a number below `among`. An exploration tries them all, and
/// 0 costs nothing. Without an exploration it returns 0.
///
/// # Panics
///
/// If `among` is 0.
///
/// # Examples
///
/// ```
/// use onelane::explore::choose;
///
/// let failure = onelane::explore(|| async {
///     let reply = ["tea", "coffee", "nothing"][choose(3)];
///     assert_ne!(reply, "nothing");
/// })
/// .check()
/// .unwrap_err();
/// assert_eq!(failure.schedule, "1=2/3");
/// ```
#[track_caller]
pub fn choose(among: usize) -> usize {
    assert!(among > 0, "explore::choose(0) was called, but there is nothing to choose from; pass at least 1");
    context::running().map_or(0, |kernel| kernel.choose(Kind::Own, among))
}

/// An exploration that is being set up. See [`explore()`].
///
/// # Examples
///
/// ```
/// use onelane::explore::Explore;
///
/// /// What all tests of a program have in common.
/// fn for_tests(exploration: Explore<'_>) -> Explore<'_> {
///     exploration.max_cost(2).no_task_left()
/// }
///
/// for_tests(onelane::explore(|| async {})).run();
/// ```
#[must_use = "nothing is explored until `run` or `check`"]
pub struct Explore<'a> {
    program: Box<Program<'a>>,
    /// Where `explore` was called.
    at: &'static Location<'static>,
    limits: Limits,
    drawn: Option<Drawn>,
    replayed: Option<String>,
    /// Where to write the page.
    #[cfg(feature = "replay")]
    page: Option<PathBuf>,
    /// The name of the program's type, for the heading of the page.
    #[cfg(feature = "replay")]
    type_name: &'static str,
}

/// Orders that are drawn by seeds.
#[derive(Clone)]
struct Drawn {
    seeds: Range<u64>,
    /// For probabilistic concurrency testing.
    depth: Option<u32>,
}

/// The environment variable with the schedule to be replayed.
const SCHEDULE: &str = "ONELANE_SCHEDULE";

impl<'a> Explore<'a> {
    /// Runs only the orders of at most this cost.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{spawn, yield_now};
    ///
    /// let exploration = onelane::explore(|| async {
    ///     drop([spawn(yield_now()), spawn(yield_now())]);
    ///     yield_now().await;
    /// });
    /// let statement = exploration.max_cost(0).run();
    /// assert_eq!((statement.orders, statement.is_complete()), (1, false));
    /// ```
    pub fn max_cost(mut self, cost: u64) -> Self {
        self.limits.max_cost = Some(cost);
        self
    }

    /// Runs at most this number of orders. The default is 100,000.
    ///
    /// # Examples
    ///
    /// ```
    /// let exploration = onelane::explore(|| async { _ = onelane::explore::choose(1000) });
    /// assert_eq!(exploration.max_orders(10).run().orders, 10);
    /// ```
    pub fn max_orders(mut self, orders: u64) -> Self {
        self.limits.max_orders = orders.max(1);
        self
    }

    /// An order fails if it takes this number of steps: entries of the ready queue, and timers. The
    /// default is 100,000.
    ///
    /// The order ends with the turn that reaches the limit. The shutdown that follows has the same limit
    /// again: a cleanup may run for ever too. A step that does not end is not detected.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::explore::Fault;
    ///
    /// let spins = onelane::explore(|| async {
    ///     let is_over = std::cell::Cell::new(false);
    ///     while !is_over.get() {
    ///         onelane::yield_now().await;
    ///     }
    /// });
    /// let failure = spins.max_steps(1000).check().unwrap_err();
    /// assert!(matches!(failure.fault, Fault::StepLimit(repeating) if repeating.len() == 1));
    /// ```
    pub fn max_steps(mut self, steps: u64) -> Self {
        self.limits.max_steps = steps.max(1);
        self
    }

    /// Varies when the loop sees that time has passed. The loop may be late: before each turn, and when
    /// it has waited, time may pass to a later deadline than it must. All timers up to that deadline
    /// then fire in one turn, in order, before the tasks that they wake run. Each deadline that time
    /// passes further costs 1.
    ///
    /// This is what happens on a real clock if a step takes long, or the machine is busy.
    ///
    /// # Examples
    ///
    /// A reply arrives before the time is up, but the loop sees both together:
    ///
    /// ```
    /// use onelane::{sleep, timeout};
    /// use std::time::Duration;
    ///
    /// let replies = || async {
    ///     let reply = sleep(Duration::from_secs(1));
    ///     assert!(timeout(Duration::from_secs(2), reply).await.is_ok());
    /// };
    /// assert!(onelane::explore(replies).run().is_complete());
    /// assert_eq!(onelane::explore(replies).late_timers().check().unwrap_err().cost, 1);
    /// ```
    pub fn late_timers(mut self) -> Self {
        self.limits.options.late_timers = true;
        self
    }

    /// Cancels up to `count` tasks in an order, each at one of its awaits: when it begins to wait there, or
    /// when it was woken and is about to go on. Each cancellation costs 1. Main is not cancelled, nor is
    /// a task that was never polled.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{spawn, yield_now};
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// let failure = onelane::explore(|| async {
    ///     let busy = Rc::new(Cell::new(false));
    ///     let copy = busy.clone();
    ///     let job = spawn(async move {
    ///         copy.set(true);
    ///         yield_now().await;
    ///         copy.set(false); // not reached if the task is cancelled
    ///     });
    ///     _ = job.await;
    ///     assert!(!busy.get());
    /// })
    /// .cancellations(1)
    /// .check()
    /// .unwrap_err();
    /// assert_eq!(failure.cost, 1);
    /// ```
    pub fn cancellations(mut self, count: u32) -> Self {
        self.limits.options.cancellations = count;
        self
    }

    /// An order fails if tasks are left when main has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{explore::Fault, sleep, spawn};
    /// use std::time::Duration;
    ///
    /// let leaves = onelane::explore(|| async { drop(spawn(sleep(Duration::from_secs(1)))) });
    /// let failure = leaves.no_task_left().check().unwrap_err();
    /// assert!(matches!(failure.fault, Fault::TasksLeft(names) if names.len() == 1));
    /// ```
    pub fn no_task_left(mut self) -> Self {
        self.limits.no_task_left = true;
        self
    }

    /// Leaves out orders that make no difference to another one that is run. Two steps may be exchanged
    /// if nothing that one of them writes was touched by the other. The search knows what a step touches
    /// of [`sync`](crate::sync), of promises, of tasks, and of values in a
    /// [`Tracked`](crate::sync::Tracked).
    ///
    /// **This is a promise**: tasks of the program share state only through these. A task must not read
    /// in a `Cell`, a `RefCell`, or another crate's channel what another task writes there: the search
    /// does not see it, and would leave out orders that differ. State that only one task uses may be
    /// anything, also a set of futures inside the task. What a test writes down to look at later may be
    /// anything too. The [`Statement`] names the promise.
    ///
    /// A reduced search goes depth first. If an order fails, the search by cost begins, up to
    /// [`max_orders`](Self::max_orders), and returns the cheapest failure with its certificate. If that
    /// search reaches its limit first, the failure that is known is shrunk, and has no certificate.
    ///
    /// Nothing is left out, and the statement says why, if the program uses something whose accesses are
    /// not known: task groups, scopes, cleanups, `as_completed`, `wait`, `shield`, intervals, handles of
    /// the loop, reports; if tasks are left when main has ended; if a value with a destructor is dropped
    /// unread, or read only by reference, with the last handle of its task; with
    /// [`max_cost`](Self::max_cost); and if [`late_timers`](Self::late_timers) has something to choose
    /// while a task is ready. It has no effect on seeds and replays.
    ///
    /// # Examples
    ///
    /// Three tasks that share nothing, and end in an order that nobody sees: one order instead of 1,680.
    ///
    /// ```
    /// use onelane::{gather, yield_now};
    ///
    /// let program = || async {
    ///     gather([yield_now(), yield_now(), yield_now()]).await.unwrap();
    /// };
    /// let statement = onelane::explore(program).reduce().run();
    /// assert_eq!((statement.orders, statement.is_complete()), (1, true));
    /// ```
    pub fn reduce(mut self) -> Self {
        self.limits.reduce = true;
        self
    }

    /// Draws an order per seed, instead of searching by cost. For programs with too many orders. At each
    /// choice, everything is equally likely; with [`pct`](Self::pct), tasks have priorities.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{gather, yield_now};
    ///
    /// let statement = onelane::explore(|| async {
    ///     gather((0..20).map(|_| yield_now())).await.unwrap();
    /// })
    /// .seeds(0..50)
    /// .run();
    /// assert_eq!((statement.orders, statement.is_complete()), (50, false));
    /// ```
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        let depth = self.drawn.take().and_then(|drawn| drawn.depth);
        self.drawn = Some(Drawn { seeds, depth });
        self
    }

    /// Draws orders by probabilistic concurrency testing: each task gets a random priority, and at
    /// `depth` - 1 random choices the task that would run gets the lowest. A failure that needs `depth`
    /// ordered events is found with a probability that does not fall with the number of tasks as quickly
    /// as with equally likely choices. If [`seeds`](Self::seeds) is not called, the seeds are 0 to 999.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{gather, yield_now};
    ///
    /// let exploration = onelane::explore(|| async {
    ///     gather((0..20).map(|_| yield_now())).await.unwrap();
    /// });
    /// assert_eq!(exploration.pct(2).seeds(7..9).run().orders, 2);
    /// ```
    pub fn pct(mut self, depth: u32) -> Self {
        let seeds = self.drawn.take().map_or(0..1000, |drawn| drawn.seeds);
        self.drawn = Some(Drawn { seeds, depth: Some(depth) });
        self
    }

    /// Runs one order, which a [`Failure`] has named.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::explore::{Fault, choose};
    ///
    /// let program = || async { assert!(choose(3) < 2) };
    /// let failure = onelane::explore(program).replay("1=2/3").check().unwrap_err();
    /// assert!(matches!(failure.fault, Fault::Panic(_)));
    ///
    /// // The program has changed since.
    /// let changed = || async { assert!(choose(4) < 2) };
    /// let failure = onelane::explore(changed).replay("1=2/3").check().unwrap_err();
    /// assert!(failure.to_string().contains("diverged at choice 1: recorded 3 to choose from, now 4"));
    /// ```
    pub fn replay(mut self, schedule: &str) -> Self {
        self.replayed = Some(schedule.into());
        self
    }

    /// Writes a page of the orders to `path`, when [`run`](Self::run) or [`check`](Self::check) returns
    /// (feature `replay`). It opens with the order that fails, or with the normal one. At each choice, it
    /// goes on in the other orders: each was really run. It contains up to 200 orders, the cheapest
    /// first.
    ///
    /// Without this, `run` writes a page if an order fails, and says where: to the file that the
    /// environment variable `ONELANE_REPLAY` names, or into the system's folder for temporary files.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{gather, yield_now};
    ///
    /// let path = std::env::temp_dir().join(format!("onelane-orders-{}.html", std::process::id()));
    /// onelane::explore(|| async {
    ///     gather([yield_now(), yield_now()]).await.unwrap();
    /// })
    /// .page(&path)
    /// .run();
    /// assert!(std::fs::read_to_string(&path)?.contains("</html>"));
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "replay")]
    #[cfg_attr(docsrs, doc(cfg(feature = "replay")))]
    pub fn page(mut self, path: impl Into<PathBuf>) -> Self {
        self.page = Some(path.into());
        self
    }

    /// Runs the orders.
    ///
    /// # Panics
    ///
    /// With the [`Failure`], as text, if an order fails. If a loop is running on this thread. If a
    /// schedule to be replayed cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(onelane::explore(|| async {}).run().orders, 1);
    /// ```
    #[track_caller]
    pub fn run(self) -> Statement {
        match self.check_orders() {
            Ok(statement) => {
                self.write_page("");
                statement
            }
            Err(failure) => {
                #[cfg(feature = "replay")]
                let page = self.page.clone().or_else(|| Some(usual_page()));
                #[cfg(feature = "replay")]
                if let Some(written) = page.and_then(|path| self.write_page_to(path, &failure.schedule)) {
                    panic!(
                        "{failure}\nAll this, step by step, and the other orders, in a browser: {}\n",
                        written.display()
                    );
                }
                panic!("{failure}")
            }
        }
    }

    /// Like [`run`](Self::run), but returns the failure.
    ///
    /// # Errors
    ///
    /// The first order that fails. In a search by cost, it is one of the smallest cost.
    ///
    /// # Panics
    ///
    /// If a loop is running on this thread, or if a schedule to be replayed cannot be read.
    ///
    /// # Examples
    ///
    /// ```
    /// let failure = onelane::explore(|| async { panic!("oh") as () }).check().unwrap_err();
    /// assert_eq!(failure.cost, 0);
    /// ```
    #[track_caller]
    pub fn check(self) -> Result<Statement, Box<Failure>> {
        let result = self.check_orders();
        self.write_page(result.as_ref().map_or_else(|failure| &*failure.schedule, |_| ""));
        result
    }

    /// Writes the page, if it was asked for. It opens with this schedule.
    fn write_page(&self, _schedule: &str) {
        #[cfg(feature = "replay")]
        if let Some(path) = &self.page {
            self.write_page_to(path.clone(), _schedule);
        }
    }

    /// Returns the path, if the page was written.
    #[cfg(feature = "replay")]
    fn write_page_to(&self, path: PathBuf, schedule: &str) -> Option<PathBuf> {
        let page = self.page_of(&Schedule::parse(schedule).ok()?);
        match write_page(&path, &page, self.page.is_none()) {
            Ok(()) => Some(path),
            Err(error) => {
                complain(&format_args!("the page of an exploration was not written to {}: {error}", path.display()));
                None
            }
        }
    }

    #[track_caller]
    fn check_orders(&self) -> Result<Statement, Box<Failure>> {
        let from_environment = std::env::var(SCHEDULE).ok();
        match (from_environment.as_ref().or(self.replayed.as_ref()), &self.drawn) {
            (Some(text), _) => match Schedule::parse(text) {
                Ok(schedule) => self.run_one(schedule),
                Err(error) => panic!("a schedule cannot be replayed: {error}"),
            },
            (None, Some(drawn)) => self.draw(drawn),
            (None, None) => self.search(),
        }
    }

    /// Runs a schedule and records its rows.
    fn record(&self, schedule: Schedule) -> Run {
        let player = Player::new(schedule, Policy::Fifo, self.limits.max_steps).recording();
        run(&self.program, self.at, self.limits.options, player.asking_for_left(self.limits.no_task_left))
    }

    fn run_one(&self, schedule: Schedule) -> Result<Statement, Box<Failure>> {
        let played = self.record(schedule.clone());
        let mut findings = Findings::default();
        findings.add(&played);
        let statement = Statement::new(&findings, How::Replayed(schedule.to_string()), self.limits.options);
        match played.fault.clone() {
            None => Ok(statement),
            Some(fault) => Err(failure(fault, &schedule, &played, statement, None)),
        }
    }

    fn search(&self) -> Result<Statement, Box<Failure>> {
        self.compare_two_runs()?;
        if !self.limits.reduce {
            return self.search_by_cost(Reduction::None);
        }
        if self.limits.max_cost.is_some() {
            return self.search_by_cost(Reduction::GivenUp("max_cost(), because a class has orders of many costs"));
        }
        let (findings, schedule, fault) = match reduced(&*self.program, self.at, &self.limits) {
            Reduced::AllPass(findings) => return Ok(Statement::new(&findings, How::Reduced, self.limits.options)),
            Reduced::GivesUp(why) => return self.search_by_cost(Reduction::GivenUp(why)),
            Reduced::Fails(findings, schedule, fault) => (findings, schedule, fault),
        };
        let quiet = is_printed(&fault).then(Quiet::begin);
        if !matches!(fault, Fault::Differs(_)) {
            self.search_by_cost(Reduction::Found { orders: findings.orders })?;
        }
        // There are too many cheaper orders. So the failure is shrunk.
        let schedule = self.shrunk(schedule, &fault);
        let shown = self.record(schedule.clone());
        drop(quiet);
        let statement = Statement::new(&findings, How::Reduced, self.limits.options);
        Err(failure(same(fault, &shown), &schedule, &shown, statement, None))
    }

    /// The cheapest first.
    fn search_by_cost(&self, reduction: Reduction) -> Result<Statement, Box<Failure>> {
        let mut search = Search::new(&*self.program, self.at, &self.limits);
        search.findings.reduction = reduction;
        let found = search.run();
        let findings = search.findings;
        let how = How::ByCost(findings.all_to);
        let statement = Statement::new(&findings, how, self.limits.options);
        let shown = found.and_then(|(schedule, run)| Some((self.again(&schedule, run.fault?), schedule)));
        let Some(((fault, shown), schedule)) = shown else { return Ok(statement) };
        let passes = schedule.0.split_last().map(|(_, others)| Schedule::of(others.to_vec()).to_string());
        let mut failure = failure(fault, &schedule, &shown, statement, passes);
        failure.is_cheapest = true;
        Err(failure)
    }

    /// Runs an order again that has failed, to show it.
    fn again(&self, schedule: &Schedule, fault: Fault) -> (Fault, Run) {
        let quiet = is_printed(&fault).then(Quiet::begin);
        let shown = self.record(schedule.clone());
        drop(quiet);
        (same(fault, &shown), shown)
    }

    /// Runs the normal order twice, and compares.
    fn compare_two_runs(&self) -> Result<(), Box<Failure>> {
        let one = self.record(Schedule::default());
        let quiet = one.fault.as_ref().is_some_and(is_printed).then(Quiet::begin);
        let other = self.record(Schedule::default());
        drop(quiet);
        let (rows, others) = (one.player.rows(), other.player.rows());
        let differ = (0..rows.len().max(others.len())).find(|&nth| rows.get(nth) != others.get(nth));
        let words = |row: Option<&player::Row>| row.map_or("nothing".into(), |row| format!("({row})"));
        let fault = match differ {
            Some(nth) => Fault::Differs(format!(
                "two equal runs differ at step {}: {} in the first, {} in the second",
                nth + 1,
                words(rows.get(nth)),
                words(others.get(nth))
            )),
            None if one.fault.is_some() != other.fault.is_some() => {
                Fault::Differs("one of two equal runs fails, and both take the same steps".into())
            }
            None => match one.fault.clone().filter(is_printed) {
                // The search would run it again, and print it again.
                Some(fault) => {
                    let mut findings = Findings::default();
                    findings.add(&one);
                    findings.costs.push(1);
                    findings.has_more = true;
                    let statement = Statement::new(&findings, How::ByCost(None), self.limits.options);
                    let mut failure = failure(fault, &Schedule::default(), &one, statement, None);
                    failure.is_cheapest = true;
                    return Err(failure);
                }
                None => return Ok(()),
            },
        };
        let mut findings = Findings::default();
        findings.add(&one);
        findings.add(&other);
        findings.has_more = true;
        let statement = Statement::new(&findings, How::ByCost(None), self.limits.options);
        Err(failure(fault, &Schedule::default(), &other, statement, None))
    }

    fn draw(&self, Drawn { seeds, depth }: &Drawn) -> Result<Statement, Box<Failure>> {
        let mut findings = Findings::default();
        let how = match depth {
            None => format!("the seeds {seeds:?}, each choice equally likely"),
            Some(depth) => format!("the seeds {seeds:?}, with priorities (PCT) of depth {depth}"),
        };
        for seed in seeds.clone().take(usize::try_from(self.limits.max_orders).unwrap_or(usize::MAX)) {
            let policy = match *depth {
                None => Policy::uniform(seed),
                Some(depth) => Policy::pct(seed, depth, findings.most_choices),
            };
            let player = Player::new(Schedule::default(), policy, self.limits.max_steps);
            let drawn =
                run(&self.program, self.at, self.limits.options, player.asking_for_left(self.limits.no_task_left));
            findings.add(&drawn);
            if let Some(fault) = &drawn.fault {
                let quiet = is_printed(fault).then(Quiet::begin);
                let schedule = self.shrunk(Schedule::of(drawn.player.drawn.borrow().clone()), fault);
                let shown = self.record(schedule.clone());
                drop(quiet);
                let statement = Statement::new(&findings, How::Drawn(how), self.limits.options);
                let fault = same(fault.clone(), &shown);
                return Err(failure(fault, &schedule, &shown, statement, None));
            }
        }
        Ok(Statement::new(&findings, How::Drawn(how), self.limits.options))
    }

    /// Leaves out deviations, as long as the program fails in the same way: first half of them, then less.
    fn shrunk(&self, mut schedule: Schedule, fault: &Fault) -> Schedule {
        let kind = std::mem::discriminant(fault);
        let fails = |schedule: &Schedule| {
            let player = Player::new(schedule.clone(), Policy::Fifo, self.limits.max_steps);
            let run =
                run(&self.program, self.at, self.limits.options, player.asking_for_left(self.limits.no_task_left));
            run.fault.is_some_and(|fault| std::mem::discriminant(&fault) == kind)
        };
        let mut length = schedule.0.len().div_ceil(2);
        while length > 0 {
            let mut begin = 0;
            while begin < schedule.0.len() {
                let mut shorter = schedule.clone();
                shorter.0.drain(begin..(begin + length).min(schedule.0.len()));
                if fails(&shorter) {
                    schedule = shorter;
                } else {
                    begin += length;
                }
            }
            length /= 2;
        }
        schedule
    }
}

/// Where `run` writes the page of a failing test: the test's thread has the test's name.
#[cfg(feature = "replay")]
fn usual_page() -> PathBuf {
    path_of_next_loop().unwrap_or_else(|| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("program").replace(|letter: char| !letter.is_alphanumeric(), "_");
        std::env::temp_dir().join(format!("onelane-{name}-{}.html", std::process::id()))
    })
}

/// Whether the panic hook has printed something.
fn is_printed(fault: &Fault) -> bool {
    matches!(fault, Fault::Panic(_) | Fault::UnhandledPanic(_))
}

/// The fault of an order that was run again to be shown, which must be the same.
fn same(found: Fault, shown: &Run) -> Fault {
    match (&found, &shown.fault) {
        // The first run has recorded no rows.
        (Fault::StepLimit(_), Some(Fault::StepLimit(_))) => shown.fault.clone().unwrap_or(found),
        (Fault::Differs(_), _) => found,
        (_, Some(fault)) if std::mem::discriminant(fault) == std::mem::discriminant(&found) => found,
        (_, None) => Fault::Differs(format!("an order fails in one of two equal runs: {found}")),
        (_, Some(other)) => {
            Fault::Differs(format!("an order fails in two ways in two equal runs: {found}; and {other}"))
        }
    }
}

fn failure(
    fault: Fault,
    schedule: &Schedule,
    shown: &Run,
    statement: Statement,
    passes: Option<String>,
) -> Box<Failure> {
    let rows = shown.player.rows();
    let mut named = schedule.clone();
    for Chosen { deviation, from, .. } in rows.iter().filter_map(|row| row.choice.as_ref()) {
        named.add_names(deviation.at, from.iter().map(Who::in_line).collect());
    }
    let schedule = named.with_names();
    Box::new(Failure { fault, cost: named.cost(), schedule, passes, statement, is_cheapest: false, rows })
}

impl fmt::Debug for Explore<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explore").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Makes a loop run in this order.
pub(crate) fn order(kernel: &Kernel, order: Order) {
    let (schedule, policy) = match order.0 {
        Inner::Recorded(schedule) => (schedule, Policy::Fifo),
        Inner::Seed(seed) => (Schedule::default(), Policy::uniform(seed)),
    };
    let player = Player::new(schedule, policy, u64::MAX).without_notes();
    kernel.set_guide(Rc::new(player), Options::default());
}
