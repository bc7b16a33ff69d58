// The state of a loop, computed from its events: the twin of `state.rs`, event for event. It uses
// nothing of the page, so it also runs under Node (`tests/replay.rs`).
"use strict";

// The codes of events, as `data.rs` writes them.
const CODE = {
  TurnBegin: 0, TurnEnd: 1, Spawn: 2, Wake: 3, StepBegin: 4, StepEnd: 5, CallBegin: 6, CallEnd: 7,
  CallQueue: 8, CallSkip: 9, WaitBegin: 10, WaitEnd: 11, TimerArm: 12, TimerFire: 13,
  TimerCancel: 14, Expire: 15, End: 16, Park: 17, Unpark: 18, Fail: 19, Suspend: 20,
  Choose: 21, Cancel: 22, Uncancel: 23, Yield: 24,
};
const PHASE = { Between: 0, Turn: 1, Parked: 2 };
const BY = { Callback: -1, Timer: -2, Kernel: -3, Outside: -4 };
const CHOICE = { Entry: 0, Timer: 1, Time: 2, Cancellation: 3, Own: 4 };
const ON = { Task: 0, Timer: 1, Object: 2, Elsewhere: 3 };

// Times as pairs of 32-bit words: a JavaScript number has only 53 bits.
function splitTimes(times) {
  const high = new Uint32Array(times.length), low = new Uint32Array(times.length);
  times.forEach((time, nth) => {
    const number = BigInt(time);
    high[nth] = Number(number >> 32n);
    low[nth] = Number(number & 0xffffffffn);
  });
  return { high, low };
}

// Whether the time with index a is at or before that with index b.
function isUntil(times, a, b) {
  return times.high[a] < times.high[b] || (times.high[a] === times.high[b] && times.low[a] <= times.low[b]);
}

// ---- collections whose copies share what they have in common ----
//
// A state is copied for each jump, and a loop may have many thousand tasks. So a collection consists of
// parts. A copy has the same parts; whoever changes a part that is not its own copies it first.

const PART = 32;

class Parts {
  constructor(parts = new Map()) {
    this.parts = parts;
    this.owner = {};
  }

  // The part with this number, to be changed.
  own(number, create) {
    const part = this.parts.get(number);
    if (part?.owner === this.owner) return part.items;
    const items = create(part?.items);
    this.parts.set(number, { owner: this.owner, items });
    return items;
  }

  // What a copy takes over. From now on, neither owns the parts.
  share(copy) {
    this.owner = {};
    copy.parts = new Map(this.parts);
    return copy;
  }
}

// A map from the numbers of tasks or timers.
class Ids extends Parts {
  size = 0;

  copy() {
    const copy = this.share(new Ids());
    copy.size = this.size;
    return copy;
  }

  get(id) { return this.parts.get(Math.floor(id / PART))?.items.get(id); }

  has(id) { return this.parts.get(Math.floor(id / PART))?.items.has(id) ?? false; }

  set(id, value) {
    const items = this.own(Math.floor(id / PART), (items) => new Map(items));
    if (!items.has(id)) this.size++;
    items.set(id, value);
  }

  delete(id) {
    if (!this.has(id)) return;
    const number = Math.floor(id / PART), items = this.own(number, (items) => new Map(items));
    items.delete(id);
    this.size--;
    if (!items.size) this.parts.delete(number);
  }

  *[Symbol.iterator]() { for (const { items } of this.parts.values()) yield* items; }

  *keys() { for (const { items } of this.parts.values()) yield* items.keys(); }

  // Calls `see(value, id)`. In a long loop, this is faster than the iterator.
  each(see) { for (const { items } of this.parts.values()) items.forEach(see); }
}

// The ready queue.
class Queue extends Parts {
  head = 0;
  tail = 0;

  copy() {
    const copy = this.share(new Queue());
    copy.head = this.head;
    copy.tail = this.tail;
    return copy;
  }

