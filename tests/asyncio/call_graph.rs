//! `test_graph.py` and `test_tools.py`: which task awaits which, and how this is shown. The
//! originals of the tools' tests pass lists. Here they are programs whose tasks await each other. A
//! function's frame is not known, so of a chain of calls only the innermost await is shown.

use crate::common::virtual_loop;
use futures_util::future::join_all;
use onelane::sync::Event;
use onelane::{CallGraph, EventLoop, Task, TaskId, task};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

fn named<T: 'static>(name: &str, future: impl Future<Output = T> + 'static) -> Task<T> {
    task::Builder::new().name(name).spawn(future)
}

async fn for_ever() {
    Event::new().wait().await;
}

/// A loop in which each task awaits the tasks named beside it, or an event that is never set.
fn awaiting(edges: &[(&'static str, &[&'static str])]) -> EventLoop {
    let event_loop = virtual_loop();
    let tasks = Rc::new(RefCell::new(BTreeMap::<&str, Rc<Task<()>>>::new()));
    for &(name, awaited) in edges {
        let (copy, awaited) = (tasks.clone(), awaited.to_vec());
        let task = event_loop.spawn(async move {
            let tasks: Vec<_> = awaited.iter().map(|name| copy.borrow()[name].clone()).collect();
            if tasks.is_empty() {
                return for_ever().await;
            }
            join_all(tasks.iter().map(|task| (&**task).into_future())).await;
        });
        task.set_name(name);
        tasks.borrow_mut().insert(name, Rc::new(task));
    }
    event_loop.turn();
    event_loop
}

/// The names of the tasks that await a task.
fn awaited_by(graph: &CallGraph, name: &str) -> Vec<String> {
    let id = graph.tasks.iter().find(|task| task.name == name).unwrap().id;
    graph.awaited_by(id).map(|task| task.name.clone()).collect()
}

/// The circles by name, each beginning with the task that was spawned first.
fn circles(graph: &CallGraph) -> Vec<Vec<&str>> {
    let name = |id: TaskId| graph.task(id).unwrap().name.as_str();
    graph.circles().into_iter().map(|circle| circle.into_iter().map(name).collect()).collect()
}

/// The tree, without the places.
fn tree(graph: &CallGraph) -> Vec<String> {
    graph.to_string().lines().map(|line| line.split(", at ").next().unwrap().to_string()).collect()
}

/// The columns of each line of the table, without the places.
fn table(graph: &CallGraph) -> Vec<Vec<String>> {
    let columns = |line: &str| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).enumerate();
        cells.filter(|&(column, _)| column != 4).map(|(_, cell)| cell.to_string()).collect()
    };
    graph.ps().lines().map(columns).collect()
}

mod call_stack_test_base {
    use super::{awaited_by, for_ever, named};
    use crate::common::{ms, virtual_loop};
    use onelane::{
        CallGraph, Promise, call_graph, current_task, gather, shield, spawn, task_group, timeout, wait, yield_now,
    };
    use std::rc::Rc;

    /// The graph of a program after it has run until nothing is ready.
    fn graph_of(main: impl Future + 'static) -> CallGraph {
        let event_loop = virtual_loop();
        event_loop.spawn(async {
            current_task().unwrap().set_name("main");
            drop(main.await);
        });
        while !event_loop.turn().is_idle() {}
        event_loop.call_graph()
    }

    #[test]
    fn test_stack_tgroup() {
        let graph = graph_of(async {
            let group = task_group(async |group| {
                let shared = Rc::new(group.spawn(for_ever()));
                shared.set_name("c2_root");
                for name in ["sub_main_1", "sub_main_2"] {
                    let shared = shared.clone();
                    group.spawn(async move { (&*shared).await.unwrap() }).set_name(name);
                }
            });
            group.await
        });
        assert_eq!(awaited_by(&graph, "c2_root"), ["main", "sub_main_1", "sub_main_2"]);
        assert_eq!(awaited_by(&graph, "sub_main_1"), ["main"]);
        assert_eq!(awaited_by(&graph, "sub_main_2"), ["main"]);
        assert!(awaited_by(&graph, "main").is_empty());
    }

    /// The child captures the graph.
    #[test]
    fn test_stack_gather() {
        virtual_loop().run(async {
            current_task().unwrap().set_name("main");
            let child = named("child", async {
                yield_now().await;
                call_graph()
            });
            let graph = gather([child]).await.unwrap().pop().unwrap();
            assert_eq!(awaited_by(&graph, "child"), ["main"]);
            let [wait] = &*graph.tasks[0].waits_for else { panic!("{graph}") };
            assert_eq!((wait.at.file(), wait.at.line()), (file!(), line!() - 3));
        });
    }

    #[test]
    fn test_stack_shield() {
        let graph = graph_of(async { shield(named("inner", for_ever())).await });
        assert_eq!(awaited_by(&graph, "inner"), ["main"]);
    }

