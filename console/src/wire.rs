//! The table in the words of the protocol (`console-api`).
//!
//! Every task, resource and wait has a number of 64 bits: the number of its loop, then its number
//! in that loop. So one client can watch several loops.
//!
//! This file does not know clients. Next: `server.rs`.

use crate::table::{Changes, Polls, ResourceInfo, ResourceStats, Row, TaskInfo, TaskStats, WaitInfo, WaitStats};
use crate::words::{Theme, Words};
use console_api::async_ops::{AsyncOp, Stats as OpStats};
use console_api::field::{Name, Value};
use console_api::instrument::Update;
use console_api::metadata::{Kind, Level};
use console_api::register_metadata::NewMetadata;
use console_api::resources::{Resource, Stats as ResourceStatsOnWire, resource};
use console_api::tasks::{Stats as TaskStatsOnWire, Task};
use console_api::{Attribute, Field, MetaId, Metadata, PollStats, RegisterMetadata, SpanId};
use prost::Message;
use prost_types::Timestamp;
use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

/// A client accepts messages of 4 MB. An update is split before it becomes larger than this.
const MAX_BYTES: usize = 1 << 20;

/// Longer texts are cut off, so that each thing fits into a message.
const MAX_TEXT: usize = 2_000;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into(),
    }
}

/// Number of bits of a number within a loop.
const LOCAL: u32 = 40;

pub(crate) fn global(event_loop: u64, number: u64) -> u64 {
    event_loop << LOCAL | number
}

/// The loop, and the number in it.
pub(crate) fn local(number: u64) -> (u64, u64) {
    (number >> LOCAL, number & ((1 << LOCAL) - 1))
}

/// A moment on both clocks of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    instant: Instant,
    system: SystemTime,
}

impl Anchor {
    pub(crate) fn now() -> Self {
        Anchor { instant: Instant::now(), system: SystemTime::now() }
    }

    pub(crate) fn timestamp(&self, at: Instant) -> Timestamp {
        let system = match at.checked_duration_since(self.instant) {
            Some(after) => self.system + after,
            None => self.system - self.instant.duration_since(at),
        };
        system.into()
    }

    fn maybe(&self, at: Option<Instant>) -> Option<Timestamp> {
        at.map(|at| self.timestamp(at))
    }
}

/// The groups of things. The console shows the target of a group beside each thing.
const GROUPS: [(Theme, &str, &str); 6] = [
    (Theme::Task, "runtime.spawn", "onelane::task"),
    (Theme::Loop, "runtime.resource", "onelane"),
    (Theme::Timer, "runtime.resource", "onelane::time"),
    (Theme::Sync, "runtime.resource", "onelane::sync"),
    (Theme::Net, "runtime.resource", "onelane::net"),
    (Theme::Outside, "runtime.resource", "onelane::outside"),
];
/// The group of waits, behind those of `GROUPS`.
const WAITS: u64 = 1 + GROUPS.len() as u64;

fn group(theme: Theme) -> MetaId {
    let place = GROUPS.iter().position(|&(other, ..)| other == theme).expect("each theme has a group");
    MetaId { id: 1 + place as u64 }
}

/// Describes the groups. A client must receive this first.
fn metadata() -> RegisterMetadata {
    let groups = GROUPS.iter().map(|&(_, name, target)| (name, target));
    let all = groups.chain([("runtime.resource.async_op", "onelane")]).zip(1..);
    let metadata = all.map(|((name, target), id)| NewMetadata {
        id: Some(MetaId { id }),
        metadata: Some(Metadata {
            name: name.into(),
            target: target.into(),
            module_path: target.into(),
            location: None,
            kind: Kind::Span.into(),
            level: Level::Trace.into(),
            field_names: Vec::new(),
        }),
    });
    RegisterMetadata { metadata: metadata.collect() }
}

fn field(group: MetaId, name: &str, value: impl Into<Value>) -> Field {
    Field { name: Some(Name::StrName(name.into())), value: Some(value.into()), metadata_id: Some(group) }
}

fn attribute(group: MetaId, name: &str, value: impl Into<Value>) -> Attribute {
    Attribute { field: Some(field(group, name, value)), unit: None }
}