  get length() { return this.tail - this.head; }

  at(nth) {
    const place = this.head + nth;
    return nth < this.length ? this.parts.get(Math.floor(place / PART)).items[place % PART] : undefined;
  }

  put(place, entry) { this.own(Math.floor(place / PART), (items) => items?.slice() ?? [])[place % PART] = entry; }

  push(entry) { this.put(this.tail++, entry); }

  shift() {
    if (!this.length) return undefined;
    const entry = this.at(0);
    this.head++;
    if (this.head % PART === 0) this.parts.delete(this.head / PART - 1);
    return entry;
  }

  bringForward(nth) {
    const entry = this.at(nth);
    for (let at = nth; at > 0; at--) this.put(this.head + at, this.at(at - 1));
    this.put(this.head, entry);
  }

  slice(from, to) {
    const entries = [];
    for (let nth = from; nth < Math.min(to, this.length); nth++) entries.push(this.at(nth));
    return entries;
  }
}

// `data.split` has the times as words. Fields that the Rust twin lacks are only for the page:
//
//   a task's isReady
//   a task's yields   the line where it has yielded, if it has not run since; in Rust only whether
//   rests             the line where its wait has ended, if it has not run since; else null
//   resumes, waited   the values of yields and rests before this step
//   place             the line that the task has reached, while a wait is open; null if it is unknown
//   waiting           the number of open waits
//   expiries          how often the wheel was turned: see `isDue`
//   copied            how many waits were copied with their tasks, since the state was copied
function firstState(data) {
  const { base } = data;
  const state = {
    time: base.time, turns: base.turns, phase: base.phase, running: base.running, isWoken: base.woken,
    isCalling: base.calling, hasFired: base.fired, marked: base.marked, ready: new Queue(), tasks: new Ids(),
    timers: new Ids(), wheel: base.wheel, failure: base.failure, expiries: 0, waiting: 0, copied: 0,
  };
  for (const [id, name, at, by, row, generation, steps, waits, last, yields, isCancelled, unwinds] of base.tasks) {
    const begun = new Map(waits.map(([wait, what, kind, on, at]) => [wait, { what, kind, on, at }]));
    state.waiting += waits.length;
    const place = yields ? last : waits.length ? waits[waits.length - 1][4] : null;
    state.tasks.set(id, { name, at, by, row, generation, steps, waits: begun, isReady: false, isCancelled, unwinds,
      yields: yields ? last : null, rests: null, resumes: null, waited: null, place, last, owner: state.tasks.owner });
  }
  for (const [id, deadline, task, isDue] of base.timers) state.timers.set(id, { deadline, task, armed: isDue ? -1 : 0 });
  for (const entry of base.ready) {
    state.ready.push(entry);
    if (state.tasks.has(entry[0])) own(state, entry[0]).isReady = true;
  }
  return state;
}

function cloneState(state) {
  state.copied = 0;
  return { ...state, ready: state.ready.copy(), tasks: state.tasks.copy(), timers: state.timers.copy() };
}

// The task, to be changed.
function own(state, id) {
  const task = state.tasks.get(id);
  if (!task || task.owner === state.tasks.owner) return task;
  const copy = { ...task, waits: new Map(task.waits), owner: state.tasks.owner };
  state.copied += task.waits.size;
  state.tasks.set(id, copy);
  return copy;
}

// What a copy of the state costs, in events that could be applied instead.
function costOfCopy(state) {
  return state.tasks.parts.size + state.timers.parts.size + state.ready.parts.size + state.copied;
}

// Whether a timer was set aside, to fire in this turn: a later turn of the wheel has reached its deadline.
function isDue(state, { armed, deadline }, data) {
  return armed < state.expiries && isUntil(data.split, deadline, state.wheel);
}

function queue(state, task, by) {
  state.ready.push([task, by]);
  const queued = own(state, task);
  if (queued) queued.isReady = true;
}

