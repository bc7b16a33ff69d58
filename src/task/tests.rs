//! The output of a task is stored until its last handle is dropped. So the output must be
//! `'static`, like the future.
//!
//! `F: 'static` does not imply `F::Output: 'static`. An `async` block is `'static` if everything
//! that it captures is `'static`; the type that it returns does not matter (rust-lang/rust#84366).
//! So each function that makes a task requires both bounds. Each program below appears twice,
//! without the bound and with it. Only the second version compiles.
//!
//! `EventLoop::run` requires neither bound: it returns the output of its main task.

/// The name, the parameters of the function, its body, and the bounds of `T` apart from `'static`.
macro_rules! needs_static {
    ($($(#[$attribute:meta])* $name:ident: $parameters:literal, $body:literal, $bounds:literal;)+) => {$(
        $(#[$attribute])*
        #[doc = concat!("```compile_fail,E0310\nfn it<T: ", $bounds, ">(", $parameters, ") {\n    ", $body, ";\n}\n```")]
        #[doc = concat!("```\nfn it<T: ", $bounds, " + 'static>(", $parameters, ") {\n    ", $body, ";\n}\n```")]
        struct $name;
    )+};
}

needs_static! {
    Spawn: "", "onelane::spawn(async { T::default() })", "Default";
    Build: "", "onelane::task::Builder::new().spawn(async { T::default() })", "Default";
    SpawnOnALoop: "on: onelane::EventLoop", "on.spawn(async { T::default() })", "Default";
    SpawnByAReference: "on: onelane::LoopRef", "on.spawn(async { T::default() })", "Default";
    SpawnFromElsewhere: "on: onelane::Remote", "on.spawn(async { T::default() })", "Default + Send";

    Gather: "", "onelane::gather([async { T::default() }])", "Default";
    GatherSeveral: "", "onelane::gather!(async { T::default() }, async {})", "Default";
    TryGather: "", "onelane::try_gather([async { Ok::<T, ()>(T::default()) }])", "Default";
    TryGatherErrors: "", "onelane::try_gather([async { Err::<(), T>(T::default()) }])", "Default";
    AsCompleted: "", "onelane::as_completed([async { T::default() }])", "Default";
    Shield: "", "onelane::shield(async { T::default() })", "Default";
    IntoTask: "", "fn task(_: impl onelane::IntoTask) {} task(async { T::default() })", "Default";
    Shieldable: "", "fn shield(_: impl onelane::Shieldable) {} shield(async { T::default() })", "Default";

    SpawnInAGroup: "group: onelane::TaskGroup", "group.spawn(async { T::default() })", "Default";
    TrySpawn: "group: onelane::TaskGroup<()>", "group.try_spawn(async { Ok(T::default()) })", "Default";
    TrySpawnErrors: "group: &onelane::TaskGroup<T>", "group.try_spawn(async { Err::<(), _>(T::default()) })", "Default";
    TryGroup: "", "onelane::try_task_group(async |_| Err::<(), T>(T::default()))", "Default";

    TryWait: "tasks: Vec<onelane::Task<Result<T, ()>>>", "onelane::try_wait(tasks)", "Sized";
    DoneCallback: "task: onelane::Task<T>", "task.add_done_callback(|_| ())", "Sized";
    SetAPromise: "promise: onelane::Promise<T>", "promise.set_result(T::default())", "Default";
    AwaitAPromise: "promise: onelane::Promise<T>", "promise.into_future()", "Sized";
    CallSoon: "value: T", "onelane::call_soon(move || drop(value))", "Sized";
    SetATaskLocal: "", "let _: Option<onelane::TaskLocal<T>> = None", "Sized";

    #[cfg(feature = "threads")]
    ToThread: "", "onelane::to_thread(|| T::default())", "Default + Send";
    #[cfg(all(unix, feature = "hyper"))]
    Execute: "", "hyper::rt::Executor::execute(&onelane::hyper::LoopExecutor, async { T::default() })", "Default";
}
