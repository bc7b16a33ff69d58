//! Task groups: how they end, and that no child outlives its group.

#[path = "common/mod.rs"]
mod common;

use common::{Census, Trace, ms, on_drop, panic_of, telling_loop, virtual_loop};
use futures_util::future::select;
use futures_util::poll;
use onelane::{
    ChildError, ChildFailed, GroupError, Task, TaskError, TaskGroup, TaskRef, all_tasks, call_later, catch_cancel,
    current_task, finally, sleep, spawn, task_group, time, timeout, try_task_group, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;

#[test]
fn end_at_once_without_children() {
    virtual_loop().run(async {
        let turns = Rc::new(Cell::new(0));
        let copy = turns.clone();
        onelane::call_soon(move || copy.set(1));
        assert_eq!(task_group(async |_| 42).await, Ok(42));
        assert_eq!(turns.get(), 0, "there was a pause");
    });
}

#[test]
fn wait_for_children_and_grandchildren() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let result = task_group(async |group| {
            let (trace, copy) = (trace.clone(), group.clone());
            group.spawn(async move {
                sleep(ms(10)).await;
                trace.push("child");
                let inner = trace.clone();
                copy.spawn(async move {
                    sleep(ms(10)).await;
                    inner.push("grandchild");
                });
            });
            "body"
        })
        .await;
        assert_eq!(result, Ok("body"));
        assert_eq!(all_tasks().len(), 1);
    });
    assert_eq!(trace.take(), ["child", "grandchild"]);
}

#[test]
fn borrow_in_the_body() {
    let words = ["one".to_string(), "lane".to_string()];
    let lengths = virtual_loop().run(async {
        let tasks = task_group(async |group| {
            words
                .iter()
                .map(|word| {
                    group.spawn({
                        let word = word.clone();
                        async move { word.len() }
                    })
                })
                .collect::<Vec<_>>()
        });
        let tasks = tasks.await.unwrap();
        tasks.iter().map(|task| *task.result().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(lengths, [3, 4]);
}

#[test]
fn fail_and_cancel_siblings_and_body_and_gather_the_errors() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let start = time();
        let result = try_task_group(async |group| {
            let failing = group.try_spawn(async {
                sleep(ms(10)).await;
                Err::<(), _>("first")
            });
            group.try_spawn({
                let trace = trace.clone();
                async move {
                    let _guard = on_drop(move || trace.push("sibling dropped"));
                    sleep(ms(100)).await;
                    Ok(())
                }
            });
            group.try_spawn(async {
                // This child goes on although it is cancelled, and fails too.
                let _ = catch_cancel(sleep(ms(100))).await;
                sleep(ms(5)).await;
                Err::<(), _>("second")
            });
            failing.add_done_callback({
                let trace = trace.clone();
                move |task| trace.push(format!("child {:?}", task.result().unwrap()))
            });
            let copy = trace.clone();
            let _guard = on_drop(move || copy.push("body dropped"));
            sleep(ms(100)).await;
            Ok(())
        })
        .await;
        let error = result.unwrap_err();
        assert_eq!(error.errors, [ChildError::Failed("first"), ChildError::Failed("second")]);
        assert_eq!(error.to_string(), "2 failure(s) in a task group: first; second");
        assert_eq!((time() - start, all_tasks().len()), (ms(15), 1));
        assert_eq!(current_task().unwrap().cancelling(), 0);
    });
    assert_eq!(
        trace.take(),
        [format!("child {:?}", Err::<(), _>(ChildFailed)).as_str(), "sibling dropped", "body dropped"]
    );
}

#[test]
fn put_the_error_of_the_body_last() {
    virtual_loop().run(async {
        let result = try_task_group(async |group| {
            group.try_spawn(async {
                let _ = catch_cancel(sleep(ms(100))).await;
                Err::<(), _>("child")
            });
            yield_now().await;
            Err::<(), _>("body")
        });
        assert_eq!(result.await.unwrap_err().errors, [ChildError::Failed("child"), ChildError::Failed("body")]);
    });
}

