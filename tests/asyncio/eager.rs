//! The number of tasks of a program: twins of the lazy half of `test_eager_task_factory.py`. There
//! are no eager tasks here.

mod base_task_counting_tests {
    use crate::common::virtual_loop;
    use onelane::{EventLoop, gather, task_group, yield_now};
    use std::pin::Pin;

    /// The number of tasks that the loop has had, from the number of the next task.
    fn count(event_loop: &EventLoop) -> u64 {
        event_loop.spawn(async {}).id().to_string().parse::<u64>().unwrap() - 1
    }

    fn awaitable_chain(depth: u32) -> Pin<Box<dyn Future<Output = u32>>> {
        Box::pin(async move { if depth == 0 { 0 } else { 1 + awaitable_chain(depth - 1).await } })
    }

    #[test]
    fn test_awaitables_chain() {
        let event_loop = virtual_loop();
        assert_eq!(event_loop.run(awaitable_chain(100)), 100);
        assert_eq!(count(&event_loop), 1);
    }

    fn recursive_taskgroups(width: usize, depth: usize) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            if depth == 0 {
                return;
            }
            let group = task_group(async |group| {
                for _ in 0..width {
                    group.spawn(recursive_taskgroups(width, depth - 1));
                }
            });
            group.await.unwrap();
        })
    }

    #[test]
    fn test_recursive_taskgroups() {
        let event_loop = virtual_loop();
        event_loop.run(recursive_taskgroups(5, 4));
        assert_eq!(count(&event_loop), 781);
    }

    fn recursive_gather(width: usize, depth: usize) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            if depth == 0 {
                return yield_now().await;
            }
            gather((0..width).map(|_| recursive_gather(width, depth - 1))).await.unwrap();
        })
    }

    #[test]
    fn test_recursive_gather() {
        let event_loop = virtual_loop();
        event_loop.run(recursive_gather(5, 4));
        assert_eq!(count(&event_loop), 1 + 5 + 25 + 125 + 625);
    }
}
