//! Graphs that are put together by hand: trees, circles, tables and JSON of shapes that programs
//! rarely have.

use super::*;
use crate::inspect::PLACE;
use std::collections::BTreeSet;

/// Tasks 1 to n: for each task its waits, and for each wait the tasks that are awaited.
fn graph(waits: &[&[&[u64]]]) -> CallGraph {
    let tasks =
        (1..).zip(waits).map(|(id, waits)| task(id, waits.iter().map(|tasks| wait("all", tasks, &[])).collect()));
    CallGraph { time: Instant::now(), tasks: tasks.collect() }
}

fn task(id: u64, waits_for: Vec<WaitSnapshot>) -> TaskSnapshot {
    let name = format!("t-{id}");
    let spawned_at = Location::caller();
    TaskSnapshot { id: TaskId(id), name, state: TaskState::Waiting, spawned_at, waits_for, outside_wakers: None }
}

fn wait(what: &str, tasks: &[u64], held_by: &[u64]) -> WaitSnapshot {
    let ids = |numbers: &[u64]| numbers.iter().map(|&number| TaskId(number)).collect();
    WaitSnapshot { what: what.into(), at: PLACE, tasks: ids(tasks), held_by: ids(held_by), until: None }
}

/// The tree, without source locations.
fn tree(graph: &CallGraph) -> Vec<String> {
    graph.to_string().replace(&format!(", at {PLACE}"), "").lines().map(String::from).collect()
}

fn numbers(circles: Vec<Vec<TaskId>>) -> Vec<Vec<u64>> {
    circles.into_iter().map(|circle| circle.into_iter().map(|id| id.0).collect()).collect()
}