/// A value that is shown without quotation marks.
fn plain(value: impl Display) -> Value {
    Value::DebugVal(value.to_string())
}

fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

/// The copies of one loop as updates, each of at most about a megabyte.
pub(crate) struct Writer<'a> {
    anchor: &'a Anchor,
    /// When the copy was begun.
    now: Instant,
    event_loop: u64,
    updates: &'a mut Vec<Update>,
    bytes: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(anchor: &'a Anchor, now: Instant, event_loop: u64, updates: &'a mut Vec<Update>) -> Self {
        // Messages of other loops are not continued, because their sizes are not known here.
        Writer { anchor, now, event_loop, updates, bytes: MAX_BYTES }
    }

    pub(crate) fn write(&mut self, changes: &Changes) {
        changes.tasks.iter().for_each(|row| self.task(row));
        changes.resources.iter().for_each(|row| self.resource(row, changes.thread.as_deref()));
        changes.waits.iter().for_each(|row| self.wait(row));
        let [tasks, resources, waits] = changes.dropped;
        if changes.dropped != [0; 3] {
            let update = self.room(0);
            update.task_update.get_or_insert_default().dropped_events += tasks;
            update.resource_update.get_or_insert_default().dropped_events += resources;
            update.async_op_update.get_or_insert_default().dropped_events += waits;
        }
    }

    /// The update with room for so many bytes.
    fn room(&mut self, bytes: usize) -> &mut Update {
        self.bytes += bytes;
        if self.bytes > MAX_BYTES {
            self.bytes = bytes;
            self.updates.push(empty(self.anchor, self.now));
        }
        self.updates.last_mut().expect("an update was added")
    }

    fn id(&self, number: u64) -> u64 {
        global(self.event_loop, number)
    }

    fn task(&mut self, row: &Row<TaskInfo, TaskStats>) {
        let id = self.id(row.number);
        let task = row.is_new.then(|| self.new_task(id, &row.info));
        let stats = self.task_stats(row);
        let bytes = task.as_ref().map_or(0, Message::encoded_len) + stats.encoded_len() + 32;
        let update = self.room(bytes).task_update.get_or_insert_default();
        update.new_tasks.extend(task);
        update.stats_update.insert(id, stats);
    }

    fn new_task(&self, id: u64, info: &TaskInfo) -> Task {
        let group = group(Theme::Task);
        Task {
            id: Some(id.into()),
            metadata: Some(group),
            kind: console_api::tasks::task::Kind::Spawn.into(),
            fields: vec![
                field(group, "task.name", &*shortened(&info.name)),
                field(group, "task.id", info.number),
                field(group, "kind", "local"),
                field(group, "loop", self.event_loop),
                field(group, "spawned.by", plain(info.spawned_by)),
                field(group, "thread", info.thread.as_deref().unwrap_or_default()),
            ],
            parents: info.parent.map(|parent| SpanId { id: self.id(parent) }).into_iter().collect(),
            location: Some(info.spawned_at.into()),
        }
    }

    fn task_stats(&self, row: &Row<TaskInfo, TaskStats>) -> TaskStatsOnWire {
        let stats = &row.stats;
        TaskStatsOnWire {
            created_at: Some(self.anchor.timestamp(row.info.created)),
            dropped_at: self.anchor.maybe(stats.dropped),
            wakes: stats.wakes,
            waker_clones: stats.waker_clones,
            waker_drops: stats.waker_drops,
            last_wake: self.anchor.maybe(stats.last_wake),
            poll_stats: Some(self.polls(&stats.polls)),
            self_wakes: stats.self_wakes,
            scheduled_time: Some(duration(stats.scheduled)),
        }
    }

    fn polls(&self, polls: &Polls) -> PollStats {
        PollStats {
            polls: polls.count,
            first_poll: self.anchor.maybe(polls.first),
            last_poll_started: self.anchor.maybe(polls.last_begun),
            last_poll_ended: self.anchor.maybe(polls.last_ended),
            busy_time: Some(duration(polls.busy)),
        }
    }

    fn resource(&mut self, row: &Row<ResourceInfo, ResourceStats>, thread: Option<&str>) {
        let (id, info, stats) = (self.id(row.number), &row.info, &row.stats);
        let group = group(info.theme);
        let new = row.is_new.then(|| Resource {
            id: Some(id.into()),
            metadata: Some(group),
            concrete_type: info.concrete_type.into(),
            kind: Some(kind(info.theme)),
            location: info.made_at.clone().or(info.at.map(Into::into)),
            parent_resource_id: (info.theme != Theme::Loop).then(|| self.id(crate::table::LOOP).into()),
            is_internal: false,
        });
        let mut attributes = Vec::new();
        if let Some(name) = &info.name {
            attributes.push(attribute(group, "name", &*shortened(name)));
        }
        if let Some(task) = stats.task {
            attributes.push(attribute(group, "task.id", task));
        }
        let may_have_waiters = stats.timer.is_none() && stats.counts.is_none();
        if let Some((deadline, ahead)) = stats.timer {
            attributes.push(attribute(group, "deadline", plain(format_args!("{deadline:.3?}"))));
            attributes.push(attribute(group, "duration", plain(format_args!("{ahead:.3?}"))));
        }
        if let Some(counts) = stats.counts {
            attributes.push(attribute(group, "loop", self.event_loop));
            attributes.extend(thread.map(|thread| attribute(group, "thread", thread)));
            attributes.extend(counts.named().map(|(name, count)| attribute(group, name, count)));
        }
        if may_have_waiters {
            attributes.push(attribute(group, "waiting", stats.waiting));
        }
        let stats = ResourceStatsOnWire {
            created_at: Some(self.anchor.timestamp(info.created)),
            dropped_at: self.anchor.maybe(stats.dropped),
            attributes,
        };
        let bytes = new.as_ref().map_or(0, Message::encoded_len) + stats.encoded_len() + 32;
        let update = self.room(bytes).resource_update.get_or_insert_default();
        update.new_resources.extend(new);
        update.stats_update.insert(id, stats);
    }

    fn wait(&mut self, row: &Row<WaitInfo, WaitStats>) {
        let (id, group) = (self.id(row.number), MetaId { id: WAITS });
        let info = &row.info;
        let new = row.is_new.then(|| AsyncOp {
            id: Some(id.into()),
            metadata: Some(group),
            source: shortened(&Words::of(&info.what).short),
            parent_async_op_id: None,
            resource_id: Some(self.id(info.resource).into()),
        });
        let stats = OpStats {
            created_at: Some(self.anchor.timestamp(info.created)),
            dropped_at: self.anchor.maybe(row.stats.dropped),
            task_id: Some(self.id(info.task).into()),
            poll_stats: Some(self.polls(&row.stats.polls)),
            attributes: vec![
                attribute(group, "at", plain(info.at)),
                attribute(group, "what", plain(shortened(&info.what))),
            ],
        };
        let bytes = new.as_ref().map_or(0, Message::encoded_len) + stats.encoded_len() + 32;
        let update = self.room(bytes).async_op_update.get_or_insert_default();
        update.new_async_ops.extend(new);
        update.stats_update.insert(id, stats);
    }
}

/// An update without contents. Everything that has happened up to `now` is in it, or in those that
/// follow.
pub(crate) fn empty(anchor: &Anchor, now: Instant) -> Update {
    Update { now: Some(anchor.timestamp(now)), ..Update::default() }
}

/// The first update of a client.
pub(crate) fn first(anchor: &Anchor, now: Instant) -> Update {
    Update { new_metadata: Some(metadata()), ..empty(anchor, now) }
}

fn kind(theme: Theme) -> resource::Kind {
    use resource::kind::{Kind, Known};
    let kind = match theme {
        Theme::Timer => Kind::Known(Known::Timer.into()),
        Theme::Loop => Kind::Other("Loop".into()),
        Theme::Sync => Kind::Other("Sync".into()),
        Theme::Task => Kind::Other("Task".into()),
        Theme::Net => Kind::Other("Net".into()),
        Theme::Outside => Kind::Other("Outside".into()),
    };
    resource::Kind { kind: Some(kind) }
}
