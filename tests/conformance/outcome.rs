//! The outcomes of tasks, as text.
//!
//! A body returns an integer or nothing, or it raises. This is the output of a plain task. A child
//! of a group has another output: the group takes its error, and a task that awaits the child
//! receives [`ChildFailed`]. The machine stores these errors, so that both kinds of task look the same
//! in a trace, as in Python. Read `levels_a_to_c.rs` next.

use crate::machine::Machine;
use onelane::{ChildFailed, Task, TaskError, TaskId, TaskRef, TryGatherError};
use std::rc::Rc;

/// The result of a body.
pub(crate) type Output = Result<Option<i64>, String>;

/// The outcome of a task.
pub(crate) type Outcome = Result<Output, TaskError>;

/// A task whose body fails with an `E`.
pub(crate) type TaskOf<E> = Task<Result<Option<i64>, E>>;

/// The task that a variable is bound to.
#[derive(Clone)]
pub(crate) enum Variable {
    Plain(Rc<TaskOf<String>>),
    Child(Rc<TaskOf<ChildFailed>>),
}

/// Evaluates an expression with the task of a variable, which is of one of two types.
macro_rules! with_task {
    ($variable:expr, $task:ident => $do:expr) => {
        match $variable {
            $crate::outcome::Variable::Plain($task) => $do,
            $crate::outcome::Variable::Child($task) => $do,
        }
    };
}
pub(crate) use with_task;

impl Variable {
    pub(crate) fn task_ref(&self) -> TaskRef {
        with_task!(self, task => task.task_ref())
    }
}

/// Tasks with the names of their variables. A list contains tasks of one kind only, so a program
/// never mixes the two.
pub(crate) enum Several {
    Plain(Vec<Named<String>>),
    Children(Vec<Named<ChildFailed>>),
}

pub(crate) type Named<E> = (String, Rc<TaskOf<E>>);

/// The reason why a body has failed.
pub(crate) trait Failure: Clone + 'static {
    fn text(self, machine: &Machine, task: TaskId) -> String;
}

impl Failure for String {
    fn text(self, _: &Machine, _: TaskId) -> String {
        self
    }
}

impl Failure for ChildFailed {
    fn text(self, machine: &Machine, task: TaskId) -> String {
        machine.failures.borrow().get(&task).cloned().expect("a failing child has stored its reason")
    }
}

impl Machine {
    /// The outcome of a task, even if its group has taken the error.
    pub(crate) fn outcome<E: Failure>(
        &self,
        task: TaskId,
        result: Result<Result<Option<i64>, E>, TaskError>,
    ) -> Outcome {
        result.map(|output| output.map_err(|error| error.text(self, task)))
    }

    pub(crate) fn describe<E: Failure>(&self, task: &TaskOf<E>) -> String {
        if task.is_done() {
            describe_outcome(&self.outcome(task.id(), task.result().map(|output| output.clone())))
        } else {
            "pending".into()
        }
    }
}

pub(crate) fn describe_outcome(outcome: &Outcome) -> String {
    match outcome {
        Ok(output) => describe_output(output),
        Err(error) => describe_error(error),
    }
}

pub(crate) fn describe_output(output: &Output) -> String {
    match output {
        Ok(Some(value)) => format!("ok {value}"),
        Ok(None) => "ok None".into(),
        Err(text) => format!("err {text}"),
    }
}

pub(crate) fn describe_error(error: &TaskError) -> String {
    match error {
        TaskError::Cancelled => "cancelled".into(),
        // Programs do not panic, so this panic is a bug of the crate.
        TaskError::Panicked(panic) => format!("panicked: {}", panic.message()),
    }
}

pub(crate) fn describe_all(outcomes: &[Outcome]) -> String {
    format!("[{}]", outcomes.iter().map(describe_outcome).collect::<Vec<_>>().join(", "))
}

pub(crate) fn describe_values(values: Result<Vec<Option<i64>>, TryGatherError<String>>) -> String {
    match values {
        Ok(values) => {
            let values = values.into_iter().map(|value| describe_output(&Ok(value)));
            format!("[{}]", values.collect::<Vec<_>>().join(", "))
        }
        Err(TryGatherError::Failed(text)) => format!("err {text}"),
        Err(TryGatherError::Task(error)) => describe_error(&error),
    }
}
