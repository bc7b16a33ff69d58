//! Queue, LifoQueue, PriorityQueue: twins of `test_queues.py`.

use onelane::sync::{LifoQueue, PriorityQueue, PutError, Queue, QueueShutDown};
use onelane::{Task, spawn};
use std::fmt::Debug;
use std::ops::Deref;
use std::rc::Rc;

/// `create_task(q.put(item))`.
fn put<T: 'static>(queue: &Rc<Queue<T>>, item: T) -> Task<Result<(), PutError<T>>> {
    let queue = queue.clone();
    spawn(async move { queue.put(item).await })
}

/// `create_task(q.get())`.
fn get<T: 'static>(queue: &Rc<Queue<T>>) -> Task<Result<T, QueueShutDown>> {
    let queue = queue.clone();
    spawn(async move { queue.get().await })
}

/// The `Debug` text of a queue of this class.
fn shown(class: &str, len: usize, max_size: Option<usize>, waiting: [usize; 2], unfinished: usize) -> String {
    let [getters, putters] = waiting;
    format!(
        "{class} {{ len: {len}, max_size: {max_size:?}, getters: {getters}, putters: {putters}, \
         unfinished: {unfinished}, shut_down: false }}"
    )
}

/// A queue of any class.
trait AnyQueue<T>: Deref<Target = Queue<T>> + Debug {}

impl<T, Q: Deref<Target = Queue<T>> + Debug> AnyQueue<T> for Q {}

/// Queues of the three classes, with their names. A box derefs to a `Queue`, as the two other
/// classes do.
fn q_classes<T: Ord + 'static>(max_size: Option<usize>) -> [(&'static str, Rc<dyn AnyQueue<T>>); 3] {
    let [fifo, lifo, ranked]: [Rc<dyn AnyQueue<T>>; 3] = match max_size {
        None => [
            Rc::new(Box::new(Queue::unbounded())),
            Rc::new(LifoQueue::unbounded()),
            Rc::new(PriorityQueue::unbounded()),
        ],
        Some(size) => [
            Rc::new(Box::new(Queue::bounded(size))),
            Rc::new(LifoQueue::bounded(size)),
            Rc::new(PriorityQueue::bounded(size)),
        ],
    };
    [("Queue", fifo), ("LifoQueue", lifo), ("PriorityQueue", ranked)]
}

const TOO_OFTEN: &str = "task_done() of a queue was called too many times; call it once for each item that was got";

mod queue_basic_tests {
    use super::{get, put, shown};
    use crate::common::virtual_loop;
    use onelane::sync::Queue;
    use onelane::{spawn, yield_now};
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn test_repr() {
        virtual_loop().run(async {
            let q = Rc::new(Queue::unbounded());
            assert_eq!(format!("{q:?}"), shown("Queue", 0, None, [0, 0], 0));
            let getter = get(&q);
            yield_now().await;
            assert_eq!(format!("{q:?}"), shown("Queue", 0, None, [1, 0], 0));
            q.try_put(0).unwrap();
            assert_eq!(getter.await, Ok(Ok(0)));

            let q = Rc::new(Queue::bounded(1));
            q.try_put(1).unwrap();
            let putter = put(&q, 2);
            yield_now().await;
            assert_eq!(format!("{q:?}"), shown("Queue", 1, Some(1), [0, 1], 1));
            assert_eq!(q.try_get(), Ok(1));
            assert_eq!(putter.await, Ok(Ok(())));

            let q = Queue::unbounded();
            q.try_put(1).unwrap();
            assert_eq!(format!("{q:?}"), shown("Queue", 1, None, [0, 0], 1));
        });
    }

    #[test]
    fn test_empty() {
        virtual_loop().run(async {
            let q = Queue::unbounded();
            assert!(q.is_empty());
            q.put(1).await.unwrap();
            assert!(!q.is_empty());
            assert_eq!(q.get().await, Ok(1));
            assert!(q.is_empty());
        });
    }

    #[test]
    fn test_full() {
        virtual_loop().run(async {
            assert!(!Queue::<i32>::unbounded().is_full());
            let q = Queue::bounded(1);
            q.put(1).await.unwrap();
            assert!(q.is_full());
        });
    }

    #[test]
    fn test_order() {
        virtual_loop().run(async {
            let q = Queue::unbounded();
            for i in [1, 3, 2] {
                q.put(i).await.unwrap();
            }
            assert_eq!([q.get().await, q.get().await, q.get().await], [1, 3, 2].map(Ok));
        });
    }

