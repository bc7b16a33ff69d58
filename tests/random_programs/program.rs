//! A program as data: a tree of words that is made from a seed and can be printed.
//!
//! Each word is a future or an act. A future is awaited, and returns a value. An act runs at once,
//! in a task, in a callback or in a destructor. One table says which numbers each word takes, and
//! what it contains.
//!
//! This file does not know what the words do. Next: `machine.rs`.

use crate::random::Random;
use std::fmt;
use std::rc::Rc;

/// The nodes that a word contains, with their minimum and maximum number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inside {
    Nothing,
    Futures(usize, usize),
    Acts(usize, usize),
    /// Futures and acts in any order. Each future is awaited at its place.
    Statements(usize, usize),
    /// One future, then acts.
    FutureAndActs(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Future,
    Act,
}

/// The range of a number of a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Number {
    /// The slot of a task.
    Slot,
    /// Milliseconds.
    Time,
    Below(usize),
}

/// The number of slots for tasks.
pub(crate) const SLOTS: usize = 6;

const TIMES: &[usize] = &[0, 1, 1, 2, 2, 3, 5, 10, 30, 1000];

pub(crate) struct Spec {
    pub(crate) word: Word,
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) numbers: &'static [Number],
    pub(crate) inside: Inside,
    /// How often it is chosen, relative to other words of its kind.
    weight: usize,
}

macro_rules! words {
    ($($word:ident $name:ident $kind:ident [$($number:expr),*] $inside:expr, $weight:literal;)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub(crate) enum Word {
            $($word,)*
        }

        pub(crate) const WORDS: &[Spec] = {
            use Inside::*;
            use Number::*;
            &[$(Spec {
                word: Word::$word,
                name: stringify!($name),
                kind: Kind::$kind,
                numbers: &[$($number),*],
                inside: $inside,
                weight: $weight,
            },)*]
        };
    };
}

