// The state of a loop, computed from its events: the twin of `state.rs`, event for event. It uses
// nothing of the page, so it also runs under Node (`tests/replay.rs`).
"use strict";

// The codes of events, as `data.rs` writes them.
const CODE = {
  TurnBegin: 0, TurnEnd: 1, Spawn: 2, Wake: 3, StepBegin: 4, StepEnd: 5, CallBegin: 6, CallEnd: 7,
  CallQueue: 8, CallSkip: 9, WaitBegin: 10, WaitEnd: 11, TimerArm: 12, TimerFire: 13,
  TimerCancel: 14, Expire: 15, End: 16, Park: 17, Unpark: 18, Fail: 19, Suspend: 20,
  Choose: 21, Cancel: 22,
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

// `data.split` has the times as words. Fields that the Rust twin lacks are only for the page:
//
//   a task's isReady, isCancelled, unwinds
//   place   the line that the task has reached, while a wait is open; null if it is unknown
//   last    the last known line
//   waiting the number of open waits
//   later   a heap of the timers that are not due, the next one first
//
// Copies of a state share their tasks, until one of them changes a task: see `own`.
function firstState(data) {
  const { base } = data;
  const state = {
    time: base.time, turns: base.turns, phase: base.phase, running: base.running, isWoken: base.woken,
    isCalling: base.calling, hasFired: base.fired, marked: base.marked,
    ready: base.ready.map((entry) => [...entry]), tasks: new Map(), timers: new Map(), wheel: base.wheel, failure: base.failure,
    later: [], waiting: 0, owner: {},
  };
  for (const [id, name, at, by, row, generation, steps, waits] of base.tasks) {
    const begun = new Map(waits.map(([wait, what, kind, on, at]) => [wait, { what, kind, on, at }]));
    state.waiting += waits.length;
    const place = waits.length ? waits[waits.length - 1][4] : null;
    state.tasks.set(id, { name, at, by, row, generation, steps, waits: begun, isReady: false, isCancelled: false,
      unwinds: false, place, last: place ?? at, owner: state.owner });
  }
  for (const [id, deadline, task, isDue] of base.timers) {
    state.timers.set(id, { deadline, task, isDue });
    if (!isDue) pushLater(state, id, deadline, data);
  }
  for (const [task] of base.ready) if (state.tasks.has(task)) state.tasks.get(task).isReady = true;
  return state;
}

function cloneState(state) {
  // From now on, neither owns the tasks.
  state.owner = {};
  return { ...state, owner: {}, ready: state.ready.slice(), tasks: new Map(state.tasks), timers: new Map(state.timers),
    later: state.later.slice() };
}

// The task, to be changed.
function own(state, id) {
  const task = state.tasks.get(id);
  if (!task || task.owner === state.owner) return task;
  const copy = { ...task, waits: new Map(task.waits), owner: state.owner };
  state.tasks.set(id, copy);
  return copy;
}

function sizeOf(state) {
  return state.tasks.size + state.timers.size + state.ready.length + state.waiting;
}

// ---- the heap of timers, by deadline. Timers that are gone stay in it until they are its first. ----

function pushLater({ later, timers }, id, deadline, data) {
  if (later.length > 2 * timers.size + 64) {
    const living = later.filter(([id]) => timers.has(id) && !timers.get(id).isDue);
    later.length = 0;
    for (const entry of living) sift(later, entry, data);
  }
  sift(later, [id, deadline], data);
}

function sift(later, entry, data) {
  let at = later.length;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (isUntil(data.split, later[parent][1], entry[1])) break;
    later[at] = later[parent];
    at = parent;
  }
  later[at] = entry;
}

function popLater(later, data) {
  const last = later.pop();
  if (!later.length) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= later.length) break;
    if (child + 1 < later.length && !isUntil(data.split, later[child][1], later[child + 1][1])) child++;
    if (isUntil(data.split, last[1], later[child][1])) break;
    later[at] = later[child];
    at = child;
  }
  later[at] = last;
}

function queue(state, task, by) {
  state.ready.push([task, by]);
  const queued = own(state, task);
  if (queued) queued.isReady = true;
}

function take(state) {
  const entry = state.ready.shift();
  if (state.marked > 0) state.marked--;
  const taken = entry && own(state, entry[0]);
  if (taken) taken.isReady = false;
}

function queueIfWoken(state, task) {
  if (state.isWoken) queue(state, task, task);
  state.isWoken = false;
}

function apply(state, event, data) {
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
        unwinds: false, place: null, last: c, owner: state.owner,
      });
      state.ready.push([a, d]);
      break;
    case CODE.Wake: // task, by, outcome
      if (c !== 0) break;
      if (state.running === a) state.isWoken = true;
      else queue(state, a, b);
      break;
    case CODE.StepBegin: {
      take(state);
      state.running = a;
      state.isWoken = false;
      const task = own(state, a);
      if (task) {
        task.steps++;
        task.unwinds = task.isCancelled;
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
    case CODE.Choose: // what, among, index
      if (a === CHOICE.Entry && c < state.ready.length) state.ready.unshift(...state.ready.splice(c, 1));
      break;
    case CODE.CallQueue: state.ready.push([0, a]); break;
    case CODE.CallSkip: take(state); break;
    case CODE.CallBegin:
      state.isCalling = true;
      if (!hasFired) take(state);
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
        task.place = null;
        for (const { at } of task.waits.values()) { task.place = at; break; }
      }
      break;
    }
    case CODE.TimerArm:
      state.timers.set(a, { deadline: b, task: c, isDue: false });
      pushLater(state, a, b, data);
      break;
    case CODE.TimerFire:
      state.timers.delete(a);
      state.hasFired = true;
      break;
    case CODE.TimerCancel: state.timers.delete(a); break;
    case CODE.Expire:
      state.wheel = a;
      while (state.later.length && isUntil(data.split, state.later[0][1], a)) {
        const [id] = state.later[0], timer = state.timers.get(id);
        popLater(state.later, data);
        if (timer) state.timers.set(id, { ...timer, isDue: true });
      }
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
  for (const [task, by] of state.ready) { number(task); number(by); }
  word(state.tasks.size);
  for (const [id, task] of inOrder(state.tasks)) {
    number(id);
    number(task.by);
    word(task.row);
    word(task.generation);
    number(task.steps);
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
    word(Number(timer.isDue));
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
    apply(state, data.events[nth], data);
    if (hashOf(state, data) !== data.hashes[nth]) return nth;
  }
  return -1;
}

// Where the wheel puts a deadline: the highest digit in base 64 in which it differs from the
// wheel's time is its level; the digit is its slot. Null if it is set aside, or was late.
function placeInWheel(data, state, timer) {
  const { high, low } = data.split, { deadline } = timer, { wheel } = state;
  if (timer.isDue || !isUntil(data.split, wheel, deadline)) return null;
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