    #[test]
    fn test_maxsize() {
        virtual_loop().run(async {
            let (q, have_been_put) = (Rc::new(Queue::bounded(2)), Rc::new(RefCell::new(Vec::new())));
            assert_eq!(q.max_size(), Some(2));
            let (copy, log) = (q.clone(), have_been_put.clone());
            let task = spawn(async move {
                for i in 0..3 {
                    copy.put(i).await.unwrap();
                    log.borrow_mut().push(i);
                }
                true
            });
            yield_now().await;
            yield_now().await;
            assert_eq!(*have_been_put.borrow(), [0, 1]);
            assert_eq!(q.get().await, Ok(0));

            yield_now().await;
            assert_eq!(*have_been_put.borrow(), [0, 1, 2]);
            assert_eq!(q.get().await, Ok(1));
            assert_eq!(q.get().await, Ok(2));
            assert!(task.is_done() && *task.result().unwrap());
        });
    }
}

mod queue_get_tests {
    use super::{get, put, shown};
    use crate::common::{foreign, ms, virtual_loop};
    use futures_util::FutureExt;
    use onelane::sync::{Event, Queue, TryGetError};
    use onelane::{Elapsed, TaskError, call_later, spawn, task_group, wait_for, yield_now};
    use std::cell::Cell;
    use std::pin::pin;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};

    #[test]
    fn test_blocking_get() {
        virtual_loop().run(async {
            let q = Queue::unbounded();
            q.try_put(1).unwrap();
            assert_eq!(q.get().now_or_never(), Some(Ok(1)));
        });
    }

    /// `get` wakes the putter.
    #[test]
    fn test_get_with_putters() {
        virtual_loop().run(async {
            let q = Queue::bounded(1);
            q.put(1).await.unwrap();

            let wakes = Arc::new(AtomicUsize::new(0));
            let copy = wakes.clone();
            let count = move || {
                copy.fetch_add(1, Ordering::SeqCst);
            };
            let waker = foreign(count, || {});
            let mut putter = pin!(q.put(2));
            assert_eq!(putter.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);

            assert_eq!(q.get().now_or_never(), Some(Ok(1)));
            assert_eq!(wakes.load(Ordering::SeqCst), 1);
            assert_eq!(putter.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(Ok(())));
        });
    }

    #[test]
    fn test_blocking_get_wait() {
        virtual_loop().run(async {
            let (q, started, finished) =
                (Rc::new(Queue::unbounded()), Rc::new(Event::new()), Rc::new(Cell::new(false)));
            let (getter, start, finish) = (q.clone(), started.clone(), finished.clone());
            let queue_get_task = spawn(async move {
                start.set();
                let res = getter.get().await;
                finish.set(true);
                res
            });
            started.wait().await;
            assert!(!finished.get());
            call_later(ms(10), move || q.try_put(1).unwrap());
            assert_eq!(queue_get_task.await, Ok(Ok(1)));
            assert!(finished.get());
        });
    }

    #[test]
    fn test_nonblocking_get_exception() {
        assert_eq!(Queue::<i32>::unbounded().try_get(), Err(TryGetError::Empty));
    }

    #[test]
    fn test_get_cancelled_race() {
        virtual_loop().run(async {
            let q = Rc::new(Queue::unbounded());
            let (t1, t2) = (get(&q), get(&q));
            yield_now().await;
            t1.cancel();
            yield_now().await;
            assert!(t1.is_done());
            q.put('a').await.unwrap();
            yield_now().await;
            assert_eq!(t2.await, Ok(Ok('a')));
            assert_eq!(t1.await, Err(TaskError::Cancelled));
        });
    }

    #[test]
    fn test_get_with_waiting_putters() {
        virtual_loop().run(async {
            let q = Rc::new(Queue::bounded(1));
            drop(put(&q, 'a'));
            drop(put(&q, 'b'));
            assert_eq!(q.get().await, Ok('a'));
            assert_eq!(q.get().await, Ok('b'));
        });
    }

    #[test]
    fn test_why_are_getters_waiting() {
        virtual_loop().run(async {
            let (q, num_items) = (Rc::new(Queue::bounded(1)), 5);
            let group = task_group(async |group| {
                let queue = q.clone();
                group.spawn(async move {
                    for i in 0..num_items {
                        queue.put(i).await.unwrap();
                    }
                });
                let queue = q.clone();
                group.spawn(async move {
                    for i in 0..num_items {
                        assert_eq!(queue.get().await, Ok(i));
                    }
                });
            });
            group.await.unwrap();
            assert_eq!(format!("{q:?}"), shown("Queue", 0, Some(1), [0, 0], num_items));
        });
    }

    #[test]
    fn test_cancelled_getters_not_being_held_in_self_getters() {
        virtual_loop().run(async {
            let queue = Queue::<i32>::bounded(5);
            assert_eq!(wait_for(queue.get(), ms(100)).await, Err(Elapsed));
            assert_eq!(format!("{queue:?}"), shown("Queue", 0, Some(5), [0, 0], 0));
        });
    }
}