words! {
    // Futures without anything inside. The shrinker replaces other words by the first one.
    Yield yields Future [Below(3)] Nothing, 6;
    Ready ready Future [] Nothing, 2;
    Sleep sleep Future [Time] Nothing, 8;
    SleepForEver sleep_for_ever Future [] Nothing, 2;
    ForEver for_ever Future [] Nothing, 6;
    Fail fail Future [] Nothing, 3;
    Raise raise_cancelled Future [] Nothing, 2;
    Panic panics Future [Below(4)] Nothing, 3;
    Bomb bomb Future [Below(3)] Nothing, 2;
    Foreign foreign Future [Below(6)] Nothing, 4;
    Await awaits Future [Slot] Nothing, 6;
    AwaitRef await_ref Future [Slot] Nothing, 12;
    WaitForTask wait_for_task Future [Time, Slot] Nothing, 3;
    ShieldTask shield_task Future [Slot] Nothing, 3;
    Promise promise Future [Below(3)] Nothing, 3;
    PromiseRef promise_ref Future [Below(3)] Nothing, 3;
    Event event Future [Below(3)] Nothing, 5;
    Condition condition Future [Below(2)] Nothing, 3;
    Barrier barrier Future [Below(2)] Nothing, 2;
    Get get Future [Below(4)] Nothing, 4;
    Put put Future [Below(4)] Nothing, 4;
    QueueJoin queue_join Future [Below(4)] Nothing, 1;
    Receive receive Future [Below(2)] Nothing, 2;
    Send send Future [Below(2)] Nothing, 2;
    Oneshot oneshot Future [Below(2)] Nothing, 2;
    Ticks ticks Future [Below(4), Below(3)] Nothing, 2;
    Unpark unpark Future [Below(3)] Nothing, 4;
    RemoteTask remote_task Future [Below(3)] Nothing, 0;

    // Futures with one future inside. Some have a second part.
    Child child Future [Slot] Futures(1, 1), 14;
    ChildRef child_ref Future [Slot] Futures(1, 1), 10;
    Finally finally Future [] Futures(2, 2), 18;
    OnCancel on_cancel Future [] Futures(2, 2), 6;
    Catch catch Future [Below(2)] Futures(1, 1), 8;
    Timeout timeout Future [Time] Futures(1, 1), 12;
    TimeoutAt timeout_at Future [Time] Futures(1, 1), 2;
    Deadline deadline Future [Time, Below(2)] Futures(1, 1), 4;
    WaitFor wait_for Future [Time] Futures(1, 1), 4;
    WaitForChild wait_for_child Future [Time] Futures(1, 1), 3;
    Shield shield Future [] Futures(1, 1), 3;
    Local local Future [] Futures(1, 1), 1;
    Lock lock Future [Below(3)] Futures(1, 1), 8;
    Semaphore semaphore Future [Below(2)] Futures(1, 1), 4;
    AtDrop at_drop Future [] FutureAndActs(2), 4;
    DropBomb drop_bomb Future [] Futures(1, 1), 2;
    Relay relay Future [Below(7)] Futures(1, 1), 5;
    PollAndDrop poll_and_drop Future [] Futures(1, 1), 4;
    PollAndSpawn poll_and_spawn Future [Slot, Below(2)] Futures(1, 1), 7;
    PollElsewhere poll_elsewhere Future [] Futures(1, 1), 4;
    Park park Future [Below(3)] Futures(1, 1), 3;
    Group group Future [] Futures(1, 1), 10;
    TryGroup try_group Future [] Futures(1, 1), 10;

    // Futures with several inside.
    Block block Future [] Statements(0, 5), 26;
    Gather gather Future [] Futures(1, 3), 5;
    GatherAll gather_all Future [] Futures(1, 3), 3;
    TryGather try_gather Future [] Futures(1, 3), 3;
    Gather3 gather3 Future [] Futures(3, 3), 1;
    Wait wait Future [Time, Below(4)] Futures(1, 3), 3;
    TryWait try_wait Future [Time, Below(4)] Futures(1, 3), 3;
    AsCompleted as_completed Future [Below(5), Time] Futures(1, 3), 4;
    Join join Future [] Futures(2, 2), 8;
    Join3 join3 Future [] Futures(3, 3), 2;
    JoinAll join_all Future [] Futures(1, 3), 4;
    JoinMany join_many Future [] Futures(1, 3), 5;
    Unordered unordered Future [] Futures(1, 3), 10;
    UnorderedFirst unordered_first Future [] Futures(1, 3), 4;
    UnorderedHeld unordered_held Future [] Futures(2, 3), 2;
    Ordered ordered Future [] Futures(1, 3), 3;
    BufferUnordered buffer_unordered Future [Below(3)] Futures(1, 4), 4;
    Buffered buffered Future [Below(3)] Futures(1, 3), 1;
    Select select Future [] Futures(2, 2), 6;
    SelectAndAwait select_and_await Future [] Futures(2, 2), 3;
    SelectAndSpawn select_and_spawn Future [Slot] Futures(2, 2), 3;
    SelectAll select_all Future [] Futures(1, 3), 2;
    Shared shared Future [Below(2), Below(2)] Futures(1, 1), 4;

    // Acts.
    Cancel cancel Act [Slot] Nothing, 14;
    CancelMe cancel_me Act [] Nothing, 4;
    CancelParent cancel_parent Act [] Nothing, 3;
    Uncancel uncancel Act [Slot] Nothing, 6;
    UncancelMe uncancel_me Act [] Nothing, 3;
    DropTask drop_task Act [Slot] Nothing, 2;
    AddCallback add_callback Act [Slot, Below(2)] Acts(1, 2), 3;
    RemoveCallback remove_callback Act [Below(2)] Nothing, 1;
    CallSoon call_soon Act [] Acts(1, 2), 3;
    CallLater call_later Act [Below(2), Time] Acts(1, 2), 4;
    CancelHandle cancel_handle Act [Below(2)] Nothing, 1;
    SetPromise set_promise Act [Below(3)] Nothing, 4;
    CancelPromise cancel_promise Act [Below(3)] Nothing, 2;
    NewPromise new_promise Act [Below(3)] Nothing, 1;
    CallBackPromise call_back_promise Act [Below(3)] Acts(1, 1), 1;
    Set set Act [Below(3)] Nothing, 6;
    Clear clear Act [Below(3)] Nothing, 2;
    Notify notify Act [Below(2), Below(3)] Nothing, 3;
    TryPut try_put Act [Below(4)] Nothing, 4;
    TryGet try_get Act [Below(4)] Nothing, 4;
    TaskDone task_done Act [Below(4)] Nothing, 1;
    ResetBarrier reset_barrier Act [Below(2)] Nothing, 1;
    AbortBarrier abort_barrier Act [Below(2)] Nothing, 1;
    TrySend try_send Act [Below(2)] Nothing, 2;
    TryReceive try_receive Act [Below(2)] Nothing, 2;
    SendOneshot send_oneshot Act [Below(2)] Nothing, 2;
    Reschedule reschedule Act [Below(2), Time] Nothing, 3;
    Spawn spawn Act [Slot, Below(2)] Futures(1, 1), 10;
    GroupSpawn group_spawn Act [Slot] Futures(1, 1), 12;
    DropParked drop_parked Act [Below(3)] Nothing, 2;
    Look look Act [] Nothing, 2;
    Format format Act [Below(3), Below(2)] Nothing, 1;
    PanicNow panic_now Act [] Nothing, 1;
    FromThread from_thread Act [Below(3)] Nothing, 0;
    SpawnElsewhere spawn_elsewhere Act [Below(4)] Nothing, 1;
    CancelElsewhere cancel_elsewhere Act [] Nothing, 1;
    SetLocal set_local Act [] Nothing, 1;

    // Pauses of the script.
    Turns turns Act [Below(5)] Nothing, 0;
    Pause pause Act [Time] Nothing, 0;
}

