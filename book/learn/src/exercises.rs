//! The exercises, in the order of the book.

use crate::exercise::Exercise;

pub const EXERCISES: &[Exercise] = &[
    Exercise {
        name: "01-order",
        task: "Predict the lines of gather.py: write `predict`.",
        solution: "learn/solutions/01-order.rs",
        edits: &[(
            r#"    let mut lines: Vec<String> = (1..=naps.len()).map(|i| format!("{i} begins")).collect();
    let mut order: Vec<usize> = (0..naps.len()).collect();
    // Timers fire by their deadlines, and equal ones in the order of their making. This sort keeps that order.
    order.sort_by_key(|&i| naps[i]);
    lines.extend(order.iter().map(|i| format!("{} ends", i + 1)));
    (lines, naps.iter().copied().max().unwrap_or(0))
"#,
            r#"    todo!("predict the lines for {naps:?}")
"#,
        )],
        check: "order.rs",
        cfg: &[],
        law: "PANIC",
        hints: &[
            "Run `cargo run -p lane --bin gather`. Which lines come before the first sleep ends?",
            "All coroutines begin before the first one ends. Then they end by the length of their sleeps.",
            "Two that sleep equally long end in the order in which they began. `sort_by_key` keeps the order of \
                equals. The time is that of the longest sleep.",
        ],
    },
    Exercise {
        name: "02-machine",
        task: "Write the state machine of a coroutine: the `poll` of `Relay`. The coroutine stands at the top of \
            the file.",
        solution: "learn/solutions/02-machine.rs",
        edits: &[(
            r#"        let this = &mut *self;
        let (mut round, mut sum) = match &mut this.state {
            State::Begin => {
                (this.log)("begin".to_string());
                (0, 0)
            }
            State::Fetching { round, sum, number } => {
                let Poll::Ready(number) = number.as_mut().poll(cx) else { return Poll::Pending };
                (*round + 1, *sum + number)
            }
            State::Over => panic!("a future was polled after it had returned Ready"),
        };
        this.state = State::Over;
        while round < this.rounds {
            (this.log)(format!("round {round}"));
            let mut number = (this.fetch)(round);
            match number.as_mut().poll(cx) {
                Poll::Ready(number) => (round, sum) = (round + 1, sum + number),
                Poll::Pending => {
                    this.state = State::Fetching { round, sum, number };
                    return Poll::Pending;
                }
            }
        }
        (this.log)("end".to_string());
        Poll::Ready(sum)
"#,
            r#"        let this = &mut *self;
        match &mut this.state {
            State::Begin => todo!("what comes before the first await? {:?}", cx.waker()),
            State::Fetching { .. } => todo!("poll the number; when it is there, go on to the next await"),
            State::Over => panic!("a future was polled after it had returned Ready"),
        }
"#,
        )],
        check: "by_hand.rs",
        cfg: &[],
        law: "PANIC",
        hints: &[
            "A poll goes on where the last one has stopped, and runs until the next await that is pending. One \
                poll may pass several awaits.",
            "Find the round and the sum with which this poll begins: 0 and 0 in `Begin`; in `Fetching`, those of \
                the state, after the number has been polled and is there.",
            "Then loop over the rounds: log, fetch, poll the number at once. If it is pending, store round, sum \
                and number in `Fetching` and return Pending. After the loop, log the end, and return the sum.",
        ],
    },
    Exercise {
        name: "03-join",
        task: "Finish `join`: a future that runs two futures at the same time. This one runs them one \
            after the other.",
        solution: "learn/solutions/03-join.rs",
        edits: &[(
            r#"        // Both are polled, even if the first one is pending: only a future that was polled makes progress.
        let a = self.a.poll(cx);
        let b = self.b.poll(cx);
        if a && b { Poll::Ready"#,
            r#"        if self.a.poll(cx) && self.b.poll(cx) { Poll::Ready"#,
        )],
        check: "join.rs",
        cfg: &[],
        law: "POLL-2",
        hints: &[
            "How often is b polled while a is pending? What does `&&` do?",
            "A future makes progress only when it is polled. So each poll of the join must poll both sides.",
            "Poll both sides first, keep the two answers, and combine them afterwards.",
        ],
    },
    Exercise {
        name: "04-forgets",
        task: "A task that is woken while it runs is never polled again: the wake is lost. Mend `step`.",
        solution: "lane/04-number/lane.rs",
        edits: &[(
            "            self.rows.borrow_mut()[token.slot].future = Some(future);
",
            "            self.rows.borrow_mut()[token.slot].future = Some(future);
            self.ready.borrow_mut().retain(|queued| *queued != token);
",
        )],
        check: "tasks.rs",
        cfg: &[],
        law: "WAKE-0",
        hints: &[
            "Which events lie between the step of the task and its Pending? Look for the last wake in the replay.",
            "`yield_now` wakes its own task, and then returns Pending. Where does this wake go, and what removes it?",
            "After the poll, `step` takes the task out of the ready queue. A wake that has come during the poll is \
                in there. Remove the line with `retain`.",
        ],
    },
    Exercise {
        name: "04-wrong-task",
        task: "To save work, this kernel makes one waker and uses it for all tasks. Mend `step`: a waker wakes its \
            own task.",
        solution: "lane/04-number/lane.rs",
        edits: &[
            (
                "    /// The slots of rows without a task.
    free: RefCell<Vec<usize>>,
",
                "    /// The slots of rows without a task.
    free: RefCell<Vec<usize>>,
    waker: RefCell<Option<Waker>>,
",
            ),
            (
                "        if future.as_mut().poll(&mut Context::from_waker(&token.waker())).is_pending() {
",
                "        let waker = self.waker.borrow_mut().get_or_insert_with(|| token.waker()).clone();
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
",
            ),
        ],
        check: "tasks.rs",
        cfg: &[],
        law: "WAKE-3",
        hints: &[
            "Which task was woken in the replay, and which one is stepped?",
            "A waker is a number, and the number names one task. Whose number does the waker in `step` have?",
            "Make the waker of each task from its own token: `token.waker()`. It costs nothing, because it is a \
                number.",
        ],
    },
    Exercise {
        name: "04-generation",
        task: "A waker of a task that has ended wakes the next task in the same row. Mend the kernel.",
        solution: "lane/04-number/lane.rs",
        edits: &[(
            "        self.rows.borrow_mut()[token.slot].generation += 1;
        self.free.borrow_mut().push(token.slot);
",
            "        self.free.borrow_mut().push(token.slot);
",
        )],
        check: "tasks.rs",
        cfg: &[],
        law: "WAKE-1",
        hints: &[
            "The replay ends with the wake of a task that has ended. Which task was stepped instead, and which row \
                does it have?",
            "A row is used again. What tells a waker of its last tenant from one of the new tenant?",
            "The generation of a row must grow when its task has ended: in `remove`.",
        ],
    },
    Exercise {
        name: "05-twice",
        task: "A task that is woken twice before its step steps twice. Mend `wake`.",
        solution: "lane/05-turn/lane.rs",
        edits: &[(
            "        let is_first = row.is_some_and(|row| !std::mem::replace(&mut row.is_queued, true));
",
            "        let is_first = row.is_some();
",
        )],
        check: "tasks.rs",
        cfg: &["turns"],
        law: "READY-1",
        hints: &[
            "How often does the task stand in the ready queue after its second wake?",
            "A row has the flag `is_queued`. Who sets it, who clears it, and who reads it?",
            "`wake` must queue a task only if it is not queued yet, and set the flag when it does.",
        ],
    },
    Exercise {
        name: "05-lifo",
        task: "The task that became ready last is stepped first, and others starve. Mend `turn`.",
        solution: "lane/05-turn/lane.rs",
        edits: &[("self.ready.borrow_mut().pop_front()", "self.ready.borrow_mut().pop_back()")],
        check: "tasks.rs",
        cfg: &["turns"],
        law: "FIFO",
        hints: &[
            "Which task was ready first in the replay, and which one is stepped?",
            "New entries are pushed at the back of the queue. From which end must they be taken?",
            "`pop_back` makes a stack of the queue. Use `pop_front`.",
        ],
    },
    Exercise {
        name: "05-endless-turn",
        task: "A turn of this kernel goes on until nothing is ready. A task that is always ready then keeps it for \
            ever. Mend `turn`.",
        solution: "lane/05-turn/lane.rs",
        edits: &[(
            "        for _ in 0..marked {
            let Some(token) = self.ready.borrow_mut().pop_front() else { break };
            self.step(token);
        }
",
            "        while let Some(token) = { self.ready.borrow_mut().pop_front() } {
            self.step(token);
        }
",
        )],
        check: "tasks.rs",
        cfg: &["turns"],
        law: "READY-2",
        hints: &[
            "When did the task become ready that is stepped last in the replay?",
            "What becomes ready during a turn waits for the next one. How many entries does a turn take, then?",
            "Count the entries when the turn begins, and step so many: not until the queue is empty.",
        ],
    },
    Exercise {
        name: "06-off-by-one",
        task: "A timer that is due now does not fire now. Mend `turn`.",
        solution: "lane/06-time/lane.rs",
        edits: &[("alarm.0 <= now && alarm.1 < young", "alarm.0 < now && alarm.1 < young")],
        check: "tasks.rs",
        cfg: &["turns", "time", "computes"],
        law: "TIME-2",
        hints: &[
            "What time is it in the last event, and what is the deadline of the timer?",
            "On a virtual clock, the time jumps exactly to the deadline. Is the timer due then?",
            "A timer is due when its deadline is not later than the time: `<=`, not `<`.",
        ],
    },
    Exercise {
        name: "06-wheel",
        task: "Finish the timer wheel: `expire` forgets the timers of the higher levels.",
        solution: "learn/solutions/06-wheel.rs",
        edits: &[(
            r#"        while let Some((level, slot)) = self.first() {
            // The first moment of the slot: the digits above are those of the time, the digits below are zero.
            let above = self.now >> (6 * (level + 1)) << (6 * (level + 1));
            let start = above + ((slot as u64) << (6 * level));
            if start > now {
                break;
            }
            self.now = start;
            for timer in std::mem::take(&mut self.slots[level][slot]) {
                if timer.deadline == start {
                    due.push(timer.id);
                } else {
                    self.insert(timer.id, timer.deadline);
                }
            }
        }
        self.now = now;
"#,
            r#"        // The timers of level 0, slot by slot. What about the other levels? See `first`.
        while self.now < now {
            self.now += 1;
            let slot = digit(self.now, 0);
            due.extend(self.slots[0][slot].drain(..).map(|timer| timer.id));
        }
"#,
        )],
        check: "wheel.rs",
        cfg: &[],
        law: "TIME-2",
        hints: &[
            "Which timer does not fire? On which level was it put, when it was inserted?",
            "When the time enters a slot of a higher level, the timers of that slot differ from the time in a \
                lower digit only. Take them out and insert them again: they move down.",
            "Do not walk: ask `first` for the slot that is entered first, and compute its first moment. Stop if it \
                is later than `now`. Set the time to it, and then take each timer of the slot: it is due if its \
                deadline is this moment, else it is inserted again.",
        ],
    },
    Exercise {
        name: "07-drop-order",
        task: "Others see a task's outcome before its destructors have run. Mend `step` of the task cell.",
        solution: "lane/07-cell/lane.rs",
        edits: &[(
            "        let dropped = caught(|| drop(future));
        *self.outcome.borrow_mut() = Some(dropped.and(outcome));
",
            "        *self.outcome.borrow_mut() = Some(outcome);
        let dropped = caught(|| drop(future));
        if let Err(panic) = dropped {
            *self.outcome.borrow_mut() = Some(Err(panic));
        }
",
        )],
        check: "cells.rs",
        cfg: &["turns"],
        law: "DONE-1",
        hints: &[
            "Who looks at the outcome in the last event, and what has not happened yet?",
            "The future is dropped in `step`. Who can run code there, and what does it see?",
            "Drop the future first. Then write the outcome, once: a panic of the destructor in place of the value.",
        ],
    },
    Exercise {
        name: "08-gather",
        task: "Finish `gather`: how the end of each task is counted, and when the one who waits is woken.",
        solution: "lane/08-await/lane.rs",
        edits: &[(
            "        self.left.set(self.left.get() - 1);
        if self.decided.get().is_none() && (stops || self.left.get() == 0) {
            self.decided.set(Some(stops.then_some(nth)));
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
",
            "        // Task `nth` has ended; if `stops`, the gather ends with its outcome.
        self.left.set(self.left.get() - 1);
        _ = (nth, stops);
",
        )],
        check: "differ.rs",
        cfg: &["turns", "time"],
        law: "GATHER-1",
        hints: &[
            "When is it decided how a gather ends? There are two cases.",
            "It is decided when no task is left, or when a task has stopped it. It is decided once: what ends \
                afterwards changes nothing.",
            "If it is not decided, and `stops` or nothing is left: set `decided` to `Some(Some(nth))` or \
                `Some(None)`, take the waker out, and wake.",
        ],
    },
    Exercise {
        name: "09-lost-cancel",
        task: "A task that is cancelled while it awaits another task ends, and the other one runs on: the \
            cancellation is lost. Mend `spread`.",
        solution: "lane/09-cancel/lane.rs",
        edits: &[(
            "        if links.iter().all(|(child, _)| child.head().is_spreading.get()) {
            self.wake(head.token);
        }
        for (child, _) in &links {
            self.cancel(child);
        }
",
            "        self.wake(head.token);
",
        )],
        check: "differ.rs",
        cfg: &["turns", "time", "cancel"],
        law: "CANCEL-1",
        hints: &[
            "Which task was cancelled in the events, and what did it await?",
            "In asyncio a cancellation goes down to the task that is awaited. The one above is stepped when that \
                has ended, not before.",
            "Cancel each task of `links`. Their ends wake this task. Wake it at once only if there is no link, or \
                if all of them are on the same way: `is_spreading`.",
        ],
    },
    Exercise {
        name: "10-race",
        task: "Two payments can spend the same money, although there is one thread. Mend `pay`, so that it is \
            right in every order.",
        solution: "learn/solutions/10-race.rs",
        edits: &[(
            "        // The money is taken before the await, so that no other task counts on it.
        self.balance.set(self.balance.get() - amount);
        let agrees = bank().await;
        if !agrees {
            self.balance.set(self.balance.get() + amount);
        }
        agrees
",
            "        let agrees = bank().await;
        if agrees {
            self.balance.set(self.balance.get() - amount);
        }
        agrees
",
        )],
        check: "race.rs",
        cfg: &[],
        law: "RACE-1",
        hints: &[
            "In which line can another task run? What did this task know before it, and what of that may be false \
                afterwards?",
            "Between the check and the payment is an await. Another payment may pass the same check there.",
            "Take the money before the await, and put it back if the bank refuses.",
        ],
    },
    Exercise {
        name: "11-circle",
        task: "Find a deadlock: a circle of tasks that wait for each other. `circle` looks only at the first task \
            that each one waits for.",
        solution: "learn/solutions/11-circle.rs",
        edits: &[("waits[task].iter().find_map(", "waits[task].iter().take(1).find_map(")],
        check: "circle.rs",
        cfg: &[],
        law: "CIRCLE-1",
        hints: &[
            "For which tasks does each task of the example wait? Draw the arrows.",
            "A task waits for all of its tasks. A circle may go through any of them.",
            "Follow every arrow, not only the first one. `is_free` keeps you from following a way twice.",
        ],
    },
    Exercise {
        name: "12-allocates",
        task: "Each turn of this kernel allocates memory. Mend `turn`: a switch allocates nothing.",
        solution: "lane/05-turn/lane.rs",
        edits: &[(
            "        let marked = self.ready.borrow().len();
        for _ in 0..marked {
            let Some(token) = self.ready.borrow_mut().pop_front() else { break };
            self.step(token);
        }
        marked > 0
",
            "        let marked: Vec<Token> = self.ready.borrow_mut().drain(..).collect();
        for &token in &marked {
            self.step(token);
        }
        !marked.is_empty()
",
        )],
        check: "allocations.rs",
        cfg: &["turns"],
        law: "COST-1",
        hints: &[
            "Which line makes something that did not exist before, in each turn?",
            "To know where the turn ends, the tokens need not be copied. What would be enough to know?",
            "Count the entries when the turn begins, and pop so many from the queue.",
        ],
    },
    Exercise {
        name: "13-inbox",
        task: "A wake from another thread that comes just before the loop goes to sleep is lost. Mend `wait` of \
            the inbox.",
        solution: "lane/13-threads/lane.rs",
        edits: &[(
            "            Some(time) => drop(self.bell.wait_timeout_while(woken, time, |woken| woken.is_empty())),
            None => drop(self.bell.wait_while(woken, |woken| woken.is_empty())),
",
            "            Some(time) => drop(self.bell.wait_timeout(woken, time)),
            None => drop(self.bell.wait(woken)),
",
        )],
        check: "threads.rs",
        cfg: &["turns", "time", "locks"],
        law: "WAKE-2",
        hints: &[
            "When does the other thread ring the bell, and when does the loop begin to listen?",
            "A bell that rings before somebody listens is not heard. But what it rang for is still there.",
            "Look into the inbox under the lock, and wait only while it is empty: `wait_while`, `wait_timeout_while`.",
        ],
    },
    Exercise {
        name: "14-final",
        task: "This kernel has all parts, and somewhere it leaves asyncio's order. Find the place.",
        solution: "lane/13-threads/lane.rs",
        edits: &[(
            "                self.tally.count_at_the_end(nth, task, self.stops);
",
            "                match task.result() {
                    Some(outcome) => self.tally.0.count(nth, (self.stops)(&outcome)),
                    None => self.tally.count_at_the_end(nth, task, self.stops),
                }
",
        )],
        check: "differ.rs",
        cfg: &["turns", "time", "cancel"],
        law: "WAIT-1",
        hints: &[
            "Which line comes too early? Which statement logs it?",
            "A gather of tasks that have ended does not pause. Does a `wait` pause?",
            "In asyncio, `wait` hears of each task by a callback from the ready queue, also of one that has ended \
                already. See `poll` of `Wait`.",
        ],
    },
];