    #[test]
    fn test_stack_timeout() {
        let graph = graph_of(async { timeout(ms(1000), named("inner", for_ever()).into_future()).await });
        assert_eq!(awaited_by(&graph, "inner"), ["main"]);
        let waits: Vec<usize> = graph.tasks.iter().map(|task| task.waits_for.len()).collect();
        assert_eq!(waits, [1, 1]);
    }

    #[test]
    fn test_stack_wait() {
        let graph = graph_of(async {
            let tasks = ["one", "other"].map(|name| named(name, for_ever()));
            wait(&tasks).await.0.len()
        });
        assert_eq!([awaited_by(&graph, "one"), awaited_by(&graph, "other")], [["main"], ["main"]]);
    }

    #[test]
    fn test_stack_task() {
        let line = line!() + 1;
        let graph = graph_of(async { named("there there", for_ever()).await });
        assert_eq!(awaited_by(&graph, "there there"), ["main"]);
        let wait = &graph.tasks[0].waits_for[0];
        assert_eq!((wait.what.as_str(), wait.at.line()), ("task \"there there\"", line));
    }

    /// A promise is not a task, so the description of the wait names it.
    #[test]
    fn test_stack_future() {
        let graph = graph_of(async {
            let promise = Rc::new(Promise::<()>::new());
            for _ in 0..2 {
                let promise = promise.clone();
                spawn(async move { (&*promise).await.unwrap() });
            }
            (&*promise).await
        });
        let waits: Vec<&str> = graph.tasks.iter().map(|task| task.waits_for[0].what.as_str()).collect();
        assert!(waits[0].starts_with("a promise made at "), "{waits:?}");
        assert_eq!(waits, [waits[0]; 3]);
    }
}

mod base_task_tests {
    use super::{for_ever, named};
    use crate::common::virtual_loop;
    use onelane::{call_graph, yield_now};

    #[test]
    fn test_task_repr_wait_for() {
        virtual_loop().run(async {
            let task = named("task", for_ever());
            yield_now().await;
            let graph = call_graph();
            let wait = &graph.task(task.id()).unwrap().waits_for[0];
            assert!(wait.what.contains("event"), "{}", wait.what);
        });
    }
}

mod test_asyncio_tools_tree {
    use super::{awaiting, circles, tree};

    /// Two roots that share their children, and one separate task.
    #[test]
    fn test_asyncio_utils() {
        let graph = awaiting(&[
            ("timer", &[]),
            ("root1", &["child1", "child2"]),
            ("root2", &["child1", "child2"]),
            ("child1", &["timer"]),
            ("child2", &["timer"]),
            ("alone", &[]),
        ])
        .call_graph();
        let lines = tree(&graph);
        let named: Vec<&str> = lines.iter().filter(|line| line.contains("(T)")).map(String::as_str).collect();
        assert_eq!(
            named,
            [
                "└── (T) root1",
                "    │   └── (T) child1",
                "    │           └── (T) timer",
                "        └── (T) child2",
                "                └── (T) timer, see above",
                "└── (T) root2",
                "    │   └── (T) child1, see above",
                "        └── (T) child2, see above",
                "└── (T) alone",
            ]
        );
        // Between the tasks are the waits of each task.
        assert_eq!(lines[1], "    ├── task \"child1\"");
        assert_eq!(lines.iter().filter(|line| line.contains("── task \"")).count(), 6);
    }

    #[test]
    fn test_asyncio_utils_cycles() {
        let graph = awaiting(&[("Task-1", &[]), ("Task-2", &["Task-3"]), ("Task-3", &["Task-2"])]).call_graph();
        assert_eq!(circles(&graph), [["Task-2", "Task-3"]]);
        assert_eq!(
            tree(&graph)[2..],
            [
                "└── (T) Task-2",
                "    └── task \"Task-3\"",
                "        └── (T) Task-3",
                "            └── task \"Task-2\"",
                "                └── (T) Task-2, cycle: Task-2 -> Task-3 -> Task-2",
            ]
        );
    }
}

mod test_asyncio_tools_table {
    use super::{awaiting, table};

    #[test]
    fn test_asyncio_utils() {
        let graph = awaiting(&[("timer", &[]), ("one", &["timer"]), ("two", &["timer", "one"])]).call_graph();
        let rows = table(&graph);
        assert_eq!(rows[0], ["id", "name", "state", "waits for", "awaited by"]);
        assert_eq!(rows[1][..3], ["1", "timer", "waiting"]);
        assert_eq!(rows[1][4], "one, two");
        assert_eq!(rows[2], ["2", "one", "waiting", "task \"timer\"", "two"]);
        assert_eq!(rows[3], ["3", "two", "waiting", "task \"timer\"; task \"one\"", "-"]);
    }
}

mod test_asyncio_tools_basic {
    use super::{awaited_by, awaiting, circles, for_ever, table, tree};
    use crate::common::virtual_loop;

    #[test]
    fn test_empty_input_tree() {
        let graph = virtual_loop().call_graph();
        assert_eq!((graph.to_string(), circles(&graph).len()), (String::new(), 0));
    }

