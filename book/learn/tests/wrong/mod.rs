//! Wrong solutions, as replacements in the right one. To these, `refused.rs` adds six of each exercise: the exercise as it is, the right
//! lines in a comment, and code at `entry` that ends the process or hangs.

#[derive(Debug)]
pub struct Wrong {
    pub exercise: &'static str,
    /// The first line of a function that the check reaches.
    pub entry: &'static str,
    pub solutions: &'static [Solution],
}

/// A name, and replacements.
pub type Solution = (&'static str, &'static [(&'static str, &'static str)]);

const STEP: &str = "        if future.as_mut().poll(&mut Context::from_waker(&token.waker())).is_pending() {\n";
const KEEP: &str = "            self.rows.borrow_mut()[token.slot].future = Some(future);\n";
const POP: &str = "let Some(token) = self.ready.borrow_mut().pop_front() else { break };";
const FIRST: &str = "        let is_first = row.is_some_and(|row| !std::mem::replace(&mut row.is_queued, true));\n";
const LOOP: &str = "        for _ in 0..marked {\n";
const TURN: &str = "    fn turn(&self) -> bool {\n";
const DROP: &str = "        let dropped = caught(|| drop(future));\n";
const DECIDE: &str = "(stops || self.left.get() == 0)";

pub const WRONG: &[Wrong] = &[
    Wrong {
        exercise: "01-order",
        entry: "pub fn predict(naps: &[u64]) -> (Vec<String>, u64) {\n",
        solutions: &[
            ("the sum of the naps", &[("naps.iter().copied().max().unwrap_or(0)", "naps.iter().sum()")]),
            (
                "in pairs",
                &[(
                    "    (lines, naps",
                    "    lines = order.iter().flat_map(|i| [format!(\"{} begins\", i + 1), format!(\"{} ends\", i + 1)]).collect();\n    (lines, naps",
                )],
            ),
            ("no sorting: right for gather.py", &[("    order.sort_by_key(|&i| naps[i]);\n", "")]),
            (
                "the longest first",
                &[("order.sort_by_key(|&i| naps[i]);", "order.sort_by_key(|&i| std::cmp::Reverse(naps[i]));")],
            ),
            ("equals in reverse", &[("    order.sort_by_key", "    order.reverse();\n    order.sort_by_key")]),
            (
                "sorted only if there are few",
                &[
                    ("    order.sort_by_key", "    if naps.len() < 5\n    { order.sort_by_key"),
                    ("naps[i]);\n", "naps[i]) }\n"),
                ],
            ),
        ],
    },
    Wrong {
        exercise: "02-machine",
        entry: "    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {\n",
        solutions: &[
            (
                "logs after the fetch",
                &[
                    ("            (this.log)(format!(\"round {round}\"));\n", ""),
                    (
                        "(this.fetch)(round);\n",
                        "(this.fetch)(round);\n            (this.log)(format!(\"round {round}\"));\n",
                    ),
                ],
            ),
            (
                "waits for one poll more",
                &[("            match number.as_mut().poll(cx) {", "            match Poll::<u32>::Pending {")],
            ),
            ("forgets the sum", &[("(*round + 1, *sum + number)", "(*round + 1, number)")]),
            ("begins the round again", &[("(*round + 1, *sum + number)", "(*round, *sum + number)")]),
            (
                "begins again after its end",
                &[("        this.state = State::Over;\n", "        this.state = State::Begin;\n")],
            ),
            ("is never over", &[("        this.state = State::Over;\n", "")]),
            ("logs no end", &[("        (this.log)(\"end\".to_string());\n", "")]),
            (
                "logs the begin at each poll",
                &[(
                    "            State::Fetching { round, sum, number } => {\n",
                    "            State::Fetching { round, sum, number } => {\n                (this.log)(\"begin\".to_string());\n",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "03-join",
        entry: "    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {\n",
        solutions: &[
            ("one is enough", &[("if a && b {", "if a || b {")]),
            ("b only after a", &[("let b = self.b.poll(cx);", "let b = a && self.b.poll(cx);")]),
            (
                "a waker that does nothing",
                &[("self.b.poll(cx)", "self.b.poll(&mut Context::from_waker(std::task::Waker::noop()))")],
            ),
            (
                "a is polled twice",
                &[(
                    "        let a = self.a.poll(cx);\n",
                    "        _ = self.a.poll(cx);\n        let a = self.a.poll(cx);\n",
                )],
            ),
            ("forgets the value", &[("            *self = Side::Done(Some(value));\n", "            drop(value);\n")]),
            (
                "polls until b is ready",
                &[("        let b = self.b.poll(cx);\n", "        while !self.b.poll(cx) {}\n        let b = true;\n")],
            ),
        ],
    },
    Wrong {
        exercise: "04-forgets",
        entry: "    fn step(&self) -> bool {\n",
        solutions: &[
            (
                "the queue is cleared",
                &[(
                    KEEP,
                    "            self.rows.borrow_mut()[token.slot].future = Some(future);\n            self.ready.borrow_mut().clear();\n",
                )],
            ),
            (
                "main is spared",
                &[(
                    KEEP,
                    "            self.rows.borrow_mut()[token.slot].future = Some(future);\n            self.ready.borrow_mut().retain(|queued| *queued != token || token.slot == 0);\n",
                )],
            ),
            (
                "the first tenant is spared",
                &[(
                    KEEP,
                    "            self.rows.borrow_mut()[token.slot].future = Some(future);\n            self.ready.borrow_mut().retain(|queued| *queued != token || token.generation == 0);\n",
                )],
            ),
            (
                "always queued again",
                &[(
                    KEEP,
                    "            self.rows.borrow_mut()[token.slot].future = Some(future);\n            self.ready.borrow_mut().retain(|queued| *queued != token);\n            self.ready.borrow_mut().push_back(token);\n",
                )],
            ),
            (
                "a running task is not queued",
                &[(
                    "row.generation == token.generation);\n        if is_current",
                    "row.generation == token.generation && row.future.is_some());\n        if is_current",
                )],
            ),
            (
                "the last wake is dropped",
                &[(
                    KEEP,
                    "            self.rows.borrow_mut()[token.slot].future = Some(future);\n            self.ready.borrow_mut().pop_back();\n",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "04-wrong-task",
        entry: "    fn step(&self) -> bool {\n",
        solutions: &[
            (
                "generation 0",
                &[(
                    STEP,
                    "        let waker = Token { slot: token.slot, generation: 0 }.waker();\n        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {\n",
                )],
            ),
            (
                "the row before",
                &[(
                    STEP,
                    "        let waker = Token { slot: token.slot.saturating_sub(1), ..token }.waker();\n        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {\n",
                )],
            ),
            (
                "main",
                &[(
                    STEP,
                    "        let waker = Token { slot: 0, generation: 0 }.waker();\n        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {\n",
                )],
            ),
            ("two rows", &[("data.addr() & 0xffff_ffff", "data.addr() & 1")]),
            (
                "everybody",
                &[(
                    "            self.ready.borrow_mut().push_back(token);\n        }\n    }\n\n    /// Polls",
                    "            for (slot, row) in self.rows.borrow().iter().enumerate() {\n                self.ready.borrow_mut().push_back(Token { slot, generation: row.generation });\n            }\n        }\n    }\n\n    /// Polls",
                )],
            ),
            (
                "nobody",
                &[(STEP, "        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {\n")],
            ),
        ],
    },
    Wrong {
        exercise: "04-generation",
        entry: "    fn step(&self) -> bool {\n",
        solutions: &[
            ("two generations", &[(".generation += 1;", ".generation ^= 1;")]),
            (
                "nobody looks",
                &[
                    ("is_some_and(|row| row.generation == token.generation)", "is_some()"),
                    (
                        "rows.get_mut(token.slot).filter(|row| row.generation == token.generation)?",
                        "rows.get_mut(token.slot)?",
                    ),
                ],
            ),
            (
                "not in the waker",
                &[("without_provenance(self.generation << 32 | self.slot)", "without_provenance(self.slot)")],
            ),
            (
                "older ones too",
                &[
                    (
                        "is_some_and(|row| row.generation == token.generation)",
                        "is_some_and(|row| row.generation >= token.generation)",
                    ),
                    (
                        "rows.get_mut(token.slot).filter(|row| row.generation == token.generation)?",
                        "rows.get_mut(token.slot)?",
                    ),
                ],
            ),
            ("one bit in the waker", &[("generation: data.addr() >> 32 }", "generation: data.addr() >> 32 & 1 }")]),
            (
                "counted for main alone",
                &[(
                    "        self.rows.borrow_mut()[token.slot].generation += 1;\n",
                    "        if token.slot == 0 {\n            self.rows.borrow_mut()[token.slot].generation += 1;\n        }\n",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "05-twice",
        entry: TURN,
        solutions: &[
            ("the flag is never cleared", &[("        row.is_queued = false;\n", "")]),
            (
                "cleared after the poll",
                &[
                    ("        row.is_queued = false;\n", ""),
                    (
                        KEEP,
                        "            self.rows.borrow_mut()[token.slot].future = Some(future);\n            self.rows.borrow_mut()[token.slot].is_queued = false;\n",
                    ),
                ],
            ),
            (
                "only not twice in a row",
                &[(FIRST, "        let is_first = row.is_some() && self.ready.borrow().back() != Some(&token);\n")],
            ),
            ("never queued", &[(FIRST, "        let is_first = row.is_some() && false;\n")]),
            (
                "not while it runs",
                &[(
                    FIRST,
                    "        let is_first = row.is_some_and(|row| row.future.is_some() && !std::mem::replace(&mut row.is_queued, true));\n",
                )],
            ),
            (
                "the flag is read and not set",
                &[(FIRST, "        let is_first = row.is_some_and(|row| !row.is_queued);\n")],
            ),
        ],
    },
    Wrong {
        exercise: "05-lifo",
        entry: TURN,
        solutions: &[
            (
                "from the middle",
                &[(
                    POP,
                    "let middle = self.ready.borrow().len() / 2;\n            let Some(token) = self.ready.borrow_mut().remove(middle) else { break };",
                )],
            ),
            (
                "the woken first",
                &[(
                    "        if is_first {\n            self.ready.borrow_mut().push_back(token);",
                    "        if is_first {\n            self.ready.borrow_mut().push_front(token);",
                )],
            ),
            (
                "the spawned first",
                &[(
                    "self.ready.borrow_mut().push_back(Token { slot, generation: rows[slot].generation });",
                    "self.ready.borrow_mut().push_front(Token { slot, generation: rows[slot].generation });",
                )],
            ),
            (
                "right for two",
                &[(
                    POP,
                    "let is_long = self.ready.borrow().len() > 2;\n            let next = if is_long { self.ready.borrow_mut().pop_back() } else { self.ready.borrow_mut().pop_front() };\n            let Some(token) = next else { break };",
                )],
            ),
            (
                "by the row",
                &[(
                    POP,
                    "let first = self.ready.borrow().iter().enumerate().min_by_key(|(_, token)| token.slot).map(|(nth, _)| nth);\n            let Some(token) = first.and_then(|nth| self.ready.borrow_mut().remove(nth)) else { break };",
                )],
            ),
            (
                "turned by one",
                &[(
                    POP,
                    "let is_long = self.ready.borrow().len() > 1;\n            if is_long {\n                self.ready.borrow_mut().rotate_left(1);\n            }\n            let Some(token) = self.ready.borrow_mut().pop_front() else { break };",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "05-endless-turn",
        entry: TURN,
        solutions: &[
            ("one too many", &[(LOOP, "        for _ in 0..marked + 1 {\n")]),
            ("at least two", &[(LOOP, "        for _ in 0..marked.max(2) {\n")]),
            ("only one", &[(LOOP, "        for _ in 0..marked.min(1) {\n")]),
            ("one too few", &[(LOOP, "        for _ in 0..marked.saturating_sub(1) {\n")]),
            ("a hundred", &[(LOOP, "        for _ in 0..100 {\n")]),
            (
                "the length is asked again",
                &[(
                    LOOP,
                    "        let mut steps = 0;\n        while steps < self.ready.borrow().len() {\n            steps += 1;\n",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "06-off-by-one",
        entry: TURN,
        solutions: &[
            ("a timer of this turn fires", &[("alarm.0 <= now && alarm.1 < young", "alarm.0 <= now")]),
            (
                "the clock is read again",
                &[("alarm.0 <= now && alarm.1 < young", "alarm.0 <= self.now() && alarm.1 < young")],
            ),
            (
                "the clock is read again, and young timers fire",
                &[("alarm.0 <= now && alarm.1 < young", "alarm.0 <= self.now()")],
            ),
            (
                "timers before the entries",
                &[(
                    "        for _ in 0..marked {\n",
                    "        while let Some(alarm) = self.first_alarm().filter(|alarm| alarm.0 <= now && alarm.1 < young) {\n            let waker = self.timers.borrow_mut().remove(&alarm);\n            waker.unwrap().wake();\n        }\n        for _ in 0..marked {\n",
                )],
            ),
            (
                "a millisecond early",
                &[(
                    "alarm.0 <= now && alarm.1 < young",
                    "alarm.0 <= now + Duration::from_millis(1) && alarm.1 < young",
                )],
            ),
            (
                "one timer a turn",
                &[(
                    "        while let Some(alarm) = self.first_alarm().filter",
                    "        if let Some(alarm) = self.first_alarm().filter",
                )],
            ),
            (
                "the last timer first",
                &[("self.timers.borrow().keys().next().copied()", "self.timers.borrow().keys().next_back().copied()")],
            ),
            (
                "a millisecond late",
                &[(
                    "let alarm = (deadline, self.alarms.get());",
                    "let alarm = (deadline + Duration::from_millis(1), self.alarms.get());",
                )],
            ),
            (
                "the clock jumps too far",
                &[(
                    "Clock::Virtual(deadline.max(now))",
                    "Clock::Virtual(deadline.max(now) + Duration::from_millis(1))",
                )],
            ),
            (
                "a dropped sleep keeps its timer",
                &[("_ = LANE.try_with(|lane| lane.timers.borrow_mut().remove(&alarm));", "_ = alarm;")],
            ),
        ],
    },
    Wrong {
        exercise: "06-wheel",
        entry: "    pub fn expire(&mut self, now: u64) -> Vec<u64> {\n",
        solutions: &[
            (
                "walks through every moment",
                &[
                    (
                        "        while let Some((level, slot)) = self.first() {\n",
                        "        while self.now < now {\n            self.now += 1;\n            std::hint::black_box(&self.now);\n            if self.first().is_none_or(|(level, slot)| self.now < self.start(level, slot)) {\n                continue;\n            }\n            self.now -= 1;\n            let Some((level, slot)) = self.first() else { break };\n",
                    ),
                    (
                        "    fn level(&self, deadline",
                        "    fn start(&self, level: usize, slot: usize) -> u64 {\n        (self.now >> (6 * (level + 1)) << (6 * (level + 1))) + ((slot as u64) << (6 * level))\n    }\n\n    fn level(&self, deadline",
                    ),
                ],
            ),
            ("late by one", &[("            if start > now {\n", "            if start >= now {\n")]),
            (
                "what moves down is lost",
                &[(
                    "                    self.insert(timer.id, timer.deadline);\n                }\n            }",
                    "                    drop(timer);\n                }\n            }",
                )],
            ),
            ("all that is due, unsorted", &[("if timer.deadline == start {", "if timer.deadline <= now {")]),
            ("the lowest digit decides", &[("(0..LEVELS).rev().find(", "(0..LEVELS).find(")]),
            ("two levels", &[("const LEVELS: usize = 4;", "const LEVELS: usize = 2;")]),
            (
                "the digits above are forgotten",
                &[("let above = self.now >> (6 * (level + 1)) << (6 * (level + 1));", "let above = 0;")],
            ),
            (
                "the last one first",
                &[(
                    "        self.now = now;\n        due\n",
                    "        self.now = now;\n        due.reverse();\n        due\n",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "07-drop-order",
        entry: TURN,
        solutions: &[
            (
                "never dropped",
                &[(DROP, "        let dropped: Result<(), TaskError> = Ok(std::mem::forget(future));\n")],
            ),
            (
                "a borrow is held over the drop",
                &[
                    (
                        DROP,
                        "        let mut place = self.outcome.borrow_mut();\n        let dropped = caught(|| drop(future));\n",
                    ),
                    (
                        "        *self.outcome.borrow_mut() = Some(dropped.and(outcome));\n",
                        "        *place = Some(dropped.and(outcome));\n",
                    ),
                ],
            ),
            ("a panic of the destructor is lost", &[("Some(dropped.and(outcome))", "Some({ _ = dropped; outcome })")]),
            (
                "dropped with the cell",
                &[(
                    DROP,
                    "        *self.future.borrow_mut() = Some(future);\n        let dropped: Result<(), TaskError> = Ok(());\n",
                )],
            ),
            (
                "a look takes the outcome",
                &[("        self.0.outcome.borrow().clone()\n", "        self.0.outcome.take()\n")],
            ),
            (
                "no panic is caught",
                &[(
                    "    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {",
                    "    if true {\n        return Ok(call());\n    }\n    catch_unwind(AssertUnwindSafe(|| -> R { unreachable!() })).map_err(|panic| {",
                )],
            ),
            ("values leak", &[("        drop(task);\n    }\n", "        std::mem::forget(task);\n    }\n")]),
        ],
    },
    Wrong {
        exercise: "08-gather",
        entry: "    fn count(&self, nth: usize, stops: bool) {\n",
        solutions: &[
            ("nothing stops it", &[(DECIDE, "self.left.get() == 0")]),
            ("decided again and again", &[("self.decided.get().is_none() && (stops", "(stops")]),
            (
                "always the last one",
                &[("self.decided.set(Some(stops.then_some(nth)));", "self.decided.set(Some(Some(nth)));")],
            ),
            ("never an error", &[("self.decided.set(Some(stops.then_some(nth)));", "self.decided.set(Some(None));")]),
            (
                "nobody is woken",
                &[(
                    "                waker.wake();\n            }\n        }\n    }\n\n    fn poll",
                    "                drop(waker);\n            }\n        }\n    }\n\n    fn poll",
                )],
            ),
            ("one is enough", &[(DECIDE, "(stops || self.left.get() <= 1)")]),
            (
                "woken at each end",
                &[(
                    "        if self.decided.get().is_none() &&",
                    "        if let Some(waker) = &*self.waker.borrow() {\n            waker.wake_by_ref();\n        }\n        if self.decided.get().is_none() &&",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "09-lost-cancel",
        entry: "    fn spread(&self, task: &Rc<dyn AnyCell>) {\n",
        solutions: &[
            (
                "only the first",
                &[("        for (child, _) in &links {\n", "        for (child, _) in links.iter().take(1) {\n")],
            ),
            (
                "the task at once, and then the others",
                &[(
                    "        if links.iter().all(|(child, _)| child.head().is_spreading.get()) {\n            self.wake(head.token);\n        }\n",
                    "        self.wake(head.token);\n",
                )],
            ),
            (
                "no gathers",
                &[(
                    "        for (child, _) in &links {\n            self.cancel(child);",
                    "        for (child, _) in links.iter().filter(|link| link.1.is_none()) {\n            self.cancel(child);",
                )],
            ),
            (
                "a circle hangs",
                &[(
                    "        if links.iter().all(|(child, _)| child.head().is_spreading.get()) {\n",
                    "        if links.is_empty() {\n",
                )],
            ),
            (
                "also what a decided gather has awaited",
                &[(
                    "        links.retain(|(_, gather)| gather.as_ref().is_none_or(|tally| tally.decided.get().is_none()));\n",
                    "        links.retain(|_| true);\n",
                )],
            ),
            (
                "no cleanups",
                &[(
                    "        while let Some(mut cleanup) = { self.head.cleanups.borrow_mut().pop() } {\n",
                    "        drop(self.head.cleanups.take());\n        while let Some(mut cleanup) = { self.head.cleanups.borrow_mut().pop() } {\n",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "10-race",
        entry: "    pub async fn pay(&self, amount: i64, bank: impl AsyncFnOnce() -> bool) -> bool {\n",
        solutions: &[
            ("refuses all", &[("if self.balance.get() < amount {", "if self.balance.get() < amount || true {")]),
            ("the bank is not asked", &[("let agrees = bank().await;", "let agrees = true;")]),
            (
                "nothing is given back",
                &[("self.balance.set(self.balance.get() + amount);", "self.balance.set(self.balance.get());")],
            ),
            (
                "the balance of before",
                &[(
                    "        self.balance.set(self.balance.get() - amount);\n        let agrees = bank().await;\n        if !agrees {\n            self.balance.set(self.balance.get() + amount);\n",
                    "        let before = self.balance.get();\n        let agrees = bank().await;\n        if agrees {\n            self.balance.set(before - amount);\n",
                )],
            ),
            (
                "only large amounts are taken first",
                &[(
                    "        self.balance.set(self.balance.get() - amount);\n        let agrees = bank().await;\n        if !agrees {\n            self.balance.set(self.balance.get() + amount);\n",
                    "        if amount > 50 {\n            self.balance.set(self.balance.get() - amount);\n        }\n        let agrees = bank().await;\n        if agrees && amount <= 50 {\n            self.balance.set(self.balance.get() - amount);\n        }\n        if !agrees && amount > 50 {\n            self.balance.set(self.balance.get() + amount);\n",
                )],
            ),
            (
                "never below zero",
                &[(
                    "        self.balance.set(self.balance.get() - amount);\n        let agrees = bank().await;\n        if !agrees {\n            self.balance.set(self.balance.get() + amount);\n",
                    "        let agrees = bank().await;\n        if agrees {\n            self.balance.set((self.balance.get() - amount).max(0));\n",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "11-circle",
        entry: "pub fn circle(waits: &[Vec<usize>]) -> Option<Vec<usize>> {\n",
        solutions: &[
            ("never", &[("    if let Some(place) = way.iter()", "    if let Some(place) = [0; 0].iter()")]),
            (
                "the way into it too",
                &[("return Some(way[place..].to_vec());", "return Some(way[place.min(0)..].to_vec());")],
            ),
            ("from the first task only", &[("(0..waits.len()).find_map", "(0..waits.len().min(1)).find_map")]),
            ("every way again", &[("is_free[task] = found.is_none();", "is_free[task] = false;")]),
            (
                "free before it is known",
                &[("    way.push(task);\n", "    way.push(task);\n    is_free[task] = true;\n")],
            ),
            ("the last task only", &[("waits[task].iter().find_map(", "waits[task].iter().rev().take(1).find_map(")]),
        ],
    },
    Wrong {
        exercise: "12-allocates",
        entry: TURN,
        solutions: &[
            (
                "a box for each step",
                &[(
                    "            self.step(token);\n",
                    "            let token = std::hint::black_box(Box::new(token));\n            self.step(*token);\n",
                )],
            ),
            (
                "a new queue for each turn",
                &[(
                    "        for _ in 0..marked {\n            let Some(token) = self.ready.borrow_mut().pop_front() else { break };\n",
                    "        for token in self.ready.take() {\n",
                )],
            ),
            (
                "a vector with room",
                &[(
                    "        for _ in 0..marked {\n            let Some(token) = self.ready.borrow_mut().pop_front() else { break };\n",
                    "        let mut all = Vec::with_capacity(64);\n        all.extend(self.ready.borrow_mut().drain(..));\n        for token in all {\n",
                )],
            ),
            (
                "a vector for many",
                &[(
                    "        for _ in 0..marked {\n            let Some(token)",
                    "        if marked > 10 {\n            let all: Vec<_> = self.ready.borrow_mut().drain(..).collect();\n            all.into_iter().for_each(|token| self.step(token));\n            return true;\n        }\n        for _ in 0..marked {\n            let Some(token)",
                )],
            ),
            ("half of the steps", &[(LOOP, "        for _ in 0..marked / 2 {\n")]),
            (
                "a name for each step",
                &[(
                    "            self.step(token);\n",
                    "            let name = format!(\"task {}\", token.slot);\n            std::hint::black_box(&name);\n            self.step(token);\n",
                )],
            ),
        ],
    },
    Wrong {
        exercise: "13-inbox",
        entry: "    fn wait(&self, time: Option<Duration>) {\n",
        solutions: &[
            ("no bell", &[("        self.bell.notify_one();\n", "")]),
            (
                "a look before the lock",
                &[(
                    "        let woken = self.woken.lock().unwrap();\n        match time {\n            Some(time) => drop(self.bell.wait_timeout_while(woken, time, |woken| woken.is_empty())),\n            None => drop(self.bell.wait_while(woken, |woken| woken.is_empty())),\n",
                    "        if !self.woken.lock().unwrap().is_empty() {\n            return;\n        }\n        let woken = self.woken.lock().unwrap();\n        match time {\n            Some(time) => drop(self.bell.wait_timeout(woken, time)),\n            None => drop(self.bell.wait(woken)),\n",
                )],
            ),
            (
                "the first wake only",
                &[("        for token in woken {\n", "        for token in woken.into_iter().take(1) {\n")],
            ),
            ("always the own loop", &[("    if HERE.get() == token.lane {\n", "    if true {\n")]),
            (
                "no generation",
                &[("self.lane << 48 | self.generation << 24 | self.slot", "self.lane << 48 | self.slot")],
            ),
            (
                "without a timer only",
                &[(
                    "Some(time) => drop(self.bell.wait_timeout_while(woken, time, |woken| woken.is_empty())),",
                    "Some(time) => drop(self.bell.wait_timeout(woken, time)),",
                )],
            ),
            (
                "the first loop's inbox",
                &[("INBOXES.lock().unwrap()[token.lane].clone()", "INBOXES.lock().unwrap()[0].clone()")],
            ),
        ],
    },
    Wrong {
        exercise: "14-final",
        entry: "    fn spread(&self, task: &Rc<dyn AnyCell>) {\n",
        solutions: &[
            (
                "at once if all have ended",
                &[(
                    "                self.tally.count_at_the_end(nth, task, self.stops);\n",
                    "                match task.result() {\n                    Some(outcome) if self.tasks.iter().all(Task::is_done) => self.tally.0.count(nth, (self.stops)(&outcome)),\n                    _ => self.tally.count_at_the_end(nth, task, self.stops),\n                }\n",
                )],
            ),
            (
                "a gather by callbacks only",
                &[(
                    "                Some(outcome) => tally.0.count(nth, stops(&outcome)),\n                None => tally",
                    "                _ => tally",
                )],
            ),
            (
                "a timeout cancels",
                &[(
                    "        if self.tally.0.poll(cx).is_pending() && !expired {\n",
                    "        if expired {\n            self.tasks.iter().for_each(|task| _ = task.cancel());\n        }\n        if self.tally.0.poll(cx).is_pending() && !expired {\n",
                )],
            ),
            (
                "the last waiter first",
                &[(
                    "for waiter in task.head().waiters.take() {",
                    "for waiter in task.head().waiters.take().into_iter().rev() {",
                )],
            ),
            (
                "callbacks at once",
                &[(
                    "Waiter::Call(call) => self.ready.borrow_mut().push_back(Entry::Call(call)),",
                    "Waiter::Call(call) => call(),",
                )],
            ),
            (
                "an ended task's callback at once",
                &[(
                    "            LANE.with(|lane| lane.ready.borrow_mut().push_back(Entry::Call(call)));\n",
                    "            call();\n",
                )],
            ),
        ],
    },
];
