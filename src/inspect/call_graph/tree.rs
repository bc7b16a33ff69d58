//! The call graph as a tree: a task, below it what it waits for, below that the tasks that it
//! awaits.
//!
//! ```text
//!   +-- (T) main-1
//!       +-- a gather of "a-2", "b-3", at src/main.rs:4:9      a wait, and its place
//!           +-- (T) a-2                                       an awaited task
//!           |   +-- task "b-3", at src/main.rs:9:5
//!           |       +-- (T) b-3
//!           |           +-- ...
//!           +-- (T) b-3, see above                            drawn once
//! ```
//!
//! No recursion, and time proportional to the output: each task is drawn once. After some levels a
//! tree is broken off and continues at the left, because the margins of a chain would take the
//! square of its length.

use crate::inspect::call_graph::{CallGraph, Plain, TaskSnapshot, walk};
use crate::task::{TaskId, TaskState};
use std::fmt;

/// Number of levels after which a tree continues at the left.
const LEVELS: usize = 16;

/// A circle of more tasks than this is shown in short.
const LONG_CIRCLE: usize = 12;

impl fmt::Display for CallGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut drawing = Drawing {
            graph: self,
            drawn_in: vec![None; self.tasks.len()],
            depths: vec![None; self.tasks.len()],
            path: Vec::new(),
            margin: String::new(),
            trees: Vec::new(),
        };
        roots(self).into_iter().for_each(|root| drawing.draw(root));
        let text = drawing.trees.concat();
        f.write_str(text.strip_suffix('\n').unwrap_or(&text))
    }
}

/// Where to begin: tasks that no task awaits; and of a circle that no task awaits, the task that
/// was spawned first. In the order in which they were spawned.
pub(super) fn roots(graph: &CallGraph) -> Vec<usize> {
    let edges = graph.edges(TaskSnapshot::awaited);
    // Depth first, a task is left after the tasks that it awaits, except in circles. So the tasks
    // are taken in reverse order. Each one that no earlier one has reached is a root.
    let mut left = Vec::new();
    walk(&edges, 0..edges.len(), |_, _| (), |place| left.push(place));
    let mut reached = vec![false; edges.len()];
    let mut roots = Vec::new();
    let mut ahead = Vec::new();
    for root in left.into_iter().rev() {
        if reached[root] {
            continue;
        }
        roots.push(root);
        ahead.push(root);
        while let Some(place) = ahead.pop() {
            if !std::mem::replace(&mut reached[place], true) {
                ahead.extend(edges[place].iter().filter(|&&next| !reached[next]));
            }
        }
    }
    roots.sort_unstable();
    roots
}

struct Drawing<'a> {
    graph: &'a CallGraph,
    /// In which tree a task was drawn.
    drawn_in: Vec<Option<usize>>,
    /// The position of a task in the path.
    depths: Vec<Option<usize>>,
    /// The path from a root to the current task.
    path: Vec<Branch>,
    /// The left margin of the next line, after that of the trees that were broken off.
    margin: String,
    /// The parts of the text, in the order in which they were begun.
    trees: Vec<String>,
}

/// A task in the path.
struct Branch {
    place: usize,
    /// The wait whose tasks are drawn now or next.
    wait: usize,
    /// How many of that wait's tasks were drawn, if it was begun.
    followed: Option<usize>,
    tree: usize,
    /// Number of tasks above it in its tree.
    level: usize,
    /// The length of the margin before the tree began, and before the task was drawn.
    tree_margin: usize,
    margin: usize,
}