impl Word {
    pub(crate) fn spec(self) -> &'static Spec {
        &WORDS[self as usize]
    }

    /// The words that are chosen for the inside in half of the cases. These are awaits of tasks in
    /// sets, awaits in cleanups, and groups and cleanups in futures that move.
    fn favourites(self) -> &'static [Word] {
        match self {
            Word::Finally | Word::OnCancel => &[
                Word::Child,
                Word::ChildRef,
                Word::Group,
                Word::TryGroup,
                Word::Lock,
                Word::Timeout,
                Word::Finally,
                Word::Gather,
                Word::Block,
                Word::Sleep,
            ],
            _ if self.is_set() => &[
                Word::Child,
                Word::ChildRef,
                Word::AwaitRef,
                Word::Await,
                Word::Gather,
                Word::WaitForChild,
                Word::Finally,
                Word::Group,
                Word::Catch,
                Word::Timeout,
            ],
            _ if self.moves() => &[
                Word::Group,
                Word::TryGroup,
                Word::Finally,
                Word::Timeout,
                Word::Catch,
                Word::Unordered,
                Word::Child,
                Word::Lock,
            ],
            _ => &[],
        }
    }

    /// Whether it polls the futures inside with its own wakers.
    pub(crate) fn is_set(self) -> bool {
        matches!(
            self,
            Word::JoinMany
                | Word::Unordered
                | Word::UnorderedFirst
                | Word::UnorderedHeld
                | Word::Ordered
                | Word::BufferUnordered
                | Word::Buffered
                | Word::Relay
        )
    }

    /// Whether an inner future has neighbours in the same task.
    fn has_neighbours(self) -> bool {
        let several = [
            Word::Join,
            Word::Join3,
            Word::JoinAll,
            Word::Select,
            Word::SelectAndAwait,
            Word::SelectAndSpawn,
            Word::SelectAll,
            Word::Shared,
        ];
        self.is_set() && self != Word::Relay || several.contains(&self)
    }

    /// Whether it waits for a task that others can reach, so that tasks may wait for each other in
    /// a circle.
    pub(crate) fn awaits_a_slot(self) -> bool {
        matches!(self, Word::Await | Word::AwaitRef | Word::WaitForTask | Word::ShieldTask)
    }

    /// Whether the word may move the future inside it to another task.
    pub(crate) fn moves(self) -> bool {
        matches!(
            self,
            Word::PollAndSpawn
                | Word::PollElsewhere
                | Word::Park
                | Word::SelectAndSpawn
                | Word::Shared
                | Word::PollAndDrop
        )
    }

    /// Whether it keeps wakers. A loop then cannot know that they are never used.
    fn keeps_wakers(self) -> bool {
        let keeps = [
            Word::AsCompleted,
            Word::Shared,
            Word::Foreign,
            Word::RemoteTask,
            Word::FromThread,
            Word::Park,
            Word::SpawnElsewhere,
        ];
        self.is_set() || keeps.contains(&self)
    }

    /// Whether the main task may run it.
    fn is_for_the_script(self) -> bool {
        !matches!(self, Word::PanicNow | Word::CancelMe | Word::UncancelMe | Word::CancelParent)
    }
}