    #[test]
    fn test_only_independent_tasks_tree() {
        let graph = awaiting(&[("taskA", &[]), ("taskB", &[])]).call_graph();
        let roots: Vec<_> = tree(&graph).into_iter().step_by(2).collect();
        assert_eq!(roots, ["└── (T) taskA", "└── (T) taskB"]);
    }

    #[test]
    fn test_only_independent_tasks_table() {
        let graph = awaiting(&[("taskA", &[]), ("taskB", &[])]).call_graph();
        let rows = table(&graph);
        let short: Vec<_> = rows[1..].iter().map(|row| [0, 1, 4].map(|column| row[column].as_str())).collect();
        assert_eq!(short, [["1", "taskA", "-"], ["2", "taskB", "-"]]);
    }

    #[test]
    fn test_cycle_detection() {
        let graph = awaiting(&[("a", &["b"]), ("b", &["a"])]).call_graph();
        assert_eq!(circles(&graph), [["a", "b"]]);
    }

    #[test]
    fn test_complex_tree() {
        let graph = awaiting(&[("t1", &["t2", "t3"]), ("t2", &["t4"]), ("t3", &["t4"]), ("t4", &[])]).call_graph();
        assert_eq!(awaited_by(&graph, "t4"), ["t2", "t3"]);
        let lines = tree(&graph);
        let named: Vec<&str> = lines.iter().filter_map(|line| line.split_once("(T) ")).map(|(_, name)| name).collect();
        assert_eq!(named, ["t1", "t2", "t4", "t3", "t4, see above"]);
    }

    /// A chain of nested function calls is shown as one await.
    #[test]
    fn test_deep_coroutine_chain() {
        async fn call(depth: u32) {
            if depth == 0 { for_ever().await } else { Box::pin(call(depth - 1)).await }
        }
        let event_loop = virtual_loop();
        event_loop.spawn(call(10)).set_name("leaf");
        event_loop.turn();
        let lines = tree(&event_loop.call_graph());
        assert_eq!((lines[0].as_str(), lines.len()), ("└── (T) leaf", 2));
    }

    #[test]
    fn test_multiple_cycles_same_node() {
        let graph = awaiting(&[("A", &["B", "C"]), ("B", &["A"]), ("C", &["A"])]).call_graph();
        assert_eq!(circles(&graph), [["A", "B"], ["A", "C"]]);
        let lines = tree(&graph);
        let told: Vec<_> =
            lines.iter().filter_map(|line| line.split_once("cycle: ")).map(|(_, circle)| circle).collect();
        assert_eq!(told, ["A -> B -> A", "A -> C -> A"]);
    }

    /// One line for each task, with aligned columns.
    #[test]
    fn test_table_output_format() {
        let graph = awaiting(&[("short", &[]), ("a much longer name", &["short"])]).call_graph();
        let text = graph.ps();
        let lines: Vec<&str> = text.lines().collect();
        let begin = lines[0].find("state").unwrap();
        assert_eq!((lines.len(), begin), (3, "id  a much longer name  ".len()));
        assert!(lines[1..].iter().all(|line| line[begin..].starts_with("waiting  ")));
        assert!(lines.iter().all(|line| line.trim_end() == *line));
    }
}

mod test_asyncio_tools_edge_cases {
    use super::{awaiting, table};
    use crate::common::{telling_loop, virtual_loop};
    use onelane::Task;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A task that awaits itself panics.
    #[test]
    fn test_task_awaits_self() {
        let (event_loop, told) = telling_loop();
        let chair = Rc::new(RefCell::new(None::<Task<()>>));
        let copy = chair.clone();
        let task = event_loop.spawn(async move {
            let itself = copy.take().unwrap();
            itself.await.unwrap();
        });
        task.set_name("self");
        chair.replace(Some(task));
        event_loop.turn();
        let [line] = &*told.take() else { panic!("it was not reported once") };
        assert!(line.ends_with("task \"self\" awaits itself, and would wait for ever; await another task, or none"));
        assert!(event_loop.call_graph().tasks.is_empty());
    }

    /// A task of another loop is not part of the graph.
    #[test]
    fn test_task_with_missing_awaiter_id() {
        let other = virtual_loop();
        let awaited = other.remote().spawn(std::future::pending::<()>()).unwrap();
        let event_loop = virtual_loop();
        event_loop.spawn(awaited).set_name("awaiter");
        event_loop.turn();
        other.turn();
        other.turn();
        let (here, there) = (table(&event_loop.call_graph()), table(&other.call_graph()));
        assert_eq!(
            here[1][1..],
            ["awaiter", "waiting", "a task spawned by a Remote; possibly woken from outside", "-"]
        );
        assert_eq!(there[1][2..], ["waiting", "a future that is not onelane's, and its last waker was dropped", "-"]);
    }

    /// A name may be empty.
    #[test]
    fn test_task_with_no_name() {
        let graph = awaiting(&[("", &[]), ("b", &[""])]).call_graph();
        let rows = table(&graph);
        assert_eq!(rows[1][..2], ["1", "-"]);
        assert_eq!(rows[2][3], "task \"\"");
    }
}
