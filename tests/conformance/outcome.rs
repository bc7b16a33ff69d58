//! What a task comes to, as text.
//!
//! A body gives an integer or nothing, or it raises. A task of the program's own has that as its output. A child of a
//! group does not: the group takes its error, and who awaits the child is given [`Failed`]. The machine remembers these
//! errors, so that both sorts of task look the same in a trace, as in Python. Read `levels_a_to_c.rs` next.

use crate::machine::Machine;
use onelane::{Failed, Task, TaskError, TaskId, TaskRef, TryGatherError};
use std::rc::Rc;

/// What a body gives.
pub(crate) type Output = Result<Option<i64>, String>;

/// What a task comes to.
pub(crate) type Outcome = Result<Output, TaskError>;

/// A task whose body fails with an `E`.
pub(crate) type TaskOf<E> = Task<Result<Option<i64>, E>>;

/// The task that a variable is bound to.
#[derive(Clone)]
pub(crate) enum Variable {
    Plain(Rc<TaskOf<String>>),
    Child(Rc<TaskOf<Failed>>),
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

/// Tasks with the names of their variables. A list of tasks is of one sort, so a program never mixes the two.
pub(crate) enum Several {
    Plain(Vec<Named<String>>),
    Children(Vec<Named<Failed>>),
}

pub(crate) type Named<E> = (String, Rc<TaskOf<E>>);

/// Why a body has failed.
pub(crate) trait Failure: Clone + 'static {
    fn text(self, machine: &Machine, task: TaskId) -> String;
}

impl Failure for String {
    fn text(self, _: &Machine, _: TaskId) -> String {
        self
    }
}

impl Failure for Failed {
    fn text(self, machine: &Machine, task: TaskId) -> String {
        machine.failures.borrow().get(&task).cloned().expect("a child that fails says why")
    }
}

impl Machine {
    /// What a task has come to, whose group may have taken its error.
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
        // No program panics: the crate did.
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
