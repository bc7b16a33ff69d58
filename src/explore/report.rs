//! What an exploration says: the statement, and the counter-example.
//!
//! This file does not know how orders are found or run.

use crate::explore::player::{Chosen, Row, What, Who};
use crate::explore::run::Fault;
use crate::explore::search::{Findings, Reduction};
use crate::kernel::explore::{Kind, Options};
use std::fmt::{self, Write};
use std::rc::Rc;

/// Which orders were run, and what that says about the program. `Display` formats it as a few lines.
///
/// # Examples
///
/// ```
/// use onelane::{gather, yield_now};
///
/// let statement = onelane::explore(|| async {
///     gather([1, 2].map(|_| yield_now())).await.unwrap();
/// })
/// .run();
/// assert!(statement.is_complete());
/// println!("{statement}");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Statement {
    /// Number of orders that were run. Those that a reduced search has given up as repeats are not counted.
    pub orders: u64,
    /// Number of orders by cost: `costs[2]` is the number of orders that deviate from FIFO by 2.
    /// Empty if the orders were drawn by seeds, or if the search was reduced.
    pub costs: Vec<u64>,
    /// The largest number of choices that an order had.
    pub most_choices: u32,
    /// The largest number of steps that an order had: entries of the ready queue, and timers.
    pub most_steps: u64,
    /// What the program was seen to use that is not varied, in words. If this is not empty, the
    /// statement is never complete.
    pub held_fixed: Vec<&'static str>,
    pub(crate) has_more: bool,
    pub(crate) how: How,
    pub(crate) kinds: u8,
    pub(crate) options: Options,
    pub(crate) reduction: Reduction,
}

/// How the orders were found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// The cheapest first, and all up to this cost.
    ByCost(Option<u64>),
    /// One of each class.
    Reduced,
    Drawn(String),
    Replayed(String),
}

impl PartialEq for Options {
    fn eq(&self, other: &Self) -> bool {
        (self.late_timers, self.cancellations) == (other.late_timers, other.cancellations)
    }
}

impl Eq for Options {}

impl Statement {
    pub(crate) fn new(findings: &Findings, how: How, options: Options) -> Self {
        let sources = findings.sources;
        let seen = [
            (sources.messages, "messages from other threads"),
            (sources.wakers, "wakers held by code outside of the loop"),
            (sources.sockets, "sockets"),
        ];
        Statement {
            orders: findings.orders,
            costs: findings.costs.clone(),
            most_choices: findings.most_choices,
            most_steps: findings.most_steps,
            held_fixed: seen.iter().filter(|(is_seen, _)| *is_seen).map(|&(_, what)| what).collect(),
            has_more: findings.has_more || !matches!(how, How::ByCost(_) | How::Reduced),
            how,
            kinds: findings.kinds,
            options,
            reduction: findings.reduction.clone(),
        }
    }

    /// Whether every order was run, and the program was seen to use nothing that is not varied.
    ///
    /// After a [reduction](crate::explore::Explore::reduce), every order differs from one that was run only by
    /// steps that share nothing that the search knows.
    ///
    /// An exploration cannot see everything that a program uses. If the program reads a real clock, or
    /// draws random numbers, and runs the same steps all the same, it counts as deterministic.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{spawn, yield_now};
    ///
    /// let program = || async {
    ///     for _ in 0..3 {
    ///         drop(spawn(yield_now()));
    ///     }
    ///     yield_now().await;
    /// };
    /// assert!(onelane::explore(program).run().is_complete());
    /// assert!(!onelane::explore(program).max_cost(1).run().is_complete());
    /// ```
    pub fn is_complete(&self) -> bool {
        !self.has_more && self.held_fixed.is_empty()
    }
}

/// A number with commas: `1,680`.
struct Number(u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (nth, digit) in digits.chars().enumerate() {
            if nth > 0 && (digits.len() - nth) % 3 == 0 {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::Ready, "which ready entry runs next"),
    (Kind::Timer, "which of the timers for one moment fires first"),
    (Kind::Clock, "how late timers are seen"),
    (Kind::Cancel, "cancellations of tasks at their awaits"),
    (Kind::Own, "the program's own choices"),
];

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let orders = if self.orders == 1 { "order" } else { "orders" };
        write!(f, "{} {orders}", Number(self.orders))?;
        f.write_str(if self.how == How::Reduced { " after reduction, " } else { ", " })?;
        match &self.how {
            _ if self.is_complete() => f.write_str("complete")?,
            How::Reduced if self.has_more => f.write_str("not complete")?,
            How::ByCost(_) | How::Reduced if !self.has_more => {
                f.write_str("all that the search can make; not complete")?
            }
            How::ByCost(Some(cost)) => write!(f, "all of cost <= {cost}; not complete")?,
            How::ByCost(None) | How::Reduced => f.write_str("not complete")?,
            How::Drawn(how) => write!(f, "drawn by {how}; not complete")?,
            How::Replayed(schedule) => write!(f, "replayed from {schedule:?}; not complete")?,
        }
        let varied: Vec<&str> =
            KINDS.iter().filter(|(kind, _)| self.kinds & (1 << *kind as u8) != 0).map(|&(_, words)| words).collect();
        let varied = if varied.is_empty() { "nothing: there was no choice".into() } else { varied.join("; ") };
        write!(f, "\n  varied: {varied}")?;
        write!(f, "\n  at most {} choices and {} steps in an order", self.most_choices, Number(self.most_steps))?;
        if self.held_fixed.is_empty() {
            f.write_str("\n  held fixed: nothing that was seen in use")?;
        } else {
            write!(f, "\n  held fixed, and seen in use: {}", self.held_fixed.join("; "))?;
        }
        f.write_str("\n  not seen: random draws, real time, and other threads that change no order of steps")?;
        write!(f, "\n  reduction: {}", self.reduction)
    }
}