#[test]
fn panic_in_a_child_is_an_error_and_known() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let error = task_group(async |group| {
            group.spawn(async { panic!("oh") });
            sleep(ms(100)).await;
        })
        .await
        .unwrap_err();
        let [ChildError::Panicked(panic)] = &error.errors[..] else { panic!("{error}") };
        assert_eq!(panic.message(), "oh");
    });
    assert_eq!(told.take(), [""; 0]);
}

#[test]
fn panic_in_the_body_goes_on_behind_the_children() {
    let census = Census::new();
    let message = panic_of(|| {
        virtual_loop().run(task_group(async |group| {
            let member = census.member();
            group.spawn(finally(pending::<()>(), async move {
                sleep(ms(10)).await;
                drop(member);
            }));
            yield_now().await;
            if census.counts() == (1, 0) {
                panic!("body");
            }
        }))
    });
    assert_eq!((message.as_str(), census.counts()), ("body", (1, 1)));
}

#[test]
fn cancel_a_child_and_nothing_else() {
    virtual_loop().run(async {
        let (cancelled, other) = task_group(async |group| {
            let child = group.spawn(sleep(ms(100)));
            let other = group.spawn(sleep(ms(10)));
            yield_now().await;
            child.cancel();
            (child, other)
        })
        .await
        .unwrap();
        assert!(cancelled.is_cancelled() && !other.is_cancelled());
    });
}

#[test]
fn cancel_the_task_and_wait_for_the_cleanups_of_children() {
    let trace = Trace::new();
    virtual_loop().run(async {
        for in_body in [true, false] {
            let copy = trace.clone();
            let task = spawn(async move {
                let trace = copy.clone();
                let _frame = on_drop(move || copy.push("frame dropped"));
                let _ = task_group(async |group| {
                    let copy = trace.clone();
                    group.spawn(finally(sleep(ms(100)), async move {
                        sleep(ms(10)).await;
                        copy.push("cleaned up");
                    }));
                    let copy = trace.clone();
                    let _guard = on_drop(move || copy.push("body dropped"));
                    if in_body {
                        sleep(ms(100)).await;
                    }
                })
                .await;
                unreachable!("it was cancelled")
            });
            let start = time();
            yield_now().await;
            yield_now().await;
            assert!(task.cancel());
            sleep(ms(1)).await;
            assert!(task.cancel(), "a second cancellation changes nothing");
            assert_eq!(task.await, Err::<(), _>(TaskError::Cancelled));
            assert_eq!((time() - start, all_tasks().len()), (ms(10), 1));
        }
    });
    // The body is dropped first. The future around the group is kept, but not polled, while the
    // children end.
    let expected = ["body dropped", "cleaned up", "frame dropped"];
    assert_eq!(trace.take(), expected.repeat(2));
}

#[test]
fn expire_around_a_group_and_leave_nothing() {
    virtual_loop().run(async {
        let start = time();
        let group = task_group(async |group| {
            group.spawn(finally(sleep(ms(100)), async { sleep(ms(10)).await }));
            sleep(ms(100)).await;
        });
        assert!(timeout(ms(5), group).await.is_err());
        assert_eq!((time() - start, all_tasks().len()), (ms(15), 1));
    });
}

#[test]
fn nest_groups_and_let_the_outer_failure_end_the_inner() {
    virtual_loop().run(async {
        let result = try_task_group(async |outer| {
            outer.try_spawn(async {
                sleep(ms(10)).await;
                Err::<(), _>("outer child")
            });
            let inner = try_task_group(async |inner| {
                inner.try_spawn(finally(
                    async {
                        sleep(ms(100)).await;
                        Ok(())
                    },
                    sleep(ms(10)),
                ));
                sleep(ms(100)).await;
                Ok::<_, &str>(())
            });
            drop(inner.await);
            unreachable!("the body was interrupted")
        });
        let error: GroupError<&str> = match result.await {
            Ok(()) => unreachable!(),
            Err(error) => error,
        };
        assert_eq!(error.errors, [ChildError::Failed("outer child")]);
        assert_eq!(all_tasks().len(), 1);
    });
}