mod queue_put_tests {
    use super::{get, put, shown};
    use crate::common::{ms, virtual_loop};
    use onelane::sync::{Event, Queue, TryPutError};
    use onelane::{TaskError, call_later, spawn, task_group, yield_now};
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn test_blocking_put_wait() {
        virtual_loop().run(async {
            let (q, started, finished) = (Rc::new(Queue::bounded(1)), Rc::new(Event::new()), Rc::new(Cell::new(false)));
            let getter = q.clone();
            call_later(ms(10), move || assert_eq!(getter.try_get(), Ok(1)));
            let (putter, start, finish) = (q.clone(), started.clone(), finished.clone());
            let queue_put_task = spawn(async move {
                start.set();
                putter.put(1).await.unwrap();
                putter.put(2).await.unwrap();
                finish.set(true);
            });
            started.wait().await;
            assert!(!finished.get());
            queue_put_task.await.unwrap();
            assert!(finished.get());
            assert_eq!(q.try_get(), Ok(2));
        });
    }

    /// The reader is cancelled after it was woken for the first of two items. This item is still
    /// the first.
    #[test]
    fn test_get_cancel_drop_one_pending_reader() {
        virtual_loop().run(async {
            let q = Rc::new(Queue::unbounded());
            let reader = get(&q);
            yield_now().await;
            q.try_put(1).unwrap();
            q.try_put(2).unwrap();
            reader.cancel();
            assert_eq!(reader.await, Err(TaskError::Cancelled));
            assert_eq!(get(&q).await, Ok(Ok(1)));
        });
    }

    #[test]
    fn test_get_cancel_drop_many_pending_readers() {
        virtual_loop().run(async {
            let q = Rc::new(Queue::unbounded());
            let group = task_group(async |group| {
                let reader = || {
                    let q = q.clone();
                    group.spawn(async move { q.get().await })
                };
                let (reader1, reader2, reader3) = (reader(), reader(), reader());
                yield_now().await;
                q.try_put(1).unwrap();
                q.try_put(2).unwrap();
                reader1.cancel();
                assert_eq!(reader1.await, Err(TaskError::Cancelled));
                (&reader3).await.unwrap().unwrap();
                (reader2, reader3)
            });
            let (reader2, reader3) = group.await.unwrap();
            let mut results = [reader2.await.unwrap(), reader3.await.unwrap()];
            results.sort_by_key(|result| result.unwrap());
            assert_eq!(results, [Ok(1), Ok(2)]);
        });
    }

    #[test]
    fn test_put_cancel_drop() {
        virtual_loop().run(async {
            let q = Rc::new(Queue::bounded(1));
            q.try_put(1).unwrap();
            let writer = put(&q, 2);
            yield_now().await;
            assert_eq!(q.try_get(), Ok(1));
            writer.cancel();
            assert_eq!(writer.await, Err(TaskError::Cancelled));
            assert_eq!(put(&q, 2).await, Ok(Ok(())));
            assert_eq!(q.try_get(), Ok(2));
            assert_eq!(q.len(), 0);
        });
    }

    #[test]
    fn test_nonblocking_put_exception() {
        let q = Queue::bounded(1);
        q.try_put(1).unwrap();
        assert_eq!(q.try_put(2), Err(TryPutError::Full(2)));
    }

    #[test]
    fn test_put_cancelled_race() {
        virtual_loop().run(async {
            let q = Rc::new(Queue::bounded(1));
            let (put_a, put_b, put_c) = (put(&q, 'a'), put(&q, 'b'), put(&q, 'X'));
            yield_now().await;
            assert!(put_a.is_done());
            assert!(!put_b.is_done());
            put_c.cancel();
            yield_now().await;
            assert!(put_c.is_done());
            assert_eq!(q.try_get(), Ok('a'));
            yield_now().await;
            assert_eq!(q.try_get(), Ok('b'));
            assert_eq!(put_b.await, Ok(Ok(())));
            assert_eq!(put_c.await, Err(TaskError::Cancelled));
        });
    }