/// A word with its numbers and the nodes inside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    pub(crate) word: Word,
    pub(crate) numbers: [usize; 2],
    pub(crate) inside: Vec<Rc<Node>>,
    /// Its position in the program, in the order of reading.
    pub(crate) id: usize,
}

impl Node {
    pub(crate) fn leaf(word: Word, number: usize) -> Rc<Self> {
        Rc::new(Node { word, numbers: [number, 0], inside: Vec::new(), id: 0 })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.word.spec().kind
    }

    /// The same tree with ids from `next` on.
    fn numbered(&self, next: &mut usize) -> Rc<Self> {
        let id = *next;
        *next += 1;
        let inside = self.inside.iter().map(|node| node.numbered(next)).collect();
        Rc::new(Node { word: self.word, numbers: self.numbers, inside, id })
    }

    fn write(&self, depth: usize, out: &mut String) {
        let spec = self.word.spec();
        let numbers = self.numbers.iter().take(spec.numbers.len()).map(usize::to_string);
        out.push_str(&format!("{}({}", spec.name, numbers.collect::<Vec<_>>().join(", ")));
        let mut inside = String::new();
        self.write_inside(depth, &mut inside);
        if !spec.numbers.is_empty() && !inside.is_empty() {
            out.push_str(if inside.starts_with('\n') { "," } else { ", " });
        }
        out.push_str(&inside);
        out.push(')');
    }

    /// Writes the inner nodes in one line if they fit.
    fn write_inside(&self, depth: usize, out: &mut String) {
        let mut flat = String::new();
        for (nth, node) in self.inside.iter().enumerate() {
            flat.push_str(if nth > 0 { ", " } else { "" });
            node.write(depth, &mut flat);
        }
        if flat.len() + 4 * depth < 90 && !flat.contains('\n') {
            return out.push_str(&flat);
        }
        for node in &self.inside {
            out.push_str(&format!("\n{}", "    ".repeat(depth + 1)));
            node.write(depth + 1, out);
            out.push(',');
        }
        out.push_str(&format!("\n{}", "    ".repeat(depth)));
    }
}

/// How a program ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Main waits for quiet, and then cancels all tasks until none is left.
    Orderly,
    /// Main returns after this number of milliseconds, and `run` ends the other tasks.
    Leave(usize),
    /// Main waits for its tasks, perhaps for ever.
    Stuck,
    /// The loop is dropped after this number of turns.
    Drop(usize),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    /// The futures of the tasks that main spawns, into the first slots.
    pub(crate) tasks: Vec<Rc<Node>>,
    /// The acts of main while they run.
    pub(crate) script: Vec<Rc<Node>>,
    pub(crate) ending: Ending,
    /// 1 if the exception handler panics, 2 if the destructor of its payload panics too.
    pub(crate) handler: usize,
}

impl Program {
    /// A program that has none of the words in `without`.
    pub(crate) fn from_seed(seed: u64, without: &[Word]) -> Self {
        let mut random = Random::new(seed);
        let size = random.among(&[3, 5, 8, 12, 20, 40]);
        let mut maker = Maker { random, without, left: size, in_group: 0 };
        let tasks = 1 + maker.random.below(3);
        let tasks = (0..tasks).map(|_| maker.future(0)).collect();
        let script = maker.script();
        let random = &mut maker.random;
        let ending = match random.below(10) {
            0 => Ending::Leave(random.among(TIMES)),
            1 => Ending::Leave(random.below(4)),
            2 => Ending::Drop(random.below(12)),
            3 => Ending::Stuck,
            _ => Ending::Orderly,
        };
        let handler = if random.once_in(20) { 1 + random.below(2) } else { 0 };
        Program { tasks, script, ending, handler }.numbered()
    }