#[test]
fn spawn_into_a_group_that_ends_and_be_cancelled() {
    virtual_loop().run(async {
        let result = try_task_group(async |group| {
            let copy = group.clone();
            group.try_spawn(finally(
                async {
                    sleep(ms(100)).await;
                    Ok(())
                },
                async move {
                    let late = copy.spawn(async { unreachable!("it is cancelled before it begins") });
                    assert!(late.await.unwrap_err().is_cancelled());
                },
            ));
            yield_now().await;
            Err::<(), _>("body")
        });
        assert_eq!(result.await.unwrap_err().errors.len(), 1);
    });
}

#[test]
fn spawn_into_a_finished_group_and_be_told() {
    virtual_loop().run(async {
        let group = task_group(async |group| group).await.unwrap();
        let message = panic_of(|| drop(group.spawn(async {})));
        assert!(message.contains("a task group that has ended"), "{message}");
    });
}

#[test]
fn drop_a_group_in_a_race_and_cancel_its_children() {
    virtual_loop().run(async {
        let group = Box::pin(task_group(async |group| {
            group.spawn(sleep(ms(100)));
            sleep(ms(100)).await;
        }));
        drop(futures_util::future::select(Box::pin(sleep(ms(1))), group).await);
        let start = time();
        sleep(ms(1)).await;
        assert_eq!((all_tasks().len(), time() - start), (1, ms(1)));
    });
}

/// The turns of a failure are those of asyncio: the child's callback, the sibling's end, the
/// sibling's callback, the group.
#[test]
fn fail_while_the_group_exits_and_count_the_turns() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let count = {
            let trace = trace.clone();
            spawn(async move {
                sleep(ms(10)).await;
                for turn in 1.. {
                    trace.push(format!("turn {turn}"));
                    yield_now().await;
                }
            })
        };
        let result = try_task_group(async |group| {
            let trace = trace.clone();
            group.try_spawn(async move {
                sleep(ms(10)).await;
                trace.push("fails");
                Err::<(), _>("no")
            });
            group.spawn(sleep(ms(100)));
            Ok(())
        });
        assert!(result.await.is_err());
        trace.push("over");
        count.cancel();
    });
    assert_eq!(trace.take(), ["turn 1", "fails", "turn 2", "turn 3", "turn 4", "turn 5", "over"]);
}

/// One failure stops children that keep spawning more children.
#[test]
fn multiply_and_stop_at_one_failure() {
    fn multiply(group: TaskGroup<&'static str>, made: Rc<Cell<u32>>) {
        let copy = group.clone();
        group.spawn(async move {
            made.set(made.get() + 1);
            yield_now().await;
            multiply(copy.clone(), made.clone());
            multiply(copy, made);
        });
    }
    let made = Rc::new(Cell::new(0));
    virtual_loop().run(async {
        let result = try_task_group(async |group| {
            multiply(group.clone(), made.clone());
            call_later(ms(0), || ());
            for _ in 0..10 {
                yield_now().await;
            }
            Err::<(), _>("enough")
        });
        assert!(result.await.is_err());
        assert_eq!(all_tasks().len(), 1);
    });
    assert!(made.get() > 3);
}

/// A panic of the body propagates. A panic of a child is reported to the exception handler, because
/// the group has no result that could contain it.
#[test]
fn panic_in_the_body_and_in_a_child() {
    let (event_loop, told) = telling_loop();
    let message = panic_of(|| {
        event_loop.run(task_group(async |group| {
            drop(group.spawn(finally(pending::<()>(), async { panic!("child") })));
            yield_now().await;
            if !onelane::all_tasks().is_empty() {
                panic!("body");
            }
        }))
    });
    assert_eq!(
        (message.as_str(), told.take()),
        ("body", vec!["a task panicked and its result was never read: child".into()])
    );
}

/// A task takes the result of a child in the turn in which the child ends. The group must still get
/// the failure.
#[test]
fn take_the_panic_of_a_child_and_fail_all_the_same() {
    virtual_loop().run(async {
        let result = task_group(async |group| {
            let child = group.spawn(async { panic!("oh") });
            yield_now().await;
            assert!(child.await.unwrap_err().is_panic());
        });
        assert_eq!(result.await.unwrap_err().to_string(), "1 failure(s) in a task group: panicked: oh");
    });
}

