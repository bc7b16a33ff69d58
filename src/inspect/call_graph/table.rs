//! The call graph as a table with one line per task, and as JSON with all its data.

use crate::inspect::call_graph::{CallGraph, Plain, TaskSnapshot, WaitSnapshot, word_for};
use crate::inspect::json::{Text, list};
use std::fmt::Write as _;
use std::panic::Location;

/// Cells of up to this many characters determine the width of their column. One line may contain a
/// gather of ten thousand tasks, and the other lines are not padded to that width.
const WIDEST: usize = 60;

const HEAD: [&str; 6] = ["id", "name", "state", "waits for", "at", "awaited by"];

impl CallGraph {
    /// Returns a table: a header, and one line per task, in the order in which the tasks were
    /// spawned.
    ///
    /// The columns are the task's id, its name, its state, what it waits for, where, and the tasks
    /// that await it. Several waits are separated by `;`. An empty cell is `-`. No text is cut: one
    /// of more than 60 characters moves the rest of its line to the right.
    ///
    /// asyncio: `python -m asyncio ps`.
    ///
    /// # Cost
    ///
    /// The text, and twice its memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, call_graph, sync::Event, task, yield_now};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     task::Builder::new().name("reader").spawn(async { Event::new().wait().await });
    ///     yield_now().await;
    ///     let table = call_graph().ps();
    ///     let words: Vec<&str> = table.lines().nth(2).unwrap().split_whitespace().collect();
    ///     assert_eq!(words[..3], ["2", "reader", "waiting"]);
    /// });
    /// ```
    pub fn ps(&self) -> String {
        let awaiters = self.awaiters();
        let mut rows = vec![HEAD.map(String::from)];
        rows.extend(self.tasks.iter().zip(&awaiters).map(|(task, awaiters)| self.row(task, awaiters)));
        let width = |column: usize| {
            let letters = rows.iter().map(|row| row[column].chars().count());
            letters.filter(|&letters| letters <= WIDEST).max().unwrap_or(0)
        };
        let widths: [usize; HEAD.len()] = std::array::from_fn(width);
        let mut out = String::new();
        for row in &rows {
            let (last, cells) = row.split_last().expect("there are six");
            for (cell, width) in cells.iter().zip(widths) {
                // Pads by characters, not by bytes.
                let _ = write!(out, "{cell:<width$}  ");
            }
            out.push_str(last);
            out.push('\n');
        }
        out
    }

    fn row(&self, task: &TaskSnapshot, awaiters: &[usize]) -> [String; HEAD.len()] {
        let waits =
            |word: &dyn Fn(&WaitSnapshot) -> String| -> Vec<String> { task.waits_for.iter().map(word).collect() };
        let mut what = waits(&|wait| Plain(&wait.what).to_string());
        what.extend(task.note().map(String::from));
        let names: Vec<String> = awaiters.iter().map(|&place| Plain(&self.tasks[place].name).to_string()).collect();
        [
            task.id.to_string(),
            or_dash(Plain(&task.name).to_string()),
            word_for(task.state).into(),
            or_dash(what.join("; ")),
            or_dash(waits(&|wait| wait.at.to_string()).join("; ")),
            or_dash(names.join(", ")),
        ]
    }

    /// Returns all data of the graph as JSON in one line.
    ///
    /// ```text
    /// {
    ///   "tasks": [
    ///     {
    ///       "id": 2,
    ///       "name": "worker",
    ///       "state": "waiting",              or "queued", "running"
    ///       "spawned_at": {"file": "src/main.rs", "line": 4, "column": 9},
    ///       "waits_for": [
    ///         {
    ///           "what": "a sleep, 1.500 s more",
    ///           "at": {"file": "src/main.rs", "line": 9, "column": 30},
    ///           "tasks": [],                 numbers of tasks that are awaited
    ///           "held_by": [],               numbers of tasks
    ///           "seconds_left": 1.500000000  or null, if it does not end by itself
    ///         }
    ///       ],
    ///       "awaited_by": [1],               numbers of tasks
    ///       "outside_wakers": null           or a number
    ///     }
    ///   ],
    ///   "circles": [[3, 4]]                  numbers of tasks
    /// }
    /// ```
    ///
    /// The tasks are in the order in which they were spawned. All control characters in texts are
    /// escaped, so that a name cannot affect a terminal.
    ///
    /// # Cost
    ///
    /// The text, and the lists of which task awaits which.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, call_graph};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let json = call_graph().to_json();
    ///     let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    ///     assert_eq!(value["tasks"][0]["state"], "running");
    /// });
    /// ```
    pub fn to_json(&self) -> String {
        let awaiters = self.awaiters();
        let mut out = String::from("{\"tasks\":");
        list(&mut out, self.tasks.iter().zip(&awaiters), |out, (task, awaiters)| self.write_task(out, task, awaiters));
        out.push_str(",\"circles\":");
        list(&mut out, self.circles(), |out, circle| write_numbers(out, circle.iter().map(|id| id.0)));
        out.push('}');
        out
    }

    fn write_task(&self, out: &mut String, task: &TaskSnapshot, awaiters: &[usize]) {
        let (name, state) = (Text(&task.name), word_for(task.state));
        let _ = write!(out, "{{\"id\":{},\"name\":{name},\"state\":\"{state}\",\"spawned_at\":", task.id.0);
        write_place(out, task.spawned_at);
        out.push_str(",\"waits_for\":");
        list(out, &task.waits_for, |out, wait| self.write_wait(out, wait));
        out.push_str(",\"awaited_by\":");
        write_numbers(out, awaiters.iter().map(|&place| self.tasks[place].id.0));
        out.push_str(",\"outside_wakers\":");
        match task.outside_wakers {
            Some(wakers) => _ = write!(out, "{wakers}}}"),
            None => out.push_str("null}"),
        }
    }

    fn write_wait(&self, out: &mut String, wait: &WaitSnapshot) {
        let _ = write!(out, "{{\"what\":{},\"at\":", Text(&wait.what));
        write_place(out, wait.at);
        for (key, ids) in [("tasks", &wait.tasks), ("held_by", &wait.held_by)] {
            let _ = write!(out, ",\"{key}\":");
            write_numbers(out, ids.iter().map(|id| id.0));
        }
        out.push_str(",\"seconds_left\":");
        match wait.until.map(|until| until.saturating_duration_since(self.time)) {
            Some(left) => _ = write!(out, "{}.{:09}}}", left.as_secs(), left.subsec_nanos()),
            None => out.push_str("null}"),
        }
    }
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

fn write_place(out: &mut String, at: &Location<'_>) {
    let (file, line, column) = (Text(at.file()), at.line(), at.column());
    let _ = write!(out, "{{\"file\":{file},\"line\":{line},\"column\":{column}}}");
}

fn write_numbers(out: &mut String, numbers: impl Iterator<Item = u64>) {
    list(out, numbers, |out, number| _ = write!(out, "{number}"));
}