// Takes the first entry, a task or a callback (0). It is not there if a probe has queued it, which emits
// no event.
function take(state, task) {
  if (!isNext(state, task)) return;
  state.ready.shift();
  if (state.marked > 0) state.marked--;
  const taken = own(state, task);
  if (taken) taken.isReady = false;
}

const isNext = (state, task) => state.ready.at(0)?.[0] === task;

function queueIfWoken(state, task) {
  if (state.isWoken) queue(state, task, task);
  state.isWoken = false;
}

// The line of the first open wait.
function firstWait(task) {
  for (const { at } of task.waits.values()) return at;
  return null;
}

function apply(state, event) {
  const [code, time, a, b, c, d, e, f] = event;
  state.time = time;
  const hasFired = state.hasFired;
  state.hasFired = false;
  switch (code) {
    case CODE.TurnBegin:
      state.phase = PHASE.Turn;
      state.turns++;
      state.marked = state.ready.length;
      break;
    case CODE.TurnEnd: case CODE.Unpark: state.phase = PHASE.Between; break;
    case CODE.Park: state.phase = PHASE.Parked; break;
    case CODE.Spawn: // task, name, at, by, row, generation
      state.tasks.set(a, {
        name: b, at: c, by: d, row: e, generation: f, steps: 0, waits: new Map(), isReady: true, isCancelled: false,
        unwinds: false, yields: null, rests: null, resumes: null, waited: null, place: null, last: c, owner: state.tasks.owner,
      });
      state.ready.push([a, d]);
      break;
    case CODE.Wake: // task, by, outcome
      if (c !== 0) break;
      if (state.running === a) state.isWoken = true;
      else queue(state, a, b);
      break;
    case CODE.StepBegin: {
      take(state, a);
      state.running = a;
      state.isWoken = false;
      const task = own(state, a);
      if (task) {
        task.steps++;
        task.unwinds = task.isCancelled;
        task.resumes = task.yields;
        task.waited = task.rests;
        task.yields = task.rests = null;
        task.place = firstWait(task);
      }
      break;
    }
    case CODE.StepEnd: { // task, ended
      state.running = 0;
      if (b === 0) queueIfWoken(state, a);
      state.isWoken = false;
      const task = own(state, a);
      if (task?.unwinds) task.isCancelled = task.unwinds = false;
      break;
    }
    case CODE.Suspend:
      state.running = 0;
      queueIfWoken(state, a);
      break;
    case CODE.Cancel: {
      const task = own(state, a);
      if (task) task.isCancelled = true;
      break;
    }
    case CODE.Uncancel: { // task, by, left, revoked
      const task = d ? own(state, a) : null;
      if (task) task.isCancelled = false;
      break;
    }
    case CODE.Yield: { // task, at
      const task = own(state, a);
      if (task) task.yields = task.place = task.last = b;
      break;
    }
    case CODE.Choose: // what, among, index
      if (a === CHOICE.Entry && c < state.ready.length) state.ready.bringForward(c);
      break;
    case CODE.CallQueue: state.ready.push([0, a]); break;
    case CODE.CallSkip: take(state, 0); break;
    case CODE.CallBegin:
      state.isCalling = true;
      if (!hasFired) take(state, 0);
      break;
    case CODE.CallEnd: state.isCalling = false; break;
    case CODE.WaitBegin: { // task, wait, what, kind, on, at
      const task = own(state, a);
      if (task) {
        state.waiting++;
        task.waits.set(b, { what: c, kind: d, on: e, at: f });
        task.place = task.last = f;
      }
      break;
    }
    case CODE.WaitEnd: { // task, wait, at
      const task = own(state, a);
      if (task) {
        if (task.waits.delete(b)) state.waiting--;
        task.last = c;
        task.rests = state.running === a ? null : c;
        task.place = task.yields ?? firstWait(task) ?? task.rests;
      }
      break;
    }
    case CODE.TimerArm:
      state.timers.set(a, { deadline: b, task: c, armed: state.expiries });
      break;
    case CODE.TimerFire:
      state.timers.delete(a);
      state.hasFired = true;
      break;
    case CODE.TimerCancel: state.timers.delete(a); break;
    case CODE.Expire:
      state.wheel = a;
      state.expiries++;
      break;
    case CODE.End:
      state.waiting -= state.tasks.get(a)?.waits.size ?? 0;
      state.tasks.delete(a);
      break;
    case CODE.Fail: state.failure = a; break;
  }
}