/// The errors of children replace the cancellation.
#[test]
fn cancel_the_task_and_have_the_errors_of_children() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let task = spawn(async {
            try_task_group(async |group| {
                group.try_spawn(async {
                    let _ = catch_cancel(pending::<()>()).await;
                    Err::<(), _>("child")
                });
                pending().await
            })
            .await
        });
        sleep(ms(1)).await;
        task.cancel();
        let end: Result<Result<(), GroupError<&str>>, _> = task.await;
        assert_eq!(end.unwrap().unwrap_err().errors, [ChildError::Failed("child")]);
    });
    assert_eq!(told.take(), [""; 0]);
}

/// The panics of children replace the cancellation as well. The cancellation follows at the next
/// wait.
#[test]
fn cancel_the_task_and_have_the_panic_of_a_child() {
    let (event_loop, told) = telling_loop();
    let message = Rc::new(RefCell::new(String::new()));
    event_loop.run(async {
        let copy = message.clone();
        let task = spawn(async move {
            let result = task_group(async |group| {
                drop(group.spawn(finally(pending::<()>(), async { panic!("child") })));
                pending::<()>().await;
            });
            *copy.borrow_mut() = result.await.unwrap_err().to_string();
            yield_now().await;
            unreachable!("it was cancelled")
        });
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await, Err::<(), _>(TaskError::Cancelled));
    });
    assert_eq!(message.take(), "1 failure(s) in a task group: panicked: child");
    assert_eq!(told.take(), [""; 0]);
}

/// A group that loses a race is dropped, and returns no errors. Panics of its children are reported
/// like those of any task.
#[test]
fn drop_a_group_and_tell_of_the_errors_of_children() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let group = Box::pin(try_task_group(async |group| {
            group.try_spawn(async {
                let _ = catch_cancel(pending::<()>()).await;
                Err::<(), _>("child")
            });
            drop(group.spawn(finally(pending::<()>(), async { panic!("cleanup") })));
            pending::<Result<(), _>>().await
        }));
        drop(futures_util::future::select(Box::pin(sleep(ms(1))), group).await);
        sleep(ms(1)).await;
    });
    let expected = [
        "a child of a task group failed, and its group was dropped before it could tell: an error of type &str",
        "a task panicked and its result was never read: cleanup",
    ];
    assert_eq!(told.take(), expected);
}

/// The body has panicked when its task is cancelled. The panic must still be reported.
#[test]
fn panic_in_the_body_and_cancel_the_task() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let task = spawn(async {
            let _ = task_group(async |group| {
                group.spawn(finally(pending::<()>(), sleep(ms(5))));
                yield_now().await;
                panic!("in the body");
            })
            .await;
        });
        sleep(ms(1)).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_panic());
    });
    assert_eq!(told.take(), [""; 0]);
}

/// The body panics, and the group is dropped before its children have ended. The panic can then
/// only be reported to the exception handler.
#[test]
fn panic_in_the_body_and_drop_the_group() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let group = task_group(async |group| {
            group.spawn(finally(pending::<()>(), sleep(ms(5))));
            yield_now().await;
            panic!("in the body");
        });
        assert!(timeout(ms(9), select(group, sleep(ms(1)))).await.is_ok());
    });
    assert_eq!(
        told.take(),
        ["the body of a task group panicked, and the group ended before its children had: in the body"]
    );
}

/// A second cancellation does not change the wait for children, at any depth.
#[test]
fn nest_groups_in_a_cleanup_and_cancel_again() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let innermost = finally(pending::<()>(), async move {
            sleep(ms(10)).await;
            copy.push("innermost");
        });
        let cleanup = async {
            let _ = task_group(async |outer| {
                outer.spawn(async {
                    let _ = task_group(async |inner| {
                        inner.spawn(innermost);
                        pending::<()>().await;
                    })
                    .await;
                });
                pending::<()>().await;
            })
            .await;
        };
        let task = spawn(finally(pending::<()>(), cleanup));
        sleep(ms(1)).await;
        task.cancel();
        sleep(ms(1)).await;
        assert!(task.cancel());
        let start = time();
        assert_eq!(task.await, Err(TaskError::Cancelled));
        assert_eq!((time() - start, all_tasks().len()), (ms(10), 1));
    });
    assert_eq!(trace.take(), ["innermost"]);
}

