//! The exercises, in the order of the book.

use crate::exercise::Exercise;

pub const EXERCISES: &[Exercise] = &[Exercise {
    name: "04-forgets",
    task: "A task that is woken while it runs is not polled again: the wake is lost. Mend `step`.",
    solution: "lane/04-number/lane.rs",
    edits: &[(
        "        if future.as_mut().poll(&mut Context::from_waker(&token.waker())).is_pending() {
            self.rows.borrow_mut()[token.slot].future = Some(future);
",
        "        if future.as_mut().poll(&mut Context::from_waker(&token.waker())).is_pending() {
            self.rows.borrow_mut()[token.slot].future = Some(future);
            self.ready.borrow_mut().retain(|queued| *queued != token);
",
    )],
    check: "tasks.rs",
    cfg: &[],
    law: "WAKE-0",
    hints: &[
        "Which events lie between the step of the task and its Pending? Look at the last wake in the replay.",
        "`yield_now` wakes its own task and then returns Pending. Where does this wake go, and what removes it?",
        "After a poll, `step` takes the task out of the ready queue. A wake that has come during the poll is in there. Remove the line with `retain`.",
    ],
}];