/// An order that fails: a counter-example. `Display` formats the report.
///
/// # Examples
///
/// ```
/// use onelane::{gather, yield_now};
/// use std::{cell::Cell, rc::Rc};
///
/// let failure = onelane::explore(|| async {
///     let count = Rc::new(Cell::new(0));
///     let add = || async {
///         let before = count.get();
///         yield_now().await; // another task may change the count here
///         count.set(before + 1);
///     };
///     let (first, second) = (add(), async {});
///     futures_util::join!(first, second, add());
///     assert_eq!(count.get(), 2, "an update was lost");
/// })
/// .check()
/// .unwrap_err();
/// assert_eq!(failure.schedule, ""); // it fails in the normal order
/// assert!(failure.to_string().contains("an update was lost"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// Why it fails.
    pub fault: Fault,
    /// The sum of its deviations from FIFO.
    pub cost: u64,
    /// The order, as [`Explore::replay`](crate::explore::Explore::replay) and the environment variable
    /// `ONELANE_SCHEDULE` take it: `7=2/3{a b c}` says that at choice 7, number 2 of 3 ran next, and what
    /// the three were. Empty for the normal order.
    pub schedule: String,
    /// The order that passes and differs in one choice, if the search has run it.
    pub passes: Option<String>,
    /// The orders that were run, this one included.
    pub statement: Statement,
    /// Whether every order of a smaller cost was run, and passed.
    pub is_cheapest: bool,
    pub(crate) rows: Vec<Row>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Panic(message) => write!(f, "main panicked: {message}"),
            Fault::UnhandledPanic(message) | Fault::Error(message) | Fault::Deadlock(message) => f.write_str(message),
            Fault::Stalled => f.write_str(
                "nothing is ready and no timer is pending; the program waited for a second of real time for a wake from outside",
            ),
            Fault::StepLimit(repeating) if repeating.is_empty() => f.write_str("the step limit was reached"),
            Fault::StepLimit(repeating) => {
                f.write_str("the step limit was reached; this may be a livelock, because these steps repeat:")?;
                repeating.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            Fault::TasksLeft(names) => write!(f, "main has ended, and these tasks have not: {}", names.join(", ")),
            Fault::Differs(how) => write!(f, "the program is not deterministic, or has changed: {how}"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Ran(who) => who.fmt(f)?,
            What::TimePasses => f.write_str("time passes")?,
            What::Cancelled(who) => write!(f, "{who} is cancelled")?,
            What::Own(index) => write!(f, "the program chooses {index}")?,
        }
        match self.place {
            Some(place) => write!(f, ", until {place}"),
            None if self.ended => f.write_str(", until its end"),
            None => Ok(()),
        }
    }
}

/// More tasks than this do not get columns of their own.
const COLUMNS: usize = 8;
/// More deviations than this are only marked.
const SENTENCES: usize = 12;
/// More rows than this are left out in the middle.
const ROWS: usize = 120;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "an order of the program fails")?;
        writeln!(f, "  {}", self.fault)?;
        match self.cost {
            0 => writeln!(f, "cost 0: it is the normal order, first in, first out")?,
            cost if self.is_cheapest => {
                let cheaper: u64 = self.statement.costs.iter().take(cost as usize).sum();
                let cheaper = Number(cheaper);
                writeln!(f, "cost {cost}, the smallest")?;
                writeln!(f, "certificate: no cheaper order fails; number of cheaper orders: {cheaper}, each was run")?;
            }
            cost => writeln!(f, "cost {cost}; there may be a cheaper order that fails")?,
        }
        for (step, row) in self.deviations().take(SENTENCES) {
            writeln!(f, "  at step {step} {}", Sentence(row))?;
        }
        let more = self.deviations().count().saturating_sub(SENTENCES);
        if more > 0 {
            writeln!(f, "  and {more} more, marked with * below")?;
        }
        if !self.rows.is_empty() {
            writeln!(f)?;
            self.table(f)?;
            writeln!(f)?;
        }
        if let Some(passes) = &self.passes {
            writeln!(f, "the closest order that passes: {passes:?}, the same without the last deviation")?;
        }
        self.replay(f)?;
        write!(f, "{}", self.statement)
    }
}