/// Children have numbers, and each loop counts its own. If a child of another loop took the number
/// of a child of this loop, the child of this loop could outlive its group.
#[test]
fn spawn_into_a_group_of_another_loop_and_be_told() {
    let (first, second) = (virtual_loop(), virtual_loop());
    let slot: Rc<RefCell<Option<TaskGroup>>> = Rc::default();
    let copy = slot.clone();
    let task = first.spawn(async move {
        let _ = task_group(async |group| {
            *copy.borrow_mut() = Some(group.clone());
            group.spawn(pending::<()>());
        })
        .await;
    });
    first.turn();
    let group = slot.take().unwrap();
    assert_eq!(
        panic_of(|| second.run(async { drop(group.spawn(async {})) })),
        "a child was spawned into a task group of another event loop; spawn in the group's own loop"
    );
    for _ in 0..5 {
        first.turn();
    }
    assert!(!task.is_done());
}

/// A group refuses a spawn from another loop. After that it must still accept children of its own
/// loop.
#[test]
fn refuse_a_spawn_from_another_loop_and_take_the_next() {
    let (own, other) = (virtual_loop(), virtual_loop());
    let result = own.run(task_group(async |group| {
        let mut children = vec![group.spawn(async { 1 })];
        panic_of(|| other.enter(|| drop(group.spawn(async {}))));
        children.extend([2, 3].map(|nth| group.spawn(async move { nth })));
        children
    }));
    assert_eq!(result.unwrap().iter().map(|child| *child.result().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
}

/// When a cancelled group drops its body, a destructor in the body spawns into the group. The spawn
/// must not panic.
#[test]
fn spawn_in_a_destructor_of_the_body_when_cancelled() {
    let (event_loop, told) = telling_loop();
    event_loop.run(async {
        let task = spawn(async {
            let _ = task_group(async |group| {
                let copy = group.clone();
                let _guard = on_drop(move || drop(copy.spawn(async {})));
                pending::<()>().await;
            })
            .await;
        });
        yield_now().await;
        task.cancel();
        assert_eq!(task.await, Err(TaskError::Cancelled));
        assert_eq!(all_tasks().len(), 1);
    });
    assert_eq!(told.take(), [""; 0]);
}

/// A timeout around the group expires while the children are ending. The error must not be lost.
#[test]
fn expire_around_a_group_that_has_failed_and_have_its_errors() {
    virtual_loop().run(async {
        let start = time();
        let group = try_task_group(async |group| {
            group.try_spawn(async { Err::<(), _>("disk full") });
            group.spawn(finally(pending::<()>(), sleep(ms(100))));
            Ok(())
        });
        let error = timeout(ms(50), group).await.unwrap().unwrap_err();
        assert_eq!((error.errors, time() - start), (vec![ChildError::Failed("disk full")], ms(100)));
    });
}

/// The same, but the timeout interrupts the code after the group.
#[test]
fn go_on_behind_a_group_that_has_failed_in_a_timeout_that_is_up() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let result = timeout(ms(50), async move {
            let group = try_task_group(async |group| {
                group.try_spawn(async { Err::<(), _>("disk full") });
                group.spawn(finally(pending::<()>(), sleep(ms(100))));
                Ok(())
            });
            copy.push(group.await.unwrap_err().to_string());
            yield_now().await;
            unreachable!("the time is up")
        });
        let result: Result<(), _> = result.await;
        trace.push(format!("{result:?}"));
    });
    assert_eq!(trace.take(), ["1 failure(s) in a task group: disk full", "Err(Elapsed)"]);
}

/// A child awaits a task, which awaits the task of the group. Returns the task of the group, the
/// child, and the task in between.
#[cfg(feature = "report")]
async fn circle_through_a_group(with_gather: bool) -> [TaskRef; 3] {
    let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
    let copy = slot.clone();
    let group = spawn(async move {
        let child = async move {
            yield_now().await;
            let other = copy.take().unwrap();
            let _ = other.await;
        };
        if with_gather {
            let _ = onelane::gather([child]).await;
        } else {
            let _ = task_group(async |group| drop(group.spawn(child))).await;
        }
    });
    let known = group.task_ref();
    let other = spawn(async move { drop(group.await) });
    let between = other.task_ref();
    *slot.borrow_mut() = Some(other);
    for _ in 0..5 {
        yield_now().await;
    }
    let child = all_tasks().pop().unwrap();
    assert_eq!(onelane::call_graph().circles(), [[known.id(), child.id(), between.id()]]);
    [known, child, between]
}