#[test]
fn draw_nothing() {
    let graph = graph(&[]);
    assert_eq!((graph.to_string(), graph.circles().len()), (String::new(), 0));
    assert_eq!(graph.to_json(), r#"{"tasks":[],"circles":[]}"#);
    assert_eq!(graph.ps(), "id  name  state  waits for  at  awaited by\n");
}

#[test]
fn draw_states_and_waits_in_their_order() {
    let mut graph = graph(&[&[], &[&[], &[]], &[]]);
    graph.tasks[0].state = TaskState::Running;
    graph.tasks[1].state = TaskState::Queued;
    graph.tasks[1].waits_for[1].what = "a\u{1b}sleep\n".into();
    graph.tasks[2].name = "tab\tétoile\u{202e}".into();
    assert_eq!(
        tree(&graph),
        [
            "└── (T) t-1, running",
            "└── (T) t-2, queued",
            "    ├── all",
            r"    └── a\u{1b}sleep\n",
            r"└── (T) tab\tétoile\u{202e}",
            "    └── a future that is not onelane's",
        ]
    );
}

/// If a shared task were drawn below each of its awaiters, the end of one diamond would be drawn
/// twice, and the end of a chain of ten diamonds a thousand times.
#[test]
fn draw_each_task_once() {
    let graph = graph(&[&[&[2, 3]], &[&[4]], &[&[4], &[]], &[&[]]]);
    assert_eq!(
        tree(&graph),
        [
            "└── (T) t-1",
            "    └── all",
            "        ├── (T) t-2",
            "        │   └── all",
            "        │       └── (T) t-4",
            "        │           └── all",
            "        └── (T) t-3",
            "            ├── all",
            "            │   └── (T) t-4, see above",
            "            └── all",
        ]
    );
}

#[test]
fn begin_with_those_whom_nobody_awaits() {
    // Task 3 awaits task 2. A cycle of tasks awaits task 1. The cycle is drawn at the position of
    // its first task, in the order of creation.
    let graph = graph(&[&[&[]], &[&[]], &[&[2]], &[&[5, 1]], &[&[4]], &[&[]]]);
    assert_eq!(
        tree(&graph),
        [
            "└── (T) t-3",
            "    └── all",
            "        └── (T) t-2",
            "            └── all",
            "└── (T) t-4",
            "    └── all",
            "        ├── (T) t-5",
            "        │   └── all",
            "        │       └── (T) t-4, cycle: t-4 -> t-5 -> t-4",
            "        └── (T) t-1",
            "            └── all",
            "└── (T) t-6",
            "    └── all",
        ]
    );
    assert_eq!(numbers(graph.circles()), [[4, 5]]);
}

/// If one circle leads into another, the tree begins with the first, even if the tasks of the
/// second were spawned earlier.
#[test]
fn begin_with_the_circle_that_leads_to_the_others() {
    let graph = graph(&[&[&[2]], &[&[1]], &[&[4]], &[&[3, 2]]]);
    assert_eq!(
        tree(&graph),
        [
            "└── (T) t-3",
            "    └── all",
            "        └── (T) t-4",
            "            └── all",
            "                ├── (T) t-3, cycle: t-3 -> t-4 -> t-3",
            "                └── (T) t-2",
            "                    └── all",
            "                        └── (T) t-1",
            "                            └── all",
            "                                └── (T) t-2, cycle: t-2 -> t-1 -> t-2",
        ]
    );
    assert_eq!(numbers(graph.circles()), [[1, 2], [3, 4]]);
}

#[test]
fn close_circles_with_what_is_held() {
    let mut graph = graph(&[&[&[2]], &[], &[&[3]]]);
    graph.tasks[1].waits_for.push(wait("a lock, held by \"t-1\"", &[], &[1]));
    assert_eq!(
        tree(&graph),
        [
            "└── (T) t-1",
            "    └── all",
            "        └── (T) t-2",
            "            └── a lock, held by \"t-1\"",
            "└── (T) t-3",
            "    └── all",
            "        └── (T) t-3, cycle: t-3 -> t-3",
        ]
    );
    assert_eq!(numbers(graph.circles()), [vec![1, 2], vec![3]]);
}

#[test]
fn name_tasks_that_are_not_there() {
    let graph = graph(&[&[&[7, 2]], &[]]);
    let lines = tree(&graph);
    assert_eq!(lines[2..4], ["        ├── (T) task 7, which is not in here", "        └── (T) t-2"]);
    assert_eq!(graph.awaiters(), [vec![], vec![0]]);
}

/// A long chain does not overflow the stack, and neither text nor time grows with the square of its
/// length. The last task awaits the first, so that there is a circle too.
#[test]
fn draw_long_chains() {
    const LENGTH: u64 = 20_000;
    let next = |id: u64| if id == LENGTH { 1 } else { id + 1 };
    let tasks = (1..=LENGTH).map(|id| task(id, vec![wait("x", &[next(id)], &[])])).collect();
    let graph = CallGraph { time: Instant::now(), tasks };
    let text = graph.to_string();
    assert!(text.len() < 300 * LENGTH as usize, "{} bytes", text.len());
    let lines = tree(&graph);
    let hints = lines.iter().filter(|line| line.ends_with(", see below")).count();
    assert_eq!((hints, lines.len()), (LENGTH as usize / 16 - 1, 2 * LENGTH as usize + hints + 1));
    let closing = format!("cycle: t-1 -> t-2 -> t-3 -> t-4 -> t-5 -> t-6 -> ({} more)", LENGTH - 12);
    assert!(lines[lines.len() - 1].contains(&closing), "{}", lines[lines.len() - 1]);
    assert!(lines[lines.len() - 1].ends_with("-> t-19999 -> t-20000 -> t-1"));
    let circles = numbers(graph.circles());
    assert_eq!((circles.len(), circles[0].len()), (1, LENGTH as usize));
    assert_eq!(graph.ps().lines().count() as u64, LENGTH + 1);
    assert!(graph.to_json().ends_with("20000]]}"));
}

/// Below the sixteenth task a tree continues at the left, and hints say where.
#[test]
fn break_deep_trees_off() {
    // Each of the tasks 1 to 17 awaits the next one. Task 2 also awaits tasks 16 and 17.
    let tasks = (1..=18).map(|id| {
        let more: &[u64] = if id == 2 { &[16, 17] } else { &[] };
        task(id, vec![wait("x", &[&[id + 1], more].concat(), &[])])
    });
    let mut graph = CallGraph { time: Instant::now(), tasks: tasks.collect() };
    graph.tasks[17].waits_for[0].tasks.clear();
    let lines = tree(&graph);
    let named = |line: &&String| line.contains("(T) t-17") || line.contains("(T) t-16");
    let named: Vec<_> = lines.iter().filter(named).map(|line| line.trim_start_matches([' ', '│'])).collect();
    assert_eq!(
        named,
        [
            "└── (T) t-16",
            "└── (T) t-17, see below",
            "├── (T) t-16, see above",
            "└── (T) t-17, see below",
            "└── (T) t-17"
        ]
    );
    let below = lines.iter().position(|line| line == "└── (T) t-17").unwrap();
    assert_eq!(lines[below..], ["└── (T) t-17", "    └── x", "        └── (T) t-18", "            └── x"]);
}

/// Checks one in seven of all graphs of four tasks. Each task and each edge is drawn once. Each
/// circle has a task in common with a circle that is reported, in the list and in the tree.
#[test]
fn draw_small_graphs() {
    const SIZE: usize = 4;
    for bits in (0..1_u32 << (SIZE * SIZE)).step_by(7) {
        let has = |from: usize, to: usize| bits >> (from * SIZE + to) & 1 == 1;
        let tasks = (0..SIZE).map(|from| {
            let awaited: Vec<u64> = (0..SIZE).filter(|&to| has(from, to)).map(|to| to as u64 + 1).collect();
            task(from as u64 + 1, vec![wait("x", &awaited, &[])])
        });
        let graph = CallGraph { time: Instant::now(), tasks: tasks.collect() };
        let lines = tree(&graph);
        let named = lines.iter().filter(|line| line.contains("(T)")).count();
        let drawn: BTreeSet<&str> = lines
            .iter()
            .filter_map(|line| line.split_once("(T) "))
            .map(|(_, name)| name)
            .filter(|name| !name.contains(','))
            .collect();
        let roots = lines.iter().filter(|line| line.starts_with("└── (T)")).count();
        assert_eq!((drawn.len(), named), (SIZE, bits.count_ones() as usize + roots), "{bits:b}: {lines:#?}");
        // Which task reaches which.
        let mut reaches: [[bool; SIZE]; SIZE] = std::array::from_fn(|from| std::array::from_fn(|to| has(from, to)));
        for by in 0..SIZE {
            for from in 0..SIZE {
                for to in 0..SIZE {
                    reaches[from][to] |= reaches[from][by] && reaches[by][to];
                }
            }
        }
        // Tasks that reach each other form a set. If no task outside awaits the set, its first task is
        // its root.
        let is_root = |place: &usize| {
            let (place, others) = (*place, 0..SIZE);
            others.clone().all(|other| !reaches[other][place] || reaches[place][other])
                && others.clone().all(|other| !(reaches[place][other] && reaches[other][place]) || place <= other)
        };
        assert_eq!(super::tree::roots(&graph), (0..SIZE).filter(is_root).collect::<Vec<_>>(), "{bits:b}");
        let circles = numbers(graph.circles());
        for circle in &circles {
            let edges = circle.iter().zip(circle.iter().cycle().skip(1));
            assert!(edges.clone().all(|(&from, &to)| has(from as usize - 1, to as usize - 1)), "{bits:b}: {circles:?}");
            assert_eq!(circle.iter().min(), circle.first());
        }
        assert_eq!(circles.iter().collect::<BTreeSet<_>>().len(), circles.len(), "{bits:b}: {circles:?}");
        let told = lines.iter().filter(|line| line.contains("cycle: ")).count();
        let is_circular = (0..SIZE).any(|place| reaches[place][place]);
        assert_eq!((told > 0, circles.is_empty()), (is_circular, !is_circular), "{bits:b}: {lines:#?}");
        // Without the tasks of the reported circles, no circle is left.
        let rest = |place: usize| !circles.iter().flatten().any(|&id| id as usize == place + 1);
        let mut left: Vec<usize> = (0..SIZE).filter(|&place| rest(place)).collect();
        while let Some(end) = left.iter().position(|&from| !left.iter().any(|&to| has(from, to))) {
            left.remove(end);
        }
        assert!(left.is_empty(), "{bits:b}: {circles:?}");
    }
}

/// Columns are aligned by characters, and a long cell does not move the other lines.
#[test]
fn align_the_table() {
    let mut graph = graph(&[&[&[2]], &[&[], &[]], &[]]);
    graph.tasks[0].name = "été".into();
    graph.tasks[1].name = "x".repeat(61);
    graph.tasks[1].state = TaskState::Queued;
    graph.tasks[2].name = String::new();
    let long = "x".repeat(61);
    let wide = PLACE.to_string();
    assert!(wide.len() * 2 + 2 <= 60, "{wide} does not fit the test");
    let two = format!("{wide}; {wide}");
    let fill = " ".repeat(two.len() - wide.len());
    let (one, none) = (" ".repeat(two.len() - 2), " ".repeat(two.len() - 1));
    assert_eq!(
        graph.ps().lines().collect::<Vec<_>>(),
        [
            format!("id  name  state    waits for                       at{one}  awaited by"),
            format!("1   été   waiting  all                             {wide}{fill}  -"),
            format!("2   {long}  queued   all; all                        {two}  été"),
            format!("3   -     waiting  a future that is not onelane's  -{none}  -"),
        ]
    );
}

#[test]
fn write_json_of_all_there_is() {
    let mut graph = graph(&[&[&[2]], &[]]);
    graph.tasks[0].name = "\"\\\n\u{2028}</script>".into();
    graph.tasks[0].waits_for[0].held_by.push(TaskId(1));
    graph.tasks[0].waits_for[0].until = Some(graph.time + Duration::from_nanos(1_000_000_001));
    graph.tasks[1].state = TaskState::Running;
    graph.tasks[1].outside_wakers = Some(3);
    let value: serde_json::Value = serde_json::from_str(&graph.to_json()).unwrap();
    let place = |at: &Location<'_>| serde_json::json!({"file": at.file(), "line": at.line(), "column": at.column()});
    let expected = serde_json::json!({
        "tasks": [
            {
                "id": 1, "name": "\"\\\n\u{2028}</script>", "state": "waiting",
                "spawned_at": place(graph.tasks[0].spawned_at),
                "waits_for": [
                    {"what": "all", "at": place(PLACE), "tasks": [2], "held_by": [1], "seconds_left": 1.000000001}
                ],
                "awaited_by": [], "outside_wakers": null,
            },
            {
                "id": 2, "name": "t-2", "state": "running", "spawned_at": place(graph.tasks[1].spawned_at),
                "waits_for": [], "awaited_by": [1], "outside_wakers": 3,
            },
        ],
        "circles": [[1]],
    });
    assert_eq!(value, expected);
}