/// A deviation in words.
struct Sentence<'a>(&'a Row);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Chosen { kind, deviation, from }) = &self.0.choice else { return Ok(()) };
        match (&self.0.what, from.first()) {
            (What::Ran(who), Some(other)) if *kind == Kind::Timer => {
                write!(f, "{who} fired before {other}; they are due together, and {other} was set first")?;
            }
            (What::Ran(who), Some(other)) => write!(f, "{who} ran before {other}; FIFO runs {other}")?,
            (What::Ran(who), None) => write!(f, "{who} ran")?,
            (What::TimePasses, _) => write!(f, "time passed before the timers were seen, so they are late")?,
            (What::Cancelled(who), _) => write!(f, "{who} was cancelled")?,
            (What::Own(index), _) => write!(f, "the program's own choice was {index}")?,
        }
        write!(f, " (choice {}", deviation.at)?;
        if from.len() > 2 {
            let names: Vec<String> = from.iter().take(COLUMNS).map(Who::to_string).collect();
            let more = if from.len() > COLUMNS { ", .." } else { "" };
            write!(f, ", from {}{more}", names.join(", "))?;
        }
        f.write_str(")")
    }
}

impl Failure {
    /// The rows that deviate from FIFO, with the numbers of their steps.
    fn deviations(&self) -> impl Iterator<Item = (usize, &Row)> {
        let deviates = |row: &Row| row.choice.as_ref().is_some_and(|choice| choice.deviation.index > 0);
        self.rows.iter().enumerate().filter(move |(_, row)| deviates(row)).map(|(nth, row)| (nth + 1, row))
    }

    /// A column per task, a row per step.
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tasks: Vec<(u64, Rc<str>)> = Vec::new();
        for row in &self.rows {
            if let What::Ran(Who::Task(id, name)) | What::Cancelled(Who::Task(id, name)) = &row.what {
                if tasks.iter().all(|(known, _)| known != id) {
                    tasks.push((*id, name.clone()));
                }
            }
        }
        tasks.sort_unstable_by_key(|&(id, _)| id);
        let is_wide = tasks.len() > COLUMNS;
        let cell = |row: &Row| match (row.place, row.ended, &row.what) {
            (_, _, What::Cancelled(_)) => "cancelled".to_string(),
            (Some(place), ..) => {
                let file = place.file().rsplit(['/', '\\']).next().unwrap_or_default();
                format!("{file}:{}", place.line())
            }
            (None, true, _) => "ends".into(),
            (None, false, _) => "suspends".into(),
        };
        let widths: Vec<usize> = tasks
            .iter()
            .map(|(id, name)| {
                let of_task = |row: &&Row| task_id(row) == Some(*id);
                let cells = self.rows.iter().filter(of_task).map(|row| cell(row).len());
                cells.chain([name.chars().count()]).max().unwrap_or(0)
            })
            .collect();
        if !is_wide {
            let heads: Vec<String> =
                tasks.iter().zip(&widths).map(|((_, name), &width)| format!("{name:width$}")).collect();
            writeln!(f, "{}", format!("    step  {}", heads.join("  ")).trim_end())?;
        }
        for (nth, row) in self.rows.iter().enumerate() {
            if self.rows.len() > ROWS && (ROWS / 2..self.rows.len() - ROWS / 2).contains(&nth) {
                if nth == ROWS / 2 {
                    writeln!(f, "    .. {} steps are left out here", self.rows.len() - ROWS)?;
                }
                continue;
            }
            let mark = if row.choice.as_ref().is_some_and(|choice| choice.deviation.index > 0) { '*' } else { ' ' };
            let column = tasks.iter().position(|(id, _)| task_id(row) == Some(*id)).filter(|_| !is_wide);
            let text = match column {
                Some(column) => {
                    let indent: usize = widths[..column].iter().map(|width| width + 2).sum();
                    format!("{:indent$}{}", "", cell(row))
                }
                None => format!("({row})"),
            };
            writeln!(f, "  {mark} {:4}  {text}", nth + 1)?;
        }
        Ok(())
    }

    fn replay(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thread = std::thread::current();
        let name = thread.name().filter(|name| *name != "main");
        let schedule = &self.schedule;
        match name {
            Some(name) => writeln!(f, "run this order again:  ONELANE_SCHEDULE='{schedule}' cargo test {name}")?,
            None => writeln!(f, "run this order again with the environment variable  ONELANE_SCHEDULE='{schedule}'")?,
        }
        let last = name.and_then(|name| name.rsplit("::").next()).unwrap_or("program");
        let Options { late_timers, cancellations } = self.statement.options;
        let mut options = String::new();
        if late_timers {
            options.push_str(".late_timers()");
        }
        if cancellations > 0 {
            _ = write!(options, ".cancellations({cancellations})");
        }
        writeln!(f, "or as a test:")?;
        writeln!(f, "    #[test]")?;
        writeln!(f, "    fn {last}_in_the_order_that_failed() {{")?;
        writeln!(f, "        onelane::explore(program){options}.replay(\"{schedule}\").run();")?;
        writeln!(f, "    }}")
    }
}

fn task_id(row: &Row) -> Option<u64> {
    match &row.what {
        What::Ran(Who::Task(id, _)) | What::Cancelled(Who::Task(id, _)) => Some(*id),
        _ => None,
    }
}