/// A cancellation does not detect such a circle, because a group is not an await. The end of `run`
/// must still end the tasks.
#[cfg(feature = "report")]
#[test]
fn end_the_run_with_a_circle_through_a_group() {
    common::watched(|| {
        for event_loop in [virtual_loop(), onelane::EventLoop::new()] {
            let tasks = event_loop.run(circle_through_a_group(false));
            assert!(tasks.iter().all(TaskRef::is_cancelled));
        }
    });
}

/// In asyncio, tasks stay in such a circle whichever of them is cancelled. Here they stay until
/// each task was cancelled directly.
#[cfg(feature = "report")]
#[test]
fn cancel_a_circle_through_a_group() {
    common::watched(|| {
        virtual_loop().run(async {
            let tasks = circle_through_a_group(false).await;
            for (nth, task) in tasks.iter().enumerate() {
                let states = tasks.each_ref().map(TaskRef::is_done);
                assert_eq!(states, [false; 3], "{nth} tasks were cancelled");
                // A second cancellation adds nothing.
                assert!(task.cancel() && task.cancel());
                sleep(ms(1)).await;
            }
            assert!(tasks.iter().all(TaskRef::is_cancelled));
            // Without a group, the cancellation of one task is enough.
            let tasks = circle_through_a_group(true).await;
            tasks[1].cancel();
            sleep(ms(1)).await;
            assert!(tasks.iter().all(TaskRef::is_cancelled));
        });
    });
}

/// A child was cancelled twice and has caught that before it entered the circle. These
/// cancellations do not count in the circle.
#[test]
fn cancel_a_child_before_it_closes_a_circle_through_a_group() {
    virtual_loop().run(async {
        let slot: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let copy = slot.clone();
        let group = spawn(async move {
            let child = async move {
                _ = catch_cancel(pending::<()>()).await;
                let other = copy.take().unwrap();
                _ = other.await;
            };
            _ = task_group(async |group| drop(group.spawn(child))).await;
        });
        let known = group.task_ref();
        yield_now().await;
        let other = spawn(async move { drop(group.await) });
        let tasks = [known, all_tasks()[2].clone(), other.task_ref()];
        *slot.borrow_mut() = Some(other);
        sleep(ms(1)).await;
        assert!(tasks[1].cancel() && tasks[1].cancel());
        sleep(ms(1)).await;
        for nth in [0, 2, 1] {
            assert_eq!(tasks.each_ref().map(TaskRef::is_done), [false; 3], "before {nth}");
            assert!(tasks[nth].cancel() && tasks[nth].cancel());
            sleep(ms(1)).await;
        }
        assert!(tasks.iter().all(TaskRef::is_cancelled));
    });
}

/// Two tasks poll a group, one after the other. The first task is cancelled. It must not wait for a
/// child that now belongs to the second task.
#[test]
fn move_a_begun_group_and_cancel_the_task_that_it_left() {
    virtual_loop().run(async {
        let slot = Rc::new(RefCell::new(None));
        let copy = slot.clone();
        let first = spawn(async move {
            let mut group = Box::pin(task_group(async |group| {
                group.spawn(finally(pending::<()>(), async { sleep(ms(20)).await }));
            }));
            assert!(poll!(&mut group).is_pending());
            yield_now().await;
            assert!(poll!(&mut group).is_pending());
            *copy.borrow_mut() = Some(group);
            pending::<()>().await;
        });
        let start = time();
        sleep(ms(5)).await;
        first.cancel();
        sleep(ms(5)).await;
        let second = spawn(slot.take().unwrap());
        // The first task has cancelled the child, which now cleans up.
        assert_eq!((first.await, time() - start), (Err(TaskError::Cancelled), ms(10)));
        assert_eq!((second.await, time() - start), (Ok(Ok(())), ms(25)));
    });
}

// ---- a group that is cancelled by its handle ----