// The hash of `state.rs`: FNV-1a over words of 32 bits.
function hashOf(state, data) {
  const { high, low } = data.split;
  let hash = 0x811c9dc5;
  const word = (word) => { hash = Math.imul(hash ^ word, 0x01000193); };
  const number = (number) => {
    word(number < 0 ? 0xffffffff : Math.floor(number / 2 ** 32));
    word(number >>> 0);
  };
  const time = (index) => { word(high[index]); word(low[index]); };
  const inOrder = (map) => [...map].sort((one, other) => one[0] - other[0]);
  time(state.time);
  number(state.turns);
  word(state.phase);
  number(state.running);
  word(Number(state.isWoken) | Number(state.isCalling) << 1 | Number(state.hasFired) << 2);
  word(state.marked);
  word(state.ready.length);
  for (const [task, by] of state.ready.slice(0, state.ready.length)) { number(task); number(by); }
  word(state.tasks.size);
  for (const [id, task] of inOrder(state.tasks)) {
    number(id);
    number(task.by);
    word(task.row);
    word(task.generation);
    number(task.steps);
    word(Number(task.yields !== null) | Number(task.isCancelled) << 1 | Number(task.unwinds) << 2);
    word(task.waits.size);
    for (const [wait, { kind, on }] of inOrder(task.waits)) {
      number(wait);
      word(kind);
      number(kind === ON.Task ? on : 0);
    }
  }
  word(state.timers.size);
  for (const [id, timer] of inOrder(state.timers)) {
    number(id);
    time(timer.deadline);
    number(timer.task);
    word(Number(isDue(state, timer, data)));
  }
  time(state.wheel);
  word(state.failure);
  return hash >>> 0;
}

// The number of the first event after which the state has another hash than the recording says,
// or -1.
function firstDifference(data) {
  const state = firstState(data);
  for (let nth = 0; nth < data.events.length; nth++) {
    apply(state, data.events[nth]);
    if (hashOf(state, data) !== data.hashes[nth]) return nth;
  }
  return -1;
}

// Where the wheel puts a deadline: the highest digit in base 64 in which it differs from the
// wheel's time is its level; the digit is its slot. Null if it is set aside, or was late.
function placeInWheel(data, state, timer) {
  const { high, low } = data.split, { deadline } = timer, { wheel } = state;
  if (isDue(state, timer, data) || !isUntil(data.split, wheel, deadline)) return null;
  const differs = [high[deadline] ^ high[wheel], low[deadline] ^ low[wheel]];
  const bit = differs[0] ? 63 - Math.clz32(differs[0]) : 31 - Math.clz32(differs[1] | 1);
  const level = Math.floor(bit / 6);
  return { level, slot: digitOf(data, deadline, level) };
}

// A digit in base 64 of a time. Level 0 has the lowest one.
function digitOf(data, index, level) {
  const high = data.split.high[index], low = data.split.low[index], bit = 6 * level;
  if (bit >= 32) return (high >>> (bit - 32)) & 63;
  return ((low >>> bit) | (bit > 26 ? high << (32 - bit) : 0)) & 63;
}

// The eleven digits of a time, the highest first.
const digitsOf = (data, index) => Array.from({ length: 11 }, (_, nth) => digitOf(data, index, 10 - nth));

if (typeof module !== "undefined") {
  module.exports = { CODE, splitTimes, firstState, apply, hashOf, firstDifference, placeInWheel, cloneState };
}
