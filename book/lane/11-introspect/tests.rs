//! What holds from stage 11 on.

use super::lane::{all_tasks, current_task, gather, run, sleep, spawn, virtual_clock, who_waits, yield_now};
use super::tests_06_time::ms;

#[test]
fn tasks_have_names() {
    virtual_clock();
    run(async {
        let me = current_task().unwrap();
        me.set_name("main");
        let child = spawn(async { current_task().unwrap().name() }).named("child");
        let names: Vec<_> = all_tasks().iter().map(|task| task.name()).collect();
        assert_eq!(names, ["main", "child"]);
        assert!(current_task() == Some(me) && current_task() != Some(child.task_ref()));
        assert_eq!(child.await, Ok("child".into()));
        assert_eq!(all_tasks().len(), 1);
    });
    assert!(current_task().is_none());
}

#[test]
fn a_loop_says_who_waits_where() {
    virtual_clock();
    let seen = run(async {
        let sleeper = spawn(async {
            sleep(ms(5)).await; // line of the sleep
        })
        .named("sleeper");
        let theirs = sleeper.clone();
        spawn(async move { theirs.await }).named("awaiter"); // line of the await
        let both = [sleeper.clone(), sleeper];
        spawn(async move { gather(both).await }).named("gatherer"); // line of the gather
        current_task().unwrap().set_name("main");
        yield_now().await;
        who_waits()
    });
    let line = |mark: &str| {
        let text = include_str!("tests.rs");
        text.lines().position(|line| line.ends_with(&format!("// line of the {mark}"))).unwrap() + 1
    };
    let expected = [
        "main is ready".to_string(),
        format!("sleeper waits at line {} for a timer", line("sleep")),
        format!("awaiter waits at line {} for a task: sleeper", line("await")),
        format!("gatherer waits at line {} for a gather: sleeper, sleeper", line("gather")),
    ];
    assert_eq!(seen, expected);
}
