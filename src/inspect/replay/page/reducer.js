// The state of a loop, computed from its events: the twin of `state.rs`, event for event. It uses
// nothing of the page, so it also runs under Node (`tests/replay.rs`).
"use strict";

// The codes of events, as `data.rs` writes them.
const CODE = {
  TurnBegin: 0, TurnEnd: 1, Spawn: 2, Wake: 3, StepBegin: 4, StepEnd: 5, CallBegin: 6, CallEnd: 7,
  CallQueue: 8, CallSkip: 9, WaitBegin: 10, WaitEnd: 11, TimerArm: 12, TimerFire: 13,
  TimerCancel: 14, Expire: 15, End: 16, Park: 17, Unpark: 18, Fail: 19, Suspend: 20,
  Choose: 21,
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
// a task's `isReady` and `place`.
function firstState(data) {
  const { base } = data;
  const tasks = new Map(), timers = new Map();
  for (const [id, name, at, by, row, generation, steps, waits] of base.tasks) {
    const begun = new Map(waits.map(([wait, what, kind, on, at]) => [wait, { what, kind, on, at }]));
    const place = waits.length ? waits[waits.length - 1][4] : at;
    tasks.set(id, { name, at, by, row, generation, steps, waits: begun, isReady: false, place });
  }
  for (const [id, deadline, task, isDue] of base.timers) timers.set(id, { deadline, task, isDue });
  for (const [task] of base.ready) if (tasks.has(task)) tasks.get(task).isReady = true;
  return {
    time: base.time, turns: base.turns, phase: base.phase, running: base.running, isWoken: base.woken,
    isCalling: base.calling, hasFired: base.fired, marked: base.marked,
    ready: base.ready.map((entry) => [...entry]), tasks, timers, wheel: base.wheel, failure: base.failure,
  };
}

function cloneState(state) {
  const tasks = new Map(), timers = new Map();
  for (const [id, task] of state.tasks) tasks.set(id, { ...task, waits: new Map(task.waits) });
  for (const [id, timer] of state.timers) timers.set(id, { ...timer });
  return { ...state, ready: state.ready.slice(), tasks, timers };
}

function sizeOf(state) {
  return state.tasks.size + state.timers.size + state.ready.length;
}

function queue(state, task, by) {
  state.ready.push([task, by]);
  if (state.tasks.has(task)) state.tasks.get(task).isReady = true;
}

function take(state) {
  const entry = state.ready.shift();
  if (state.marked > 0) state.marked--;
  if (entry && state.tasks.has(entry[0])) state.tasks.get(entry[0]).isReady = false;
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
        name: b, at: c, by: d, row: e, generation: f, steps: 0, waits: new Map(), isReady: true, place: c,
      });
      state.ready.push([a, d]);
      break;
    case CODE.Wake: // task, by, outcome
      if (c !== 0) break;
      if (state.running === a) state.isWoken = true;
      else queue(state, a, b);
      break;
    case CODE.StepBegin:
      take(state);
      state.running = a;
      state.isWoken = false;
      if (state.tasks.has(a)) state.tasks.get(a).steps++;
      break;
    case CODE.StepEnd: // task, ended
      state.running = 0;
      if (b === 0) queueIfWoken(state, a);
      state.isWoken = false;
      break;
    case CODE.Suspend:
      state.running = 0;
      queueIfWoken(state, a);
      break;
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
      const task = state.tasks.get(a);
      if (task) {
        task.waits.set(b, { what: c, kind: d, on: e, at: f });
        task.place = f;
      }
      break;
    }
    case CODE.WaitEnd: { // task, wait, at
      const task = state.tasks.get(a);
      if (task) {
        task.waits.delete(b);
        task.place = c;
      }
      break;
    }
    case CODE.TimerArm: state.timers.set(a, { deadline: b, task: c, isDue: false }); break;
    case CODE.TimerFire:
      state.timers.delete(a);
      state.hasFired = true;
      break;
    case CODE.TimerCancel: state.timers.delete(a); break;
    case CODE.Expire:
      state.wheel = a;
      for (const timer of state.timers.values()) {
        if (isUntil(data.split, timer.deadline, a)) timer.isDue = true;
      }
      break;
    case CODE.End: state.tasks.delete(a); break;
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
  return { level, slot: digitsOf(data, deadline)[10 - level] };
}

// The eleven digits in base 64 of a time, the highest first.
function digitsOf(data, index) {
  let number = BigInt(data.times[index]);
  const digits = [];
  for (let level = 0; level < 11; level++) {
    digits.unshift(Number(number & 63n));
    number >>= 6n;
  }
  return digits;
}

if (typeof module !== "undefined") {
  module.exports = { CODE, splitTimes, firstState, apply, hashOf, firstDifference, placeInWheel, cloneState };
}