/// The group is cancelled by the body itself, by a child, and by other code.
#[test]
fn cancel_a_group_and_go_on_behind_it() {
    for by in ["the body", "a child", "a callback", "another task", "a child, twice"] {
        let trace = Trace::new();
        virtual_loop().run(async {
            let (copy, cleaner) = (trace.clone(), trace.clone());
            let result = task_group(async move |group| {
                let _witness = on_drop(move || copy.push("the body is dropped"));
                group.spawn(finally(pending::<()>(), async move {
                    sleep(ms(5)).await;
                    cleaner.push("a child cleans up");
                }));
                let handle = group.clone();
                match by {
                    "the body" => {
                        yield_now().await;
                        handle.cancel();
                    }
                    "a callback" => drop(call_later(ms(1), move || handle.cancel())),
                    "another task" => drop(spawn(async move { handle.cancel() })),
                    _ => drop(group.spawn(async move {
                        yield_now().await;
                        handle.cancel();
                        handle.cancel();
                    })),
                }
                pending::<()>().await;
            })
            .await;
            let error = result.unwrap_err();
            assert_eq!((error.errors.len(), error.to_string()), (0, "the task group was cancelled".to_string()));
            // The task itself was not cancelled.
            yield_now().await;
            assert_eq!(current_task().unwrap().cancelling(), 0);
            trace.push("behind it");
        });
        assert_eq!(trace.take(), ["the body is dropped", "a child cleans up", "behind it"], "{by}");
    }
}

/// Some things take precedence over the cancellation of a group: the value of the body, the errors
/// of children, and a cancellation of the task. A group that is over cannot be cancelled.
#[test]
fn cancel_a_group_that_has_something_to_say() {
    virtual_loop().run(async {
        // The body returns in the step in which it cancels the group, or it catches the
        // cancellation.
        let result = task_group(async |group| {
            group.spawn(pending::<()>());
            group.cancel();
            1
        });
        assert_eq!(result.await, Ok(1));
        let result = task_group(async |group| {
            group.cancel();
            catch_cancel(pending::<()>()).await.unwrap_err();
            2
        });
        assert_eq!(result.await, Ok(2));
        let result = try_task_group(async |group| {
            group.try_spawn(finally(pending::<Result<(), &str>>(), async {}));
            group.try_spawn(async {
                catch_cancel(pending::<()>()).await.unwrap_err();
                Err::<(), _>("failed")
            });
            sleep(ms(1)).await;
            group.cancel();
            assert!(group.try_spawn(async { Ok(()) }).await.is_err());
            Ok(())
        });
        assert_eq!(result.await.unwrap_err().errors, [ChildError::Failed("failed")]);
        // The task is cancelled as well.
        let task = spawn(async {
            let result = task_group(async |group| {
                group.spawn(finally(pending::<()>(), sleep(ms(5))));
                sleep(ms(1)).await;
                group.cancel();
                pending::<()>().await;
            });
            drop(result.await);
            unreachable!("the cancellation goes on");
        });
        sleep(ms(3)).await;
        task.cancel();
        assert!(task.await.unwrap_err().is_cancelled());
        let kept = Rc::new(RefCell::new(None));
        let copy = kept.clone();
        let result = task_group(async move |group| *copy.borrow_mut() = Some(group));
        assert_eq!(result.await, Ok(()));
        kept.take().unwrap().cancel();
    });
}

/// A group returns errors instead of a cancellation, so the cancellation is to interrupt the task
/// again at its next suspension. Before that, the task takes the request back. Then it yields, and
/// goes on as if it were not cancelled.
#[test]
fn take_a_request_back_behind_the_errors_of_a_group() {
    virtual_loop().run(async {
        let task = spawn(async {
            let result = try_task_group(async |group: TaskGroup<&str>| {
                group.try_spawn(async {
                    _ = catch_cancel(pending::<()>()).await;
                    Err::<(), _>("late")
                });
                Ok(())
            });
            assert_eq!(result.await.unwrap_err().errors, [ChildError::Failed("late")]);
            assert_eq!(current_task().unwrap().uncancel(), 0);
            yield_now().await;
            "goes on"
        });
        sleep(ms(1)).await;
        task.cancel();
        assert_eq!(task.await, Ok("goes on"));
    });
}
