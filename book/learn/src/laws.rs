//! The laws in words. Where the kernel of onelane has the same law, the tag is the one in `docs/architecture.md`.

/// Tags and sentences.
pub const LAWS: &[(&str, &str)] = &[
    ("ORDER", "a program's lines appear in the order in which asyncio would print them"),
    ("POLL-1", "a future that has returned Ready is not polled again"),
    ("POLL-2", "a future does at each poll what the coroutine does between two awaits"),
    ("WAKE-0", "a task that was woken is stepped"),
    ("WAKE-1", "a wake of a task that has ended does nothing, even if its row has a new tenant"),
    ("WAKE-2", "no wake from another thread is lost between the last look and the sleep"),
    ("WAKE-3", "a wake steps the task that it names, and a task that nobody woke is not stepped"),
    ("READY-1", "a task is in the queue at most once"),
    ("READY-2", "a turn steps what was in the queue when it began; the rest waits for the next turn"),
    ("FIFO", "what became ready first is stepped first"),
    ("STEP-2", "no step begins inside of a step"),
    ("TIME-1", "the clock does not move while anything is ready, and then to the next deadline"),
    ("TIME-2", "a timer never fires early, and fires in the first turn whose time has reached it"),
    ("TIME-3", "timers fire in the order of their deadlines, equals in the order of their making"),
    ("DONE-1", "an outcome is written once, and others see it when the future was dropped"),
    ("END-1", "when run returns, every future was dropped once"),
    ("AWAIT-1", "an await returns the outcome, in the turn after the end; for an ended task, at once"),
    ("CALL-1", "a done callback is called once, from the ready queue, in its turn"),
    ("GATHER-1", "a gather returns all values in the order of its arguments, or the first error"),
    (
        "WAIT-1",
        "a wait ends by its condition or its timeout, and cancels nothing; a task that has ended already counts after its callback",
    ),
    ("CANCEL-1", "a cancellation ends what the task awaits, then the task; no other line of it runs"),
    ("RACE-1", "the program is right in every order of its tasks"),
    ("CIRCLE-1", "tasks that wait for each other in a circle are found, and only those"),
    ("COST-1", "a task switch allocates nothing"),
    ("LIVE", "a turn ends, and so does a program"),
    ("PANIC", "nothing panics"),
    ("VERDICT", "the program runs until the check has come to its end"),
];

/// The sentence of a law.
pub fn sentence(tag: &str) -> &'static str {
    LAWS.iter().find(|law| law.0 == tag).map_or("", |law| law.1)
}
