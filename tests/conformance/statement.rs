//! The statements of a program as types, and their reader.
//!
//! A statement is written as `[op, argument, ...]` in a file. Times are in milliseconds.
//! `README.md` describes each statement. This part does not know the effects of the statements.
//! Read `machine.rs` next.

use crate::program::texts;
use crate::shared::{BARRIERS, CONDITIONS, CONTEXT_VARIABLES, EVENTS, LOCKS, PROMISES, QUEUES, SEMAPHORES};
use onelane::ReturnWhen;
use serde_json::Value;
use std::rc::Rc;

pub(crate) enum Statement {
    /// Logs its label when its block ends, for any reason.
    Guard(String),
    Return(i64),
    Raise(String),
    Scope(Scope),
    Basic(Basic),
    Further(Further),
}

/// A list of statements. It is shared, because a cleanup may outlive the future that it belongs to.
pub(crate) type Block = Rc<[Statement]>;

/// A statement that holds a block. A `return` or `raise` in the block ends the whole body.
pub(crate) enum Scope {
    Timeout(u64, Block),
    Lock(usize, Block),
    Semaphore(usize, Block),
    // Level D.
    Deadline { ms: Option<u64>, slot: String, block: Block },
    Group(Block),
    Finally { block: Block, cleanup: Block },
    Catch { block: Block, uncancel: bool },
    ContextWith(usize, i64, Block),
    ConditionHold(usize, Block),
}

/// Any other statement of levels A to C.
pub(crate) enum Basic {
    Log(String),
    Sleep(u64),
    Spawn { variable: String, body: usize, name: Option<String> },
    Await(String),
    Gather { items: Vec<Item>, return_exceptions: bool },
    Wait { variables: Vec<String>, timeout: Option<u64>, return_when: ReturnWhen },
    Cancel(String),
    Callback(String, String),
    Inspect,
    CallSoon(String),
    CallLater(String, u64),
    CancelHandle(String),
    WaitFor(String, u64),
    Shield(String),
    AsCompleted(Vec<String>),
    Promise(usize),
    Fulfil(usize, i64),
    AwaitPromise(usize),
    EventWait(usize),
    EventSet(usize),
    EventClear(usize),
    ConditionWait(usize),
    ConditionNotify(usize, usize),
    Put(usize, i64),
    Get(usize),
}

/// Any other statement of level D.
pub(crate) enum Further {
    Child(String, usize),
    Cancelling,
    Uncancel,
    CancelMe,
    Reschedule(String, Option<u64>),
    ShowDeadline(String),
    WaitForBody(usize, u64),
    AsCompletedWithin(Vec<String>, u64),
    RemoveCallback(String),
    ShowName(String),
    Rename(String, String),
    ContextSet(usize, i64),
    ContextGet(usize),
    ConditionWaitFor(usize, i64),
    ConditionAdd { condition: usize, count: i64, notified: usize },
    TaskDone(usize),
    JoinQueue(usize),
    ShutDown(usize, bool),
    BarrierWait(usize),
    BarrierAbort(usize),
    BarrierReset(usize),
}

/// An argument of `gather`.
pub(crate) enum Item {
    Variable(String),
    Body(usize),
}

pub(crate) struct Reader {
    /// The number of bodies that the program has.
    pub(crate) bodies: usize,
}

impl Reader {
    pub(crate) fn block(&self, source: &Value) -> Result<Block, String> {
        let statements = source.as_array().ok_or_else(|| format!("{source} is no list of statements"))?;
        let read = |source| self.statement(source).ok_or_else(|| format!("{source} is no statement"));
        statements.iter().map(read).collect()
    }

    fn statement(&self, source: &Value) -> Option<Statement> {
        let (op, values) = source.as_array()?.split_first()?;
        let (op, arguments) = (op.as_str()?, Arguments { reader: self, values });
        Some(match op {
            "guard" => Statement::Guard(arguments.text(0)?),
            "return" => Statement::Return(arguments.integer(0)?),
            "raise" => Statement::Raise(arguments.text(0)?),
            _ => arguments
                .scope(op)
                .map(Statement::Scope)
                .or_else(|| arguments.basic(op).map(Statement::Basic))
                .or_else(|| arguments.further(op).map(Statement::Further))?,
        })
    }
}