impl Drawing<'_> {
    fn draw(&mut self, root: usize) {
        self.begin_tree(root);
        while let Some(branch) = self.path.last_mut() {
            let waits = &self.graph.tasks[branch.place].waits_for;
            let Some(wait) = waits.get(branch.wait) else {
                self.leave();
                continue;
            };
            match branch.followed {
                None => {
                    branch.followed = Some(0);
                    let (tree, from, is_last) = (branch.tree, branch.tree_margin, branch.wait + 1 == waits.len());
                    let text = format!("{}, at {}", Plain(&wait.what), wait.at);
                    self.line(tree, from, is_last, &text);
                    self.margin.push_str(if is_last { "    " } else { "│   " });
                }
                Some(followed) if followed < wait.tasks.len() => {
                    branch.followed = Some(followed + 1);
                    self.follow(wait.tasks[followed], followed + 1 == wait.tasks.len());
                }
                Some(_) => {
                    (branch.wait, branch.followed) = (branch.wait + 1, None);
                    let is_last = branch.wait == waits.len();
                    self.margin.truncate(self.margin.len() - if is_last { "    ".len() } else { "│   ".len() });
                }
            }
        }
    }

    /// Handles a task that the current task awaits: draws it here, or names it with where it is
    /// drawn.
    fn follow(&mut self, id: TaskId, is_last: bool) {
        let above = self.path.last().expect("a root is above");
        let (tree, tree_margin, level) = (above.tree, above.tree_margin, above.level + 1);
        let Some(place) = self.graph.place_of(id) else {
            return self.line(tree, tree_margin, is_last, &format!("(T) task {id}, which is not in here"));
        };
        let name = self.name(place);
        if let Some(depth) = self.depths[place] {
            let text = format!("(T) {name}, cycle: {}", self.circle(depth));
            self.line(tree, tree_margin, is_last, &text);
        } else if let Some(drawn_in) = self.drawn_in[place] {
            let direction = if drawn_in <= tree { "above" } else { "below" };
            self.line(tree, tree_margin, is_last, &format!("(T) {name}, see {direction}"));
        } else if level == LEVELS {
            self.line(tree, tree_margin, is_last, &format!("(T) {name}, see below"));
            self.begin_tree(place);
        } else {
            self.enter(
                Branch { place, wait: 0, followed: None, tree, level, tree_margin, margin: self.margin.len() },
                is_last,
            );
        }
    }

    fn begin_tree(&mut self, place: usize) {
        self.trees.push(String::new());
        let (tree, margin) = (self.trees.len() - 1, self.margin.len());
        self.enter(Branch { place, wait: 0, followed: None, tree, level: 0, tree_margin: margin, margin }, true);
    }

    fn enter(&mut self, branch: Branch, is_last: bool) {
        let (place, tree, from) = (branch.place, branch.tree, branch.tree_margin);
        let task = &self.graph.tasks[place];
        let state = match task.state {
            TaskState::Queued => ", queued",
            TaskState::Running => ", running",
            TaskState::Waiting | TaskState::Done => "",
        };
        self.line(tree, from, is_last, &format!("(T) {}{state}", Plain(&task.name)));
        self.margin.push_str(if is_last { "    " } else { "│   " });
        if let Some(note) = task.note() {
            self.line(tree, from, task.waits_for.is_empty(), note);
        }
        self.drawn_in[place] = Some(tree);
        self.depths[place] = Some(self.path.len());
        self.path.push(branch);
    }

    fn leave(&mut self) {
        if let Some(branch) = self.path.pop() {
            self.margin.truncate(branch.margin);
            self.depths[branch.place] = None;
        }
    }

    fn name(&self, place: usize) -> String {
        Plain(&self.graph.tasks[place].name).to_string()
    }

    /// The closing circle: the path from this depth on.
    fn circle(&self, depth: usize) -> String {
        let places = || self.path[depth..].iter().map(|branch| branch.place);
        let length = self.path.len() - depth;
        let (first, last) = if length > LONG_CIRCLE { (LONG_CIRCLE / 2, LONG_CIRCLE / 2) } else { (length, 0) };
        let mut words: Vec<String> = places().take(first).map(|place| self.name(place)).collect();
        if length > first + last {
            words.push(format!("({} more)", length - first - last));
        }
        words.extend(places().skip(length - last).map(|place| self.name(place)));
        words.extend(places().next().map(|place| self.name(place)));
        words.join(" -> ")
    }

    fn line(&mut self, tree: usize, from: usize, is_last: bool, text: &str) {
        let branch = if is_last { "└── " } else { "├── " };
        for part in [&self.margin[from..], branch, text, "\n"] {
            self.trees[tree].push_str(part);
        }
    }
}