    pub(crate) fn numbered(self) -> Self {
        let mut next = 1;
        let mut number = |nodes: Vec<Rc<Node>>| nodes.iter().map(|node| node.numbered(&mut next)).collect::<Vec<_>>();
        let tasks = number(self.tasks);
        let script = number(self.script);
        Program { tasks, script, ..self }
    }

    /// Whether it has words of futures-util that leak a future when the destructor of its neighbour
    /// panics. These are sets, and functions that return one future while they drop another.
    pub(crate) fn has_sets(&self) -> bool {
        let selects = [Word::Select, Word::SelectAndAwait, Word::SelectAndSpawn, Word::SelectAll, Word::AsCompleted];
        self.has(|word| word.is_set() || selects.contains(&word))
    }

    /// Whether a group may have neighbours in its task, or may leave its task.
    pub(crate) fn has_neighbours_of_groups(&self) -> bool {
        self.has(|word| matches!(word, Word::Group | Word::TryGroup))
            && self.has(|word| word.has_neighbours() || word.moves())
    }

    /// Whether a timeout may have neighbours in its task.
    pub(crate) fn has_neighbours_of_limits(&self) -> bool {
        let is_limit = |word| {
            matches!(word, Word::Timeout | Word::TimeoutAt | Word::Deadline | Word::WaitFor | Word::WaitForChild)
        };
        self.has(is_limit) && self.has(Word::has_neighbours)
    }

    /// Whether a future that was polled in a set, or in a `Shared`, may be taken out of it.
    pub(crate) fn takes_out_of_sets(&self) -> bool {
        self.has(|word| word.is_set() || matches!(word, Word::Shared)) && self.has(Word::moves)
    }

    /// Whether a loop on a virtual clock always notices its deadlock.
    pub(crate) fn is_plain(&self) -> bool {
        !self.has(Word::keeps_wakers)
    }

    /// Whether it has a word for which this holds.
    pub(crate) fn has(&self, is_it: impl Fn(Word) -> bool) -> bool {
        fn any(nodes: &[Rc<Node>], is_it: &dyn Fn(Word) -> bool) -> bool {
            nodes.iter().any(|node| is_it(node.word) || any(&node.inside, is_it))
        }
        any(&self.tasks, &is_it) || any(&self.script, &is_it)
    }

    pub(crate) fn len(&self) -> usize {
        fn len(nodes: &[Rc<Node>]) -> usize {
            nodes.iter().map(|node| 1 + len(&node.inside)).sum()
        }
        len(&self.tasks) + len(&self.script)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, nodes) in [("task", &self.tasks), ("main", &self.script)] {
            for (nth, node) in nodes.iter().enumerate() {
                let mut text = String::new();
                node.write(1, &mut text);
                let number = if name == "task" { format!(" {nth}") } else { String::new() };
                writeln!(f, "    {name}{number}: {text}")?;
            }
        }
        write!(f, "    ending: {:?}", self.ending)?;
        if self.handler > 0 {
            write!(f, ", the exception handler panics ({})", self.handler)?;
        }
        Ok(())
    }
}

/// Generates a program.
struct Maker<'a> {
    random: Random,
    without: &'a [Word],
    /// The approximate number of words that may still follow.
    left: usize,
    /// The depth of groups.
    in_group: usize,
}

