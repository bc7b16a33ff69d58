//! All errors: each is an `Error + Send + Sync`, has a source if it has a cause, and becomes what
//! `?` needs.

mod common;

use common::virtual_loop;
use onelane::sync::{BrokenBarrier, PutError, QueueShutDown, SenderDropped, TryGetError, TryPutError, oneshot};
use onelane::{
    Cancelled, ChildError, ChildFailed, Elapsed, GroupError, LoopClosed, NoRunningLoop, Panic, RunError, TaskError,
    TryGatherError, spawn, try_gather, try_task_group,
};
use std::error::Error;
use std::io;

const _: () = {
    const fn assert_errors<T: Error + Send + Sync + 'static>() {}
    assert_errors::<BrokenBarrier>();
    assert_errors::<Cancelled>();
    assert_errors::<ChildError<&str>>();
    assert_errors::<Elapsed>();
    assert_errors::<ChildFailed>();
    assert_errors::<GroupError<String>>();
    assert_errors::<LoopClosed>();
    assert_errors::<NoRunningLoop>();
    assert_errors::<Panic>();
    assert_errors::<PutError<u8>>();
    assert_errors::<QueueShutDown>();
    assert_errors::<RunError>();
    assert_errors::<SenderDropped>();
    assert_errors::<TaskError>();
    assert_errors::<TryGatherError<io::Error>>();
    assert_errors::<TryGetError>();
    assert_errors::<TryPutError<u8>>();
    #[cfg(all(unix, feature = "io"))]
    assert_errors::<onelane::net::IncompleteRead>();
    #[cfg(all(unix, feature = "io"))]
    assert_errors::<onelane::net::LimitOverrun>();
};

fn panicked(message: &'static str) -> Panic {
    let outcome = virtual_loop().run(async { spawn(async move { panic!("{message}") }).await });
    match outcome {
        Err(TaskError::Panicked(panic)) => panic,
        other => unreachable!("{other:?}"),
    }
}

/// The texts of an error and of its sources.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |&error| error.source()).map(|error| error.to_string()).collect()
}

#[test]
fn name_what_has_caused_them() {
    let panic = panicked("no tea");
    assert_eq!(chain(&panic), ["no tea"]);
    let error = TaskError::Panicked(panic.clone());
    assert_eq!(chain(&error), ["the task panicked: no tea", "no tea"]);
    assert_eq!(error.source().unwrap().downcast_ref::<Panic>(), Some(&panic));
    assert!(TaskError::Cancelled.source().is_none());

    // It shows what it contains, and so has its source.
    let error: TryGatherError<io::Error> = TaskError::Panicked(panic.clone()).into();
    assert_eq!(chain(&error), ["the task panicked: no tea", "no tea"]);
    let failed = TryGatherError::Failed(io::Error::from(Elapsed));
    assert_eq!(chain(&failed), ["the time was up"]);
    let failed = TryGatherError::Failed(io::Error::other(error));
    assert_eq!(chain(&failed), ["the task panicked: no tea", "no tea"]);

    let first = ChildError::Failed("no milk");
    let group = GroupError { errors: vec![first.clone(), ChildError::Panicked(panic.clone())] };
    assert_eq!(chain(&group), ["2 failure(s) in a task group: no milk; panicked: no tea", "no milk"]);
    assert_eq!(group.source().unwrap().downcast_ref::<ChildError<&str>>(), Some(&first));
    let group = GroupError::<&str> { errors: vec![ChildError::Panicked(panic)] };
    let texts = ["1 failure(s) in a task group: panicked: no tea", "panicked: no tea", "no tea"];
    assert_eq!(chain(&group), texts);
    assert!(GroupError::<&str> { errors: Vec::new() }.source().is_none());
    assert_eq!(chain(&RunError::Interrupted).len(), 1);
}

/// What `?` does in a function that returns an `io::Result`.
#[test]
fn become_errors_of_io() {
    let kinds: [(io::Error, io::ErrorKind); 9] = [
        (Elapsed.into(), io::ErrorKind::TimedOut),
        (QueueShutDown.into(), io::ErrorKind::BrokenPipe),
        (PutError('a').into(), io::ErrorKind::BrokenPipe),
        (SenderDropped.into(), io::ErrorKind::BrokenPipe),
        (LoopClosed.into(), io::ErrorKind::BrokenPipe),
        (Cancelled.into(), io::ErrorKind::Other),
        (NoRunningLoop.into(), io::ErrorKind::Other),
        (BrokenBarrier.into(), io::ErrorKind::Other),
        (RunError::Cancelled.into(), io::ErrorKind::Other),
    ];
    for (error, kind) in &kinds {
        assert_eq!(error.kind(), *kind, "{error}");
    }
    assert!(kinds[0].0.get_ref().unwrap().is::<Elapsed>());
}

#[test]
fn keep_an_error_of_io_that_a_child_returned() {
    async fn fails(kind: io::ErrorKind) -> io::Result<()> {
        Err(kind.into())
    }
    async fn gathered() -> io::Result<()> {
        try_gather([fails(io::ErrorKind::NotFound)]).await?;
        Ok(())
    }
    async fn grouped(kinds: &'static [io::ErrorKind]) -> io::Result<()> {
        try_task_group(async |group| {
            kinds.iter().for_each(|&kind| drop(group.try_spawn(fails(kind))));
            Ok(())
        })
        .await?;
        Ok(())
    }
    virtual_loop().run(async {
        assert_eq!(gathered().await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let error = grouped(&[io::ErrorKind::NotFound]).await.unwrap_err();
        assert_eq!((error.kind(), error.get_ref().is_none()), (io::ErrorKind::NotFound, true));
        let error = grouped(&[io::ErrorKind::TimedOut, io::ErrorKind::NotFound]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.get_ref().unwrap().is::<GroupError<io::Error>>());
    });
}

/// From one outcome of a task, of a queue or of a channel to another.
#[test]
fn become_each_other() {
    async fn sum() -> Result<u32, TryGatherError<String>> {
        let one = spawn(async { 1 }).await?;
        let rest = try_gather([async { Ok(2) }]).await?;
        Ok(one + rest[0])
    }
    assert_eq!(virtual_loop().run(sum()), Ok(3));
    assert_eq!(TryPutError::from(PutError(7)), TryPutError::ShutDown(7));
    assert_eq!(QueueShutDown::from(PutError(7)), QueueShutDown);
    assert_eq!(TryGetError::from(QueueShutDown), TryGetError::ShutDown);
    let lost = virtual_loop().run(async {
        let (sender, receiver) = oneshot::<u8>();
        drop(sender);
        async { Ok::<u8, io::Error>(receiver.await?) }.await
    });
    assert_eq!(lost.unwrap_err().to_string(), "the sender was dropped and has sent nothing");
}