    #[test]
    fn test_put_with_waiting_getters() {
        virtual_loop().run(async {
            let q = Rc::new(Queue::unbounded());
            let task = get(&q);
            yield_now().await;
            q.put('a').await.unwrap();
            assert_eq!(task.await, Ok(Ok('a')));
        });
    }

    #[test]
    fn test_why_are_putters_waiting() {
        virtual_loop().run(async {
            let queue = Rc::new(Queue::bounded(2));
            let group = task_group(async |group| {
                let q = queue.clone();
                group.spawn(async move {
                    yield_now().await;
                    for item in 0..q.len() {
                        assert_eq!(q.try_get(), Ok(item));
                    }
                });
                for item in 0..4 {
                    let q = queue.clone();
                    group.spawn(async move { q.put(item).await.unwrap() });
                }
            });
            group.await.unwrap();
            assert_eq!(format!("{queue:?}"), shown("Queue", 2, Some(2), [0, 0], 4));
        });
    }

    #[test]
    fn test_cancelled_puts_not_being_held_in_self_putters() {
        virtual_loop().run(async {
            let queue = Rc::new(Queue::bounded(1));
            queue.try_put(1).unwrap();
            let put_task = put(&queue, 1);
            yield_now().await;
            assert_eq!(format!("{queue:?}"), shown("Queue", 1, Some(1), [0, 1], 1));
            put_task.cancel();
            assert_eq!(put_task.await, Err(TaskError::Cancelled));
            assert_eq!(format!("{queue:?}"), shown("Queue", 1, Some(1), [0, 0], 1));
        });
    }

    #[test]
    fn test_cancelled_put_silence_value_error_exception() {
        virtual_loop().run(async {
            let queue = Rc::new(Queue::bounded(1));
            queue.try_put(1).unwrap();
            let put_task = put(&queue, 1);
            yield_now().await;
            assert_eq!(queue.try_get(), Ok(1));
            put_task.cancel();
            assert_eq!(put_task.await, Err(TaskError::Cancelled));
            assert_eq!(format!("{queue:?}"), shown("Queue", 0, Some(1), [0, 0], 1));
        });
    }
}

mod lifo_queue_tests {
    use crate::common::virtual_loop;
    use onelane::sync::LifoQueue;

    #[test]
    fn test_order() {
        virtual_loop().run(async {
            let q = LifoQueue::unbounded();
            for i in [1, 3, 2] {
                q.put(i).await.unwrap();
            }
            assert_eq!([q.get().await, q.get().await, q.get().await], [2, 3, 1].map(Ok));
        });
    }
}

mod priority_queue_tests {
    use crate::common::virtual_loop;
    use onelane::sync::PriorityQueue;

    #[test]
    fn test_order() {
        virtual_loop().run(async {
            let q = PriorityQueue::unbounded();
            for i in [1, 3, 2] {
                q.put(i).await.unwrap();
            }
            assert_eq!([q.get().await, q.get().await, q.get().await], [1, 2, 3].map(Ok));
        });
    }
}

mod queue_join_test_mixin {
    use super::{TOO_OFTEN, q_classes, shown};
    use crate::common::{panic_of, virtual_loop};
    use futures_util::FutureExt;
    use onelane::task_group;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn test_task_done_underflow() {
        for (class, q) in q_classes::<i32>(None) {
            assert_eq!(panic_of(|| q.task_done()), TOO_OFTEN, "{class}");
        }
    }

    #[test]
    fn test_task_done() {
        for (class, q) in q_classes(None) {
            virtual_loop().run(async {
                for i in 0..100 {
                    q.try_put(i).unwrap();
                }
                let (accumulator, running) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(true)));
                let group = task_group(async |group| {
                    for _ in 0..2 {
                        let (q, accumulator, running) = (q.clone(), accumulator.clone(), running.clone());
                        group.spawn(async move {
                            while running.get() {
                                let item = q.get().await.unwrap();
                                accumulator.set(accumulator.get() + item);
                                q.task_done();
                            }
                        });
                    }
                    q.join().await;
                    assert_eq!(accumulator.get(), (0..100).sum::<i32>(), "{class}");

                    running.set(false);
                    for _ in 0..2 {
                        q.try_put(0).unwrap();
                    }
                });
                group.await.unwrap();
            });
        }
    }

    #[test]
    fn test_join_empty_queue() {
        for (class, q) in q_classes::<i32>(None) {
            virtual_loop().run(async {
                assert_eq!(q.join().now_or_never(), Some(()), "{class}");
                assert_eq!(q.join().now_or_never(), Some(()), "{class}");
            });
        }
    }

    #[test]
    fn test_format() {
        for (class, q) in q_classes(None) {
            assert_eq!(format!("{q:?}"), shown(class, 0, None, [0, 0], 0));
            for item in [1, 2] {
                q.try_put(item).unwrap();
                q.try_get().unwrap();
            }
            assert_eq!(format!("{q:?}"), shown(class, 0, None, [0, 0], 2));
        }
    }
}