impl Maker<'_> {
    fn choose(&mut self, is_wanted: impl Fn(&Spec) -> bool) -> &'static Spec {
        let without = self.without;
        let in_group = self.in_group > 0;
        let weight = |spec: &Spec| {
            let fits = !without.contains(&spec.word) && (in_group || spec.word != Word::GroupSpawn);
            // Words with threads have the weight 0: they are slow, and rare.
            let weight = if spec.weight == 0 { 1 } else { 20 * spec.weight };
            if fits && is_wanted(spec) { weight } else { 0 }
        };
        let sum: usize = WORDS.iter().map(weight).sum();
        assert!(sum > 0, "no word can be chosen");
        let mut left = self.random.below(sum);
        for spec in WORDS {
            match left.checked_sub(weight(spec)) {
                Some(rest) => left = rest,
                None => return spec,
            }
        }
        unreachable!("the number was below the sum")
    }

    fn future(&mut self, depth: usize) -> Rc<Node> {
        let is_leaf = self.left == 0 || depth > 7;
        let spec = self.choose(|spec| {
            // The first word of a task must contain something.
            let fits =
                if is_leaf { spec.inside == Inside::Nothing } else { depth > 1 || spec.inside != Inside::Nothing };
            spec.kind == Kind::Future && fits
        });
        self.fill(spec, depth)
    }

    /// A future inside a word.
    fn inner(&mut self, around: Word, depth: usize) -> Rc<Node> {
        let favourites = around.favourites();
        if favourites.is_empty() || self.left == 0 || depth > 7 || self.random.once_in(2) {
            return self.future(depth);
        }
        let word = self.random.among(favourites);
        if self.without.contains(&word) { self.future(depth) } else { self.fill(word.spec(), depth) }
    }

    fn act(&mut self, depth: usize) -> Rc<Node> {
        let is_leaf = self.left == 0 || depth > 7;
        let is_pause = |word| matches!(word, Word::Turns | Word::Pause);
        let spec = self.choose(|spec| {
            spec.kind == Kind::Act && !is_pause(spec.word) && (!is_leaf || spec.inside == Inside::Nothing)
        });
        self.fill(spec, depth)
    }

    fn fill(&mut self, spec: &Spec, depth: usize) -> Rc<Node> {
        self.left = self.left.saturating_sub(1);
        let mut numbers = [0; 2];
        for (number, how) in numbers.iter_mut().zip(spec.numbers) {
            *number = match *how {
                Number::Slot => self.random.below(SLOTS),
                Number::Time => self.random.among(TIMES),
                Number::Below(end) => self.random.below(end),
            };
        }
        let is_group = matches!(spec.word, Word::Group | Word::TryGroup);
        self.in_group += usize::from(is_group);
        let many = |random: &mut Random, least: usize, most: usize| least + random.below(most - least + 1);
        let depth = depth + 1;
        let inside = match spec.inside {
            Inside::Nothing => Vec::new(),
            // The body of a group is a block, so that something spawns into the group.
            Inside::Futures(..) if is_group => vec![self.block(depth)],
            Inside::Futures(least, most) => {
                (0..many(&mut self.random, least, most)).map(|_| self.inner(spec.word, depth)).collect()
            }
            Inside::Acts(least, most) => (0..many(&mut self.random, least, most)).map(|_| self.act(depth)).collect(),
            Inside::Statements(least, most) => {
                (0..many(&mut self.random, least, most)).map(|_| self.statement(depth)).collect()
            }
            Inside::FutureAndActs(most) => {
                let future = self.future(depth);
                let acts = many(&mut self.random, 1, most);
                [future].into_iter().chain((0..acts).map(|_| self.act(depth))).collect()
            }
        };
        self.in_group -= usize::from(is_group);
        Rc::new(Node { word: spec.word, numbers, inside, id: 0 })
    }

    fn block(&mut self, depth: usize) -> Rc<Node> {
        if self.without.contains(&Word::Block) { self.future(depth) } else { self.fill(Word::Block.spec(), depth) }
    }

    fn statement(&mut self, depth: usize) -> Rc<Node> {
        if self.random.once_in(2) { self.act(depth) } else { self.future(depth) }
    }

    fn script(&mut self) -> Vec<Rc<Node>> {
        let mut script = Vec::new();
        for _ in 0..self.random.below(6) {
            script.push(if self.random.once_in(2) {
                Node::leaf(Word::Turns, self.random.below(5))
            } else {
                Node::leaf(Word::Pause, self.random.among(TIMES))
            });
            // Half of the acts of main are cancellations.
            let word = self.random.below(6);
            script.push(match word {
                0..=2 if !self.without.contains(&Word::Cancel) => self.fill(Word::Cancel.spec(), 0),
                3 if !self.without.contains(&Word::Uncancel) => self.fill(Word::Uncancel.spec(), 0),
                _ => loop {
                    let act = self.act(3);
                    if act.word.is_for_the_script() {
                        break act;
                    }
                },
            });
        }
        script
    }
}