/// The arguments of a statement. Each method returns `None` if an argument is missing or has
/// another type.
struct Arguments<'a> {
    reader: &'a Reader,
    values: &'a [Value],
}

impl Arguments<'_> {
    fn scope(&self, op: &str) -> Option<Scope> {
        Some(match op {
            "timeout" if self.values.len() == 2 => Scope::Timeout(self.ms(0)?, self.block(1)?),
            "timeout" => Scope::Deadline { ms: self.optional_ms(0)?, slot: self.text(2)?, block: self.block(1)? },
            "lock" => Scope::Lock(self.below(0, LOCKS)?, self.block(1)?),
            "semaphore" => Scope::Semaphore(self.below(0, SEMAPHORES)?, self.block(1)?),
            "group" => Scope::Group(self.block(0)?),
            "finally" => Scope::Finally { block: self.block(0)?, cleanup: self.block(1)? },
            "catch" => Scope::Catch { block: self.block(0)?, uncancel: self.flag(1)? },
            "context_with" => Scope::ContextWith(self.below(0, CONTEXT_VARIABLES)?, self.integer(1)?, self.block(2)?),
            "condition_hold" => Scope::ConditionHold(self.below(0, CONDITIONS)?, self.block(1)?),
            _ => return None,
        })
    }

    fn basic(&self, op: &str) -> Option<Basic> {
        Some(match op {
            "log" => Basic::Log(self.text(0)?),
            "sleep" => Basic::Sleep(self.ms(0)?),
            "spawn" => Basic::Spawn { variable: self.text(0)?, body: self.body(1)?, name: self.text(2) },
            "await" => Basic::Await(self.text(0)?),
            "gather" => Basic::Gather { items: self.items(0)?, return_exceptions: self.flag(1)? },
            "wait" => Basic::Wait {
                variables: self.texts(0)?,
                timeout: self.optional_ms(1)?,
                return_when: self.return_when(2)?,
            },
            "cancel" => Basic::Cancel(self.text(0)?),
            "callback" => Basic::Callback(self.text(0)?, self.text(1)?),
            "inspect" => Basic::Inspect,
            "call_soon" => Basic::CallSoon(self.text(0)?),
            "call_later" => Basic::CallLater(self.text(0)?, self.ms(1)?),
            "cancel_handle" => Basic::CancelHandle(self.text(0)?),
            "wait_for" => Basic::WaitFor(self.text(0)?, self.ms(1)?),
            "shield" => Basic::Shield(self.text(0)?),
            "as_completed" => Basic::AsCompleted(self.texts(0)?),
            "promise" => Basic::Promise(self.below(0, PROMISES)?),
            "fulfil" => Basic::Fulfil(self.below(0, PROMISES)?, self.integer(1)?),
            "await_promise" => Basic::AwaitPromise(self.below(0, PROMISES)?),
            "event_wait" => Basic::EventWait(self.below(0, EVENTS)?),
            "event_set" => Basic::EventSet(self.below(0, EVENTS)?),
            "event_clear" => Basic::EventClear(self.below(0, EVENTS)?),
            "condition_wait" => Basic::ConditionWait(self.below(0, CONDITIONS)?),
            "condition_notify" => Basic::ConditionNotify(self.below(0, CONDITIONS)?, self.number(1)?),
            "put" => Basic::Put(self.below(0, QUEUES)?, self.integer(1)?),
            "get" => Basic::Get(self.below(0, QUEUES)?),
            _ => return None,
        })
    }

    fn further(&self, op: &str) -> Option<Further> {
        Some(match op {
            "child" => Further::Child(self.text(0)?, self.body(1)?),
            "cancelling" => Further::Cancelling,
            "uncancel" => Further::Uncancel,
            "cancel_me" => Further::CancelMe,
            "reschedule" => Further::Reschedule(self.text(0)?, self.optional_ms(1)?),
            "deadline" => Further::ShowDeadline(self.text(0)?),
            "wait_for_body" => Further::WaitForBody(self.body(0)?, self.ms(1)?),
            "as_completed_within" => Further::AsCompletedWithin(self.texts(0)?, self.ms(1)?),
            "remove_callback" => Further::RemoveCallback(self.text(0)?),
            "name" => Further::ShowName(self.text(0)?),
            "rename" => Further::Rename(self.text(0)?, self.text(1)?),
            "context_set" => Further::ContextSet(self.below(0, CONTEXT_VARIABLES)?, self.integer(1)?),
            "context_get" => Further::ContextGet(self.below(0, CONTEXT_VARIABLES)?),
            "condition_wait_for" => Further::ConditionWaitFor(self.below(0, CONDITIONS)?, self.integer(1)?),
            "condition_add" => Further::ConditionAdd {
                condition: self.below(0, CONDITIONS)?,
                count: self.integer(1)?,
                notified: self.number(2)?,
            },
            "task_done" => Further::TaskDone(self.below(0, QUEUES)?),
            "join" => Further::JoinQueue(self.below(0, QUEUES)?),
            "shutdown" => Further::ShutDown(self.below(0, QUEUES)?, self.flag(1)?),
            "barrier_wait" => Further::BarrierWait(self.below(0, BARRIERS)?),
            "barrier_abort" => Further::BarrierAbort(self.below(0, BARRIERS)?),
            "barrier_reset" => Further::BarrierReset(self.below(0, BARRIERS)?),
            _ => return None,
        })
    }

    fn text(&self, n: usize) -> Option<String> {
        self.values.get(n)?.as_str().map(str::to_owned)
    }

    fn texts(&self, n: usize) -> Option<Vec<String>> {
        texts(self.values.get(n)?)
    }

    fn flag(&self, n: usize) -> Option<bool> {
        self.values.get(n)?.as_bool()
    }

    fn integer(&self, n: usize) -> Option<i64> {
        self.values.get(n)?.as_i64()
    }

    fn number(&self, n: usize) -> Option<usize> {
        usize::try_from(self.values.get(n)?.as_u64()?).ok()
    }

    fn below(&self, n: usize, count: usize) -> Option<usize> {
        self.number(n).filter(|&which| which < count)
    }

    fn body(&self, n: usize) -> Option<usize> {
        self.below(n, self.reader.bodies)
    }

    fn block(&self, n: usize) -> Option<Block> {
        self.reader.block(self.values.get(n)?).ok()
    }

    fn ms(&self, n: usize) -> Option<u64> {
        self.values.get(n)?.as_u64()
    }

    /// A time, or `null`.
    fn optional_ms(&self, n: usize) -> Option<Option<u64>> {
        if self.values.get(n)?.is_null() { Some(None) } else { self.ms(n).map(Some) }
    }

    fn items(&self, n: usize) -> Option<Vec<Item>> {
        let body = |body: &Value| Some(usize::try_from(body.as_u64()?).ok()?).filter(|&body| body < self.reader.bodies);
        let item = |item: &Value| match item.get("v") {
            Some(variable) => Some(Item::Variable(variable.as_str()?.to_owned())),
            None => Some(Item::Body(body(item.get("b")?)?)),
        };
        self.values.get(n)?.as_array()?.iter().map(item).collect()
    }

    fn return_when(&self, n: usize) -> Option<ReturnWhen> {
        Some(match self.values.get(n)?.as_str()? {
            "ALL_COMPLETED" => ReturnWhen::AllCompleted,
            "FIRST_COMPLETED" => ReturnWhen::FirstCompleted,
            "FIRST_EXCEPTION" => ReturnWhen::FirstException,
            _ => return None,
        })
    }
}