mod queue_shutdown_test_mixin {
    use super::{AnyQueue, TOO_OFTEN, q_classes};
    use crate::common::{panic_of, virtual_loop};
    use futures_util::FutureExt;
    use onelane::sync::{PutError, QueueShutDown, TryGetError, TryPutError};
    use onelane::{spawn, yield_now};
    use std::rc::Rc;

    /// Runs a test for a queue of each class.
    fn for_each_class(max_size: Option<usize>, test: impl AsyncFn(Rc<dyn AnyQueue<&'static str>>)) {
        for (class, q) in q_classes(max_size) {
            println!("of class {class}");
            virtual_loop().run(test(q));
        }
    }

    /// Neither put nor get succeeds or waits.
    fn assert_shut_down(q: &Rc<dyn AnyQueue<&'static str>>) {
        assert_eq!(q.put("data").now_or_never(), Some(Err(PutError("data"))));
        assert_eq!(q.try_put("data"), Err(TryPutError::ShutDown("data")));
        assert_eq!(q.get().now_or_never(), Some(Err(QueueShutDown)));
        assert_eq!(q.try_get(), Err(TryGetError::ShutDown));
    }

    #[test]
    fn test_shutdown_empty() {
        for_each_class(None, async |q| {
            let copy = q.clone();
            let get_task = spawn(async move { copy.get().await });
            yield_now().await;

            q.shutdown(false);
            assert_eq!(q.len(), 0);
            q.join().await;
            yield_now().await;
            assert!(get_task.is_done());
            assert_eq!(get_task.await, Ok(Err(QueueShutDown)));
            assert_shut_down(&q);
        });
    }

    #[test]
    fn test_shutdown_nonempty() {
        for_each_class(Some(1), async |q| {
            q.try_put("data").unwrap();
            let join_task = spawn(q.join());
            let copy = q.clone();
            let put_task = spawn(async move { copy.put("data2").await });
            yield_now().await;
            assert!(!put_task.is_done());

            q.shutdown(false);
            assert_eq!(q.len(), 1);
            yield_now().await;
            assert!(put_task.is_done());
            assert_eq!(put_task.await, Ok(Err(PutError("data2"))));
            assert_eq!(q.get().await, Ok("data"));

            yield_now().await;
            assert!(!join_task.is_done());
            assert_shut_down(&q);

            q.task_done();
            yield_now().await;
            assert!(join_task.is_done());
            assert_eq!(join_task.await, Ok(()));
            assert_eq!(panic_of(|| q.task_done()), TOO_OFTEN);
        });
    }

    #[test]
    fn test_shutdown_immediate() {
        for_each_class(None, async |q| {
            q.try_put("data").unwrap();
            let join_task = spawn(q.join());
            q.shutdown(true);
            assert_eq!(q.len(), 0);
            yield_now().await;
            assert!(join_task.is_done());
            assert_eq!(join_task.await, Ok(()));
            assert_shut_down(&q);
            assert_eq!(panic_of(|| q.task_done()), TOO_OFTEN);
        });
    }

    #[test]
    fn test_shutdown_immediate_with_unfinished() {
        for_each_class(None, async |q| {
            q.try_put("data").unwrap();
            q.try_put("data").unwrap();
            let join_task = spawn(q.join());
            assert_eq!(q.get().await, Ok("data"));

            q.shutdown(true);
            assert_eq!(q.len(), 0);
            yield_now().await;
            assert!(!join_task.is_done());
            assert_shut_down(&q);

            q.task_done();
            assert_eq!(panic_of(|| q.task_done()), TOO_OFTEN);
            yield_now().await;
            assert!(join_task.is_done());
            assert_eq!(join_task.await, Ok(()));
        });
    }
}
