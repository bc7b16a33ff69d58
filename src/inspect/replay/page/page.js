// The page: one cursor in the stream of events, and panels that show the state there.
//
//   cursor ---> stateAt(cursor) ---> each panel's function draws its element anew
//
// The cursor is the number of events that have happened: 0 is the state before the first.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
data.split = splitTimes(data.times);
// The run that is shown: its fields are those of `data`, as the reducer wants it.
let events, world = 0;
const byId = (id) => document.getElementById(id);

// ---- the states ----

// Copies of states, from which others are computed: one for at most `DISTANCE` events. If copying a state
// costs more than that, they are as far apart as it costs, so all of them take memory in proportion to
// the number of events.
let copies, turnStarts, stepStarts, choices, names, ids, endOf, newest, verdict, failedAt, missedAt;
const DISTANCE = 512;

// The states at the cursor, at the begin of the lanes, and at the last choice: see `moveTo`.
let shown, past, aside;

// What the page has done: its tests look at this, because times depend on the machine.
const work = { events: 0, elements: 0 };

function openWorld(number) {
  world = number;
  Object.assign(data, { hashes: null }, data.worlds[number]);
  events = data.events;
  copies = [{ at: 0, state: firstState(data) }];
  turnStarts = [];
  stepStarts = [];
  choices = [];
  names = new Map(data.base.tasks.map(([id, name]) => [id, name]));
  ids = new Map();
  for (const [id, name] of names) addTo(ids, name, id);
  endOf = new Float64Array(events.length);
  [newest, shown, past, aside] = [0, 1, 2, 3].map(() => ({ at: 0, state: cloneState(copies[0].state) }));
  verdict = data.hashes ? -1 : null;
  failedAt = missedAt = 0;
  byId("slider").max = events.length;
}

function addTo(lists, key, item) {
  const list = lists.get(key);
  if (list) list.push(item); else lists.set(key, [item]);
}

// What the loop does at the end of a task, before anything else.
const AFTER_END = new Set([CODE.Wake, CODE.CallQueue, CODE.WaitEnd, CODE.TimerCancel]);

// Reads on for some milliseconds. Returns whether everything is read.
function readOn(milliseconds) {
  const end = performance.now() + milliseconds;
  while (newest.at < events.length) {
    if (newest.at % 64 === 0 && performance.now() > end) return false;
    const event = events[newest.at], [code, , a] = event;
    if (code === CODE.StepBegin && !isNext(newest.state, a)) missedAt ||= newest.at + 1;
    apply(newest.state, event);
    // The task that has ended just before its waiters are woken.
    endOf[newest.at] = code === CODE.End ? a : AFTER_END.has(code) && newest.at ? endOf[newest.at - 1] : 0;
    newest.at++;
    if (code === CODE.Fail) failedAt ||= newest.at;
    if (code === CODE.Choose) choices.push(newest.at);
    if (code === CODE.Spawn) {
      names.set(a, event[3]);
      addTo(ids, event[3], a);
    }
    if (code === CODE.TurnBegin) turnStarts.push(newest.at);
    if (code === CODE.StepBegin || code === CODE.CallBegin) stepStarts.push(newest.at);
    if (verdict === -1 && hashOf(newest.state, data) !== data.hashes[newest.at - 1]) verdict = newest.at;
    if (newest.at - copies[copies.length - 1].at >= Math.max(DISTANCE, costOfCopy(newest.state))) {
      copies.push({ at: newest.at, state: cloneState(newest.state) });
    }
  }
  return true;
}

// The lanes show at most this many events before and after the cursor, of this many tasks.
const BEFORE = 50, AFTER = 22, LANES = 24;

function advance(place, at) {
  work.events += Math.max(0, at - place.at);
  while (place.at < at) apply(place.state, events[place.at++]);
}

// Moves a state to an event: on from where it is, or from the last copy before the event.
function moveTo(place, at) {
  let low = 0, high = copies.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (copies[middle].at <= at) low = middle; else high = middle - 1;
  }
  const copy = copies[low];
  if (at < place.at || copy.at > place.at) Object.assign(place, { at: copy.at, state: cloneState(copy.state) });
  advance(place, at);
  return place.state;
}

// The state at the cursor. `past` becomes the state `BEFORE` events earlier.
function stateAt(at) {
  moveTo(past, Math.max(0, at - BEFORE));
  if (at < shown.at || at - shown.at > at - past.at) shown = { at: past.at, state: cloneState(past.state) };
  advance(shown, at);
  return shown.state;
}

const kindOf = (id, state) => (id === state.running ? "run" : state.tasks.get(id).isReady ? "ready" : "wait");

// ---- texts ----

// Some browsers keep nothing for files.
const kept = {
  get: (key) => { try { return localStorage.getItem("onelane-replay-" + key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem("onelane-replay-" + key, value); } catch { /* As if it were new. */ } },
};
let language = kept.get("language") ?? (/^zh/.test(navigator.language) ? "zh" : "en");
const words = () => WORDS[language];
const say = (key, ...parts) => words().say[key](...parts);

// Names may contain anything: what a reader could not see, or what would turn the text around, is
// written as its number.
const HIDDEN = "\\p{Cc}\\p{Cf}\\u2028\\u2029\\u115f\\u1160\\u3164\\uffa0";
const asNumber = (letter) => "\\u{" + letter.codePointAt(0).toString(16) + "}";
const ANY_HIDDEN = new RegExp(`[${HIDDEN}]`, "gu"), HIDDEN_IN_LINE = new RegExp(`(?!\\t)[${HIDDEN}]`, "gu");
const visible = (text) => text.replace(ANY_HIDDEN, asNumber);
const visibleLine = (line) => line.replace(/\r$/, "").replace(HIDDEN_IN_LINE, asNumber);

// Names that are written from right to left leave the rest of the text as it is.
const isolated = (text) => (/[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe]|[\ud802\ud803\ud83a\ud83b]/.test(text) ? `\u2068${text}\u2069` : text);

// A long text is cut; where there is room, its whole is a title.
const LONG = 80;
function short(text, most = LONG) {
  if (text.length <= most) return text;
  return [...text.slice(0, 2 * most)].slice(0, most - 1).join("") + "…";
}

const nameOf = (task) => visible(data.texts[names.get(task)] ?? "?");
// How much room a text needs, in letters of Latin; and the part of it that has this much room.
const roomOf = (letter) => (/[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]|[\ud83c-\ud83e\ud840-\ud87f]/.test(letter) ? 2 : 1);
function fitting(text, room) {
  let part = "";
  for (const letter of text) {
    room -= roomOf(letter);
    if (room < 0) break;
    part += letter;
  }
  return part;
}
// Cut to the room, with a sign that it is cut.
const fit = (text, room) => (fitting(text, room) === text ? text : fitting(text, room - 1) + "…");

const shortName = (task, most) => isolated(short(nameOf(task), most));
const told = (task) => words().named(shortName(task), task);
// A name and a number in little room: the number is always there.
const fitted = (task, most) => { const number = ` (${task})`; return isolated(fit(nameOf(task), most - number.length)) + number; };
const cause = (by) => (by > 0 ? told(by) : words().cause(by));
const first = (text) => text.charAt(0).toUpperCase() + text.slice(1);
// What is awaited, in words. The usual descriptions are translated.
function what(index) {
  let text = visible(data.texts[index]);
  for (const [english, translated] of words().waits) text = text.replace(english, translated);
  return text;
}
const shortWhat = (index) => isolated(short(what(index)));
// The first of many, and the number of the others.
const few = (list, most = 3, between = " + ") => list.slice(0, most).join(between) + (list.length > most ? " " + words().more(list.length - most) : "");

function placeText(place) {
  const [file, line] = data.places[place];
  return visible(data.files[file].name.split(/[\\/]/).pop()) + ":" + line;
}

function timeText(index) {
  const number = BigInt(data.times[index]);
  if (number === 0n) return "0 s";
  for (const [unit, name] of [[1000000000n, "s"], [1000000n, "ms"], [1000n, "µs"]]) {
    if (number >= unit) {
      const rest = String(number % unit).padStart(String(unit).length - 1, "0").replace(/0+$/, "");
      return `${number / unit}${rest && "." + rest} ${name}`;
    }
  }
  return `${number} ns`;
}

// What happened in event `nth`, in a sentence. `state` is the state after it.
function sentence(nth, state) {
  const [code, , a, b, c, , , f] = events[nth];
  switch (code) {
    case CODE.TurnBegin: return say("turnBegin", state.turns, state.marked);
    case CODE.TurnEnd: return say("turnEnd");
    case CODE.Spawn: return say("spawn", told(a), first(cause(events[nth][5])), placeText(c));
    case CODE.Wake: {
      if (c === 2) return say("late", first(cause(b)));
      if (c === 1) return say(state.running === a ? "mergedRunning" : "merged", told(a), first(cause(b)));
      const ended = b === BY.Kernel ? endOf[nth] : 0;
      if (ended) return say("wokenByEnd", told(a), told(ended));
      return state.running === a ? say("wakesItself", told(a)) : say("queued", told(a), first(cause(b)));
    }
    case CODE.Uncancel: return say(events[nth][5] ? "revokes" : events[nth][4] ? "uncancels" : "uncancelsLate", told(a), first(cause(b)), events[nth][4]);
    case CODE.Yield: return say("yields", told(a), placeText(b));
    case CODE.Cancel: return a === b ? say("cancelsItself", told(a)) : say("cancels", told(a), first(cause(b)));
    case CODE.StepBegin: {
      const task = state.tasks.get(a);
      if (!task) return say("stepBegin", told(a));
      if (task.unwinds) return say("stepCancelled", told(a));
      if (task.resumes !== null) return say("stepResumes", told(a), placeText(task.resumes));
      if (task.waits.size) return say("stepContinues", told(a), few([...new Set([...task.waits.values()].map(({ at }) => placeText(at)))]));
      if (task.waited !== null) return say("stepContinues", told(a), placeText(task.waited));
      return task.steps === 1 ? say("stepFirst", told(a)) : task.last === task.at ? say("stepBegin", told(a)) : say("stepLast", told(a), placeText(task.last));
    }
    case CODE.StepEnd: {
      if (b) return say("stepEndEnded", told(a));
      const task = state.tasks.get(a);
      if (task?.isReady) return say("stepEndQueued", told(a));
      const waits = task ? [...task.waits.values()].slice(0, 3).map((wait) => shortWhat(wait.what)) : [];
      if (task?.waits.size > 3) waits.push(words().more(task.waits.size - 3));
      return waits.length ? say("stepEndWaits", told(a), waits.join(" + ")) : say("stepEnd", told(a));
    }
    case CODE.Suspend: return say("suspend", told(a));
    case CODE.Choose: {
      return c ? say("chooses", choice(state, events[nth], c), choice(state, events[nth], 0)) : say("choosesFirst", choice(state, events[nth], 0), b);
    }
    case CODE.CallBegin: return events[nth - 1]?.[0] === CODE.TimerFire ? say("timerCall") : say("callBegin");
    case CODE.CallEnd: return say("callEnd");
    case CODE.CallQueue: return say("callQueue", first(cause(a)));
    case CODE.CallSkip: return say("callSkip");
    case CODE.WaitBegin: return say("waitBegin", told(a), shortWhat(c), placeText(f));
    case CODE.WaitEnd: return say("waitEnd", told(a), placeText(c));
    case CODE.TimerArm: {
      const place = placeInWheel(data, state, { deadline: b, armed: Infinity });
      const where = place ? words().say.timerPlace(place.level, place.slot) : words().say.timerLate;
      return say("timerArm", a, timeText(b), where, c ? words().say.forTask(told(c)) : words().say.forCallback);
    }
    case CODE.TimerFire: return say("timerFire", a);
    case CODE.TimerCancel: return say("timerCancel", a);
    case CODE.Expire: {
      let count = 0;
      state.timers.each((timer) => { if (isDue(state, timer, data)) count++; });
      return say("expire", timeText(a), count);
    }
    case CODE.End: return say(["endValue", "endCancelled", "endPanicked"][b], told(a));
    case CODE.Park: return a < 0 ? say("parkForEver") : say("park", timeText(a));
    case CODE.Unpark: return say("unpark");
    default: return say(a === 1 ? "failPanic" : "failDeadlock");
  }
}

// The task that an event is about, or 0.
const ABOUT_A_TASK = new Set([CODE.Spawn, CODE.Wake, CODE.Cancel, CODE.Uncancel, CODE.Yield, CODE.StepBegin, CODE.StepEnd, CODE.Suspend,
  CODE.WaitBegin, CODE.WaitEnd, CODE.End]);
const taskOf = (event) => (ABOUT_A_TASK.has(event[0]) ? event[2] : event[0] === CODE.TimerArm ? event[4] : 0);

// The line of an event, and whether it is only the last known one.
function placeOf(nth, state) {
  const [code, , a, , c, , , f] = events[nth];
  if (code === CODE.Spawn || code === CODE.WaitEnd) return [c, false];
  if (code === CODE.WaitBegin) return [f, false];
  if (code === CODE.Yield) return [events[nth][3], false];
  const task = state.tasks.get(taskOf(events[nth]) || state.running);
  const before = code === CODE.StepBegin && task ? task.resumes ?? task.waited : null;
  if (before !== null) return [before, false];
  return task ? [task.place ?? task.last, task.place === null] : null;
}

// ---- elements ----

// element("li", { class: "x" }, child, ..): text stays text.
function element(name, attributes = {}, ...children) {
  work.elements++;
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

let chosen = 0;

// Makes something a button that selects a task.
function selects(made, task) {
  const choose = () => { chosen = chosen === task ? 0 : task; draw(); };
  for (const [key, value] of [["data-task", task], ["aria-pressed", task === chosen]]) made.setAttribute(key, value);
  made.addEventListener("click", choose);
  if (made.tagName !== "BUTTON") {
    for (const [key, value] of [["tabindex", 0], ["role", "button"]]) made.setAttribute(key, value);
    made.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(); });
  }
  return made;
}

function taskButton(task) {
  return selects(element("button", { type: "button", class: "task" + (task === chosen ? " chosen" : ""), title: nameOf(task) },
    element("bdi", {}, shortName(task)), ` (${task})`), task);
}

const faint = (text) => element("p", { class: "faint" }, text);
// A panel shows no more than this many things: more would take too long, and nobody reads them.
const MANY = 60;
const moreThan = (count, most = MANY) => (count > most ? faint(words().more(count - most)) : null);

// Of a long list, a panel shows the beginning. A button unfolds it, up to `MANY` lines.
const unfolded = new Set();
const FEW = 12;
const most = (panel, count) => (count <= FEW + 2 || unfolded.has(panel) ? MANY : FEW);
function foldButton(panel, isOpen, more) {
  const toggle = () => { if (!unfolded.delete(panel)) unfolded.add(panel); draw(); };
  return element("button", { type: "button", class: "fold", "aria-expanded": isOpen, "data-fold": panel, onclick: toggle },
    isOpen ? words().fold : words().unfold(more));
}
function folds(panel, count) {
  if (count <= FEW + 2) return [];
  const isOpen = unfolded.has(panel);
  return [foldButton(panel, isOpen, count - FEW), isOpen ? moreThan(count) : null];
}

function stateOf(task, state) {
  const kind = kindOf(task, state);
  return [kind, { run: words().running, ready: words().isReady, wait: words().waiting }[kind]];
}

// ---- the panels ----

// The line of an event. Some have none: then that of the event before, so that the text does not flicker.
function litPlace(state, nth) {
  for (let before = nth; before >= 0 && nth - before < 64; before--) {
    const place = placeOf(before, state);
    if (place !== null) return place;
  }
  return null;
}

function drawSource(state, nth) {
  const lit = litPlace(state, nth);
  if (lit === null) return [faint(words().noPlace)];
  const [place, isOld] = lit;
  const [file, line] = data.places[place];
  const { name, text } = data.files[file];
  const heading = element("p", { class: "file" }, visible(name) + ":" + line, isOld ? " · " + words().lastKnown : "");
  if (text === null) return [heading, faint(words().noSource)];
  data.files[file].lines ??= text.split("\n");
  const { lines } = data.files[file];
  const from = Math.max(1, line - 9), to = Math.min(lines.length, line + 9);
  const waiting = new Map();
  state.tasks.each(({ place }, id) => {
    if (place === null) return;
    const [at, row] = data.places[place];
    if (at === file && row >= from && row <= to) addTo(waiting, row, id);
  });
  const code = element("div", { class: "code" });
  for (let row = from; row <= to; row++) {
    const lit = row === line ? (isOld ? " last" : " lit") : "";
    const here = waiting.get(row) ?? [];
    const badges = here.slice(0, 3).join(" ") + (here.length > 3 ? " +" + (here.length - 3) : "");
    code.append(
      element("span", { class: "number" + lit }, String(row)),
      element("span", { class: "state-wait" + lit, title: here.slice(0, 20).map(nameOf).join(", ") }, badges),
      element("span", { class: "text" + lit, dir: "ltr" }, visibleLine(lines[row - 1] ?? "") || " "),
    );
  }
  return [heading, code];
}

function entryLine([task, by], state) {
  const who = task ? taskButton(task) : words().callback;
  const isNew = state.tasks.get(task)?.steps === 0;
  const verb = task ? (isNew ? words().spawnedBy : words().wokenBy) : words().queuedBy;
  return element("li", {}, who, element("span", { class: "faint" }, ` ${verb(cause(by))}`));
}

function drawReady(state) {
  if (asks) return [faint(words().whoNext)];
  const parts = [[words().thisTurn, 0, state.marked], [words().nextTurn, state.marked, state.ready.length]];
  const limit = most("ready", state.ready.length);
  const lists = parts.flatMap(([heading, from, to]) => to <= from ? [] : [element("p", { class: "bar" }, heading),
    from < limit ? element("ol", { start: from + 1 }, ...state.ready.slice(from, Math.min(to, limit)).map((entry) => entryLine(entry, state)))
      : faint(words().more(to - from))]);
  const { running } = state, hasEnded = running && !state.tasks.has(running);
  const now = running ? element("p", { class: "state-run" }, taskButton(running), " ", hasEnded ? words().ended : words().running)
    : state.isCalling ? element("p", { class: "state-run" }, words().callback, " ", words().running) : null;
  return [now, ...(lists.length ? lists : [faint(words().empty)]), ...folds("ready", state.ready.length)].filter(Boolean);
}

// Without the first digits, which are zero in all lines.
function digitsLine(digits, differs, zeros) {
  const two = (from, to) => digits.slice(Math.max(zeros, from), to).map((digit) => String(digit).padStart(2, "0") + " ").join("");
  if (differs === null) return element("span", { class: "digits mono" }, two(0));
  return element("span", { class: "digits mono" }, element("span", { class: "same" }, two(0, differs)),
    element("span", { class: "differs" }, two(differs, differs + 1)), two(differs + 1));
}

const EMPTY_CELLS = Array.from({ length: 704 }, (_, nth) => `M${22 + (nth % 64) * 10.5} ${Math.floor(nth / 64) * 9.5}h9v8h-9z`).join("");

function drawWheel(state) {
  const { timers, full } = wheelOf(state), count = state.timers.size, limit = most("wheel", count);
  const times = [state.wheel, ...timers.slice(0, limit).map(([, { deadline }]) => deadline)].map((time) => digitsOf(data, time));
  const zeros = Math.min(7, ...times.map((digits) => digits.findIndex(Boolean)).filter((nth) => nth >= 0));
  const rows = [element("tr", {}, element("th", {}, words().wheelTime), element("td", { class: "time" }, timeText(state.wheel)), element("td", {}, digitsLine(digitsOf(data, state.wheel), null, zeros)))];
  for (const [id, timer] of timers.slice(0, limit)) {
    const place = placeInWheel(data, state, timer);
    const where = place ? `${words().level} ${place.level}, ${words().slot} ${place.slot}` : isDue(state, timer, data) ? words().due : words().late;
    rows.push(element("tr", {}, element("td", {}, `${id} `, timer.task ? taskButton(timer.task) : words().callback),
      element("td", { class: "time" }, `${timeText(timer.deadline)}; ${where}`),
      element("td", {}, digitsLine(digitsOf(data, timer.deadline), place ? 10 - place.level : null, zeros))));
  }
  const now = digitsOf(data, state.wheel);
  const picture = element("svg:svg", { viewBox: "0 0 700 106", role: "img", "aria-label": words().wheel });
  for (let level = 0; level < 11; level++) {
    const text = element("svg:text", { x: 0, y: 8 + level * 9.5, class: "faint level" }, String(level));
    picture.append(text);
  }
  // One path for the empty cells, one for the full ones.
  picture.append(element("svg:path", { d: EMPTY_CELLS, class: "cell" }));
  const cell = (level, slot) => `M${22 + slot * 10.5} ${level * 9.5}h9v8h-9z`;
  picture.append(element("svg:path", { d: Array.from(full, (has, place) => (has ? cell(place >> 6, place & 63) : "")).join(""), class: "cell full" }),
    element("svg:path", { d: now.map((slot, nth) => cell(10 - nth, slot)).join(""), class: "cell now" }));
  return [picture, ruler(state, timers.slice(0, 24)), element("table", {}, ...rows), ...folds("wheel", count)].filter(Boolean);
}

// The next timers, without sorting all of them; and which slots have timers.
function wheelOf(state) {
  const timers = [], full = new Uint8Array(11 * 64);
  state.timers.each((timer, id) => {
    const place = placeInWheel(data, state, timer);
    if (place) full[place.level * 64 + place.slot] = 1;
    let at = timers.length;
    while (at > 0 && !isUntil(data.split, timers[at - 1][1].deadline, timer.deadline)) at--;
    if (at < MANY) timers.splice(at, 0, [id, timer]);
    if (timers.length > MANY) timers.pop();
  });
  return { timers, full };
}

// Time as a ruler, from now to the last of the next deadlines.
function ruler(state, timers) {
  if (!timers.length) return null;
  const near = timers, now = BigInt(data.times[state.time]);
  const span = BigInt(data.times[near[near.length - 1][1].deadline]) - now;
  const picture = element("svg:svg", { viewBox: "0 0 700 34", role: "img", "aria-label": words().deadline });
  picture.append(element("svg:line", { x1: 22, y1: 14, x2: 690, y2: 14, class: "edge" }));
  for (const [id, timer] of near) {
    const away = BigInt(data.times[timer.deadline]) - now;
    const x = 22 + (span > 0n && away > 0n ? Number((away * 660n) / span) : 0);
    picture.append(element("svg:line", { x1: x, y1: 5, x2: x, y2: 23, class: "edge" }, element("svg:title", {}, `${id}: ${timeText(timer.deadline)}`)));
  }
  picture.append(element("svg:text", { x: 22, y: 33, class: "faint" }, timeText(state.time)),
    element("svg:text", { x: 690, y: 33, class: "faint", "text-anchor": "end" }, timeText(near[near.length - 1][1].deadline)));
  return picture;
}

function drawWakers(state) {
  if (!state.tasks.size) return [faint(words().empty)];
  const rows = firstRows(state, most("wakers", state.tasks.size));
  const table = element("table", {}, element("tr", {}, ...["row", "generation", "task", "state"].map((word) => element("th", {}, words()[word]))));
  for (const [id, task] of rows) {
    const [kind, text] = stateOf(id, state);
    table.append(element("tr", {}, element("td", { class: "time" }, String(task.row)), element("td", { class: "time" }, String(task.generation)),
      element("td", {}, taskButton(id)), element("td", { class: "state-" + kind, title: words().steps(task.steps) }, text)));
  }
  return [table, ...folds("wakers", state.tasks.size)].filter(Boolean);
}

// The tasks of the first rows, without sorting all of them; among them the selected one, the running one,
// and that of the event.
function firstRows(state, count) {
  const rows = [], wanted = [chosen, state.running, taskOf(events[cursor - 1] ?? [])].filter((id, nth, all) => id && state.tasks.has(id) && all.indexOf(id) === nth);
  state.tasks.each((task, id) => {
    if (wanted.includes(id)) return;
    let at = rows.length;
    while (at > 0 && rows[at - 1][1].row > task.row) at--;
    if (at < count - wanted.length) rows.splice(at, 0, [id, task]);
    if (rows.length > count - wanted.length) rows.pop();
  });
  return [...rows, ...wanted.map((id) => [id, state.tasks.get(id)])].sort(([, one], [, other]) => one.row - other.row);
}

// The room for the lanes. It is not asked for at each step, because the browser would have to arrange
// the page twice.
let lanesWidth = 0, lanesScroll = 0;
const lanesBox = { legend: element("p", { class: "legend" }), scroll: element("div", { class: "scroll" }), more: element("div") };

// At most so wide is a small text in the lanes, with some room behind it.
const widthOf = (text) => [...text].reduce((width, letter) => width + (letter > "\u2e80" ? 10 : 5.6), 8);

function drawLanes(at) {
  // Fewer columns on a small screen.
  const left = lanesWidth < 600 ? 130 : 176, head = 26, height = 22;
  const width = Math.max(11, Math.min(20, Math.floor((lanesWidth - left - 10) / (BEFORE + AFTER + 1))));
  const room = Math.floor((lanesWidth - left - 10) / width) - 1;
  const before = room < 30 ? Math.max(8, Math.min(BEFORE, Math.ceil(room * .7))) : BEFORE;
  const from = Math.max(0, at - before);
  // The question is what comes next.
  const to = asks ? at : Math.min(events.length, at + (room < 30 ? Math.max(4, Math.floor(room * .3)) : AFTER));
  const wanted = [], { tasks } = shown.state;
  const want = (id) => { if (id > 0 && wanted.length < LANES && !wanted.includes(id)) wanted.push(id); };
  want(chosen);
  for (let nth = at - 1; nth >= from; nth--) want(taskOf(events[nth]));
  for (let nth = at; nth < to; nth++) want(taskOf(events[nth]));
  for (const id of tasks.keys()) { if (wanted.length >= LANES) break; want(id); }
  wanted.sort((one, other) => one - other);
  const now = { at: past.at, state: cloneState(past.state) };
  advance(now, from);
  const lanes = new Map(wanted.map((id) => [id, []])), arrows = [], turns = [], times = [];
  const note = (column) => { for (const [id, lane] of lanes) lane[column] = now.state.tasks.has(id) ? kindOf(id, now.state) : null; };
  note(0);
  for (let nth = from; nth < to; nth++) {
    advance(now, nth + 1);
    const column = nth - from + 1;
    note(column);
    const [code, time, a, b, c] = events[nth];
    let by = code === CODE.Wake || code === CODE.Cancel ? b : code === CODE.Spawn ? events[nth][5] : 0;
    if (code === CODE.Wake && by === BY.Kernel) by = endOf[nth];
    if (by > 0 && by !== a && lanes.has(by) && lanes.has(a) && !(code === CODE.Wake && c !== 0)) arrows.push([column, by, a, code === CODE.Cancel]);
    if (code === CODE.TurnBegin) turns.push(column);
    if (nth === from || time !== events[nth - 1][1]) times.push([column, time]);
  }
  const columns = to - from + 1, bottom = head + lanes.size * height, whole = left + columns * width + 10;
  const picture = element("svg:svg", { viewBox: `0 0 ${whole} ${bottom + 8}`, role: "group", "aria-label": words().lanes, width: whole, height: bottom + 8 });
  const rows = new Map([...lanes.keys()].map((id, nth) => [id, head + nth * height + 12]));
  const label = (x, y, text) => picture.append(element("svg:text", { x, y, class: "faint level" }, text));
  let free = 0;
  for (const column of turns) {
    const x = left + column * width;
    picture.append(element("svg:line", { x1: x, y1: 2, x2: x, y2: bottom, class: "turn" }));
    const text = words().turn(turnAt(from + column));
    if (x > free) { label(x + 2, 9, text); free = x + widthOf(text); }
  }
  free = 0;
  for (const [column, time] of times) {
    const x = left + column * width;
    const text = timeText(time);
    if (x > free) { label(x + 2, 20, text); free = x + widthOf(text); }
  }
  // One path for all that a task does in one way.
  for (const [id, lane] of lanes) {
    const y = rows.get(id), paths = { run: "", ready: "", wait: "" };
    picture.append(selects(element("svg:text", { x: 0, y: y + 4, "font-weight": id === chosen ? 700 : 400 },
      element("svg:title", {}, nameOf(id)), fitted(id, Math.floor(left / 7.5))), id));
    lane.forEach((kind, column) => {
      // What lasts for several events is one piece, except for the boxes of ready tasks.
      if (!kind || (kind !== "ready" && lane[column - 1] === kind)) return;
      let until = column + 1;
      while (kind !== "ready" && lane[until] === kind) until++;
      const x = left + column * width, wide = (until - column) * width;
      paths[kind] += kind === "run" ? `M${x} ${y - 6}h${wide}v12h${-wide}z` : kind === "ready" ? `M${x + 1} ${y - 3}h${width - 2}v6h${2 - width}z` : `M${x} ${y}h${wide}`;
    });
    for (const [kind, d] of Object.entries(paths)) if (d) picture.append(element("svg:path", { d, class: "lane-" + kind }));
  }
  for (const [column, by, task, isCancel] of arrows) {
    const x = left + column * width + width / 2, end = rows.get(task), sign = end > rows.get(by) ? 1 : -1;
    picture.append(element("svg:path", { class: isCancel ? "arrow cancels" : "arrow", d: `M${x} ${rows.get(by)}V${end - sign * 4}m-3 ${-4 * sign}l3 ${4 * sign}l3 ${-4 * sign}` }));
  }
  const x = left + (at - from) * width;
  picture.append(element("svg:rect", { x, y: 0, width, height: bottom + 6, class: "cursor", fill: "none" }));
  for (let column = 0; column < columns; column++) {
    picture.append(element("svg:rect", { x: left + column * width, y: 0, width, height: bottom + 6, fill: "transparent", "data-event": from + column }));
  }
  lanesBox.legend.replaceChildren(...[["state-run", "█ " + words().running], ["state-ready", "▭ " + words().isReady],
    ["state-wait", "— " + words().waiting], ["failed", "↓ " + words().arrow], ["failed", "⇣ " + words().arrowCancel]].map(([kind, text]) =>
    element("span", { class: kind }, text)));
  lanesBox.more.replaceChildren(moreThan(Math.max(tasks.size, lanes.size), lanes.size) ?? "");
  // The same element each time, which stays where the reader has scrolled it. It is scrolled so that the
  // cursor is in view.
  lanesBox.scroll.replaceChildren(picture);
  const seen = lanesWidth || whole;
  if (whole > seen && (x < lanesScroll || x + 2 * width > lanesScroll + seen)) {
    lanesScroll = Math.max(0, x - seen * .7);
    lanesBox.scroll.scrollLeft = lanesScroll;
  }
}

const MOST_EDGES = 20, ALL_EDGES = 60;

// Who waits for whom: boxes in columns, what is awaited to the right of who awaits it. The tasks that the
// reader looks at come first, since a large graph is cut.
function drawGraph(state) {
  const nodes = new Map(), edges = [], known = new Set(), isOpen = unfolded.has("graph");
  const limit = isOpen ? ALL_EDGES : MOST_EDGES;
  const node = (key, label, task) => { if (!nodes.has(key)) nodes.set(key, { label, task, depth: 0 }); return key; };
  const connect = (from, to) => {
    const key = from + " " + to;
    if (known.has(key)) return true;
    if (edges.length >= limit) return false;
    known.add(key);
    edges.push([from, to]);
    return true;
  };
  let drawn = 0, more = 0;
  const waitsOf = (id, task) => {
    for (const [wait, { kind, on, what: about }] of task.waits) {
      if (edges.length >= limit) return;
      drawn++;
      const from = node("t" + id, fitted(id, 40), id);
      const timer = state.timers.get(wait);
      // Waits are different things, unless they are for the same object or task.
      const to = kind === ON.Task ? node("t" + on, fitted(on, 40), on)
        : kind === ON.Object ? node("o" + on, what(about), 0)
        : node("w" + wait, timer ? words().sleepUntil(timeText(timer.deadline)) : what(about), 0);
      connect(from, to);
      if (kind !== ON.Object) continue;
      // The tasks that a gather waits for.
      for (const child of childrenIn(data.texts[about], id, state)) {
        if (!known.has(to + " t" + child) && edges.length >= limit) { more++; continue; }
        connect(to, node("t" + child, fitted(child, 40), child));
      }
    }
  };
  const firstOnes = new Set([chosen, taskOf(events[cursor - 1] ?? []), state.running].filter((id) => id && state.tasks.has(id)));
  for (const id of firstOnes) waitsOf(id, state.tasks.get(id));
  for (const [id, task] of state.tasks) {
    if (edges.length >= limit) break;
    if (task.waits.size && !firstOnes.has(id)) waitsOf(id, task);
  }
  more += state.waiting - drawn;
  if (!edges.length) return [faint(words().empty)];
  // A few rounds are enough: a chain that is longer, or a circle, only bends.
  for (let round = 0; round < 6; round++) {
    for (const [from, to] of edges) {
      const depth = Math.min(5, nodes.get(from).depth + 1);
      if (from !== to && nodes.get(to).depth < depth) nodes.get(to).depth = depth;
    }
  }
  const counts = [];
  for (const box of nodes.values()) {
    counts[box.depth] ??= 0;
    box.x = 4 + box.depth * 178;
    box.y = 4 + counts[box.depth]++ * 44;
  }
  const wide = 178 * counts.length, tall = 44 * Math.max(...counts.filter(Boolean)) + 8;
  const picture = element("svg:svg", { viewBox: `0 0 ${wide} ${tall}`, width: wide, height: tall, role: "group",
    "aria-label": edges.slice(0, 10).map(([from, to]) => words().waitsFor(nodes.get(from).label, nodes.get(to).label)).join("; ") });
  for (const [from, to] of edges) {
    const [one, other] = [nodes.get(from), nodes.get(to)];
    picture.append(element("svg:path", { class: "edge", d: `M${one.x + 152} ${one.y + 17}C${one.x + 168} ${one.y + 17} ${other.x - 18} ${other.y + 17} ${other.x} ${other.y + 17}l-6 -3m6 3l-6 3` }));
  }
  for (const { label, task, x, y } of nodes.values()) {
    const line = fitting(label, 19), lines = [line, fit(label.slice(line.length), 19)];
    const box = element("svg:g", {}, element("svg:title", {}, label),
      element("svg:rect", { x, y, width: 152, height: 34, rx: task ? 4 : 14, class: "node" + (task && task === chosen ? " chosen" : "") }),
      ...lines.filter(Boolean).map((line, nth) => element("svg:text", { x: x + 7, y: y + (lines[1] ? 14 : 21) + nth * 14 }, line)));
    picture.append(task ? selects(box, task) : box);
  }
  const rest = isOpen || more ? foldButton("graph", isOpen, more) : null;
  return [element("div", { class: "scroll" }, picture), rest, isOpen && more ? faint(words().more(more)) : null].filter(Boolean);
}

// The living tasks that the description of a wait names: `a gather of "one", "two" (done)`. If several
// have one name, those that the waiting task has spawned.
function childrenIn(text, waiting, state) {
  if (!/^(a gather of|a wait on|a group of|a shield on|the next to complete of) /.test(text)) return [];
  textNumbers ??= new Map(data.texts.map((text, nth) => [text, nth]));
  const wanted = new Set([...text.matchAll(/"((?:[^"\\]|\\.)*)"(?! \(done\))/g)].map(([, name]) => name));
  return [...wanted].flatMap((name) => {
    // Of very many tasks with one name, the latest.
    const living = (ids.get(textNumbers.get(name)) ?? []).slice(-500).filter((id) => state.tasks.has(id));
    return living.length > 1 ? living.filter((id) => state.tasks.get(id).by === waiting) : living;
  });
}
let textNumbers;

// What came from outside since the last turn began: wakes and spawns by other threads, sockets, hosts.
function drawInbox(at) {
  const list = element("ul");
  let count = 0;
  for (let nth = at - 1; nth >= 0 && at - nth < 2000; nth--) {
    const event = events[nth];
    if (event[0] === CODE.TurnBegin && nth < at - 1 && count) break;
    if (event[0] === CODE.TurnEnd) break;
    const by = event[0] === CODE.Wake ? event[3] : event[0] === CODE.Spawn ? event[5] : event[0] === CODE.CallQueue ? event[2] : 0;
    if (by !== BY.Outside) continue;
    const task = event[0] === CODE.CallQueue ? 0 : event[2];
    if (++count <= 20) list.prepend(element("li", {}, task ? taskButton(task) : words().callback));
  }
  return [count ? list : faint(words().empty), moreThan(count, 20)].filter(Boolean);
}

// ---- the worlds: the orders of an exploration ----

// The deviations of a schedule: [choice, index, among].
const deviations = (schedule) => schedule.split(",").filter(Boolean).map((part) => part.split(/[=/]/).map(Number));
const worldOf = new Map(data.worlds.map(({ schedule }, number) => [schedule, number]));

// What could be chosen in a choice, in words. `state` is the state after it: the chosen entry has come to
// the head of the queue.
function choice(state, [, , kind, , chosen], index) {
  if (kind === CHOICE.Cancellation) return index ? words().isCancelled : words().goesOn;
  if (kind === CHOICE.Time) return words().deadlines(index);
  let task;
  if (kind === CHOICE.Entry) task = state.ready.at(index === chosen ? 0 : index < chosen ? index + 1 : index)?.[0];
  else if (kind === CHOICE.Timer) task = dueTimers(state)[index]?.[1].task;
  else return String(index);
  return task ? told(task) : words().callback;
}

const dueTimers = (state) => [...state.timers].filter(([, timer]) => isDue(state, timer, data)).sort(([one, a], [other, b]) =>
  a.deadline === b.deadline ? one - other : isUntil(data.split, a.deadline, b.deadline) ? -1 : 1);

// The schedule of this world up to a choice, and then with another entry.
function scheduleWith(choice, index, among) {
  const before = deviations(data.schedule).filter(([at]) => at < choice);
  if (index) before.push([choice, index, among]);
  return before.map(([at, index, among]) => `${at}=${index}/${among}`).join(",");
}

function drawWorlds(at) {
  byId("panel-worlds").hidden = !choices.length;
  if (!choices.length) return [];
  // The last choice until here, or the first one.
  const nth = Math.max(0, countUntil(choices, at) - 1);
  const position = choices[nth], event = events[position - 1], [, , , among, chosen] = event;
  const list = element("ul"), state = moveTo(aside, position);
  for (let index = 0; index < Math.min(among, MANY); index++) {
    const name = choice(state, event, index);
    const world_ = worldOf.get(scheduleWith(nth + 1, index, among));
    const note = index === chosen ? words().chosen : world_ === undefined ? words().notRun : "";
    const where = element("button", {
      type: "button", class: "task" + (index === chosen ? " chosen" : ""), "data-choice": index,
      onclick: () => { enter(world_, position); },
    }, name);
    if (world_ === undefined || index === chosen) where.disabled = true;
    list.append(element("li", {}, where, " ", element("span", { class: "faint" }, note)));
  }
  return [element("div", {}, element("p", {}, words().choice(nth + 1)), list),
    element("div", {}, element("p", { class: "faint" }, words().orders(data.worlds.length)), treeOf(normal))];
}

// The orders as a tree: an order is below the one from which it deviates once more. Only the way to the
// world that is shown is open; of other branches, the numbers of orders and of failures are shown.
let innerOrders = new Map(), counts = new Map();
const normal = worldOf.get("") ?? -1;
data.worlds.forEach(({ schedule, fault }, number) => {
  for (let up = schedule, isFirst = true; up;) {
    up = up.slice(0, Math.max(0, up.lastIndexOf(",")));
    const parent = worldOf.get(up);
    if (parent === undefined) continue;
    if (isFirst) addTo(innerOrders, parent, number);
    isFirst = false;
    const count = counts.get(parent) ?? { orders: 0, failures: 0 };
    count.orders++;
    if (fault) count.failures++;
    counts.set(parent, count);
  }
});

function treeOf(root) {
  let left = MANY;
  const isOpen = (number) => number === world || data.schedule.startsWith(data.worlds[number].schedule + (number === normal ? "" : ","));
  const item = (number) => {
    const { schedule, fault } = data.worlds[number], inner = innerOrders.get(number) ?? [], count = counts.get(number);
    const node = element("li", {}, element("button", {
      type: "button", class: "task" + (number === world ? " chosen" : ""), "data-world": number, onclick: () => enter(number, cursor),
    }, schedule.split(",").pop() || words().normalOrder), " ",
    element("span", { class: fault ? "failed" : "state-run", title: fault }, fault ? "✘ " + short(visible(fault.split("\n")[0])) : "✔"));
    left--;
    if (!count) return node;
    node.append(element("span", { class: "faint" }, " " + words().below(count.orders, count.failures)));
    if (!isOpen(number)) return node;
    // The way to the shown world is never cut.
    const kept = inner.filter((one) => isOpen(one) || left-- > 0);
    left += kept.filter((one) => !isOpen(one)).length;
    node.append(element("ul", {}, ...kept.map(item), kept.length < inner.length ? element("li", { class: "faint" }, words().more(inner.length - kept.length)) : null));
    return node;
  };
  return element("ul", { class: "tree" }, root < 0 ? null : item(root));
}

// In which choices this world differs from the normal order, in words.
function differences() {
  const parts = deviations(data.schedule).slice(0, 3).map(([at, index]) => {
    const position = choices[at - 1], event = events[position - 1];
    if (!event) return null;
    const state = moveTo(aside, position);
    return words().instead(at, choice(state, event, index), choice(state, event, 0));
  });
  return parts.includes(null) ? words().differsFromFifo(data.schedule) : words().differsFromFifo(few([...parts, ...deviations(data.schedule).slice(3)], 3, "; "));
}

// Shows another world, at the same event: until the choice where they part, both are the same.
function enter(number, at) {
  openWorld(number);
  while (!readOn(1000));
  drawWords();
  go(at);
}

// ---- the cursor ----

let cursor = 0, asks = false, playing = 0, score = [0, 0];

const PANELS = {
  source: drawSource, ready: drawReady, wheel: drawWheel, wakers: drawWakers, graph: drawGraph,
  inbox: (_, nth) => drawInbox(nth + 1), worlds: (_, nth) => drawWorlds(nth + 1),
};

function draw() {
  const at = cursor, state = stateAt(at), nth = at - 1;
  byId("where").textContent = [words().event(at, events.length), words().turn(state.turns),
    words().time(timeText(at ? state.time : data.base.time))].join(" · ");
  byId("sentence").textContent = asks ? words().whoNext : nth < 0 ? words().start : sentence(nth, state);
  byId("slider").value = at;
  byId("slider").setAttribute("aria-valuetext", byId("where").textContent);
  // The elements are new ones, so the focus goes to the one that is the same for the reader.
  const focused = document.activeElement, panel = focused?.closest("main section > div");
  const key = panel && ["data-task", "data-choice", "data-world", "data-fold"].find((key) => focused.hasAttribute(key));
  const selector = key && `[${key}="${focused.getAttribute(key)}"]`;
  for (const [id, drawPanel] of Object.entries(PANELS)) byId(id).replaceChildren(...drawPanel(state, nth));
  drawLanes(at);
  if (panel) {
    // What is gone leaves the focus in its panel.
    if (!panel.querySelector(selector)) panel.tabIndex = -1;
    (panel.querySelector(selector) ?? panel).focus({ preventScroll: true });
  }
  document.documentElement.dataset.event = at;
}

// How many numbers of a sorted list are at most `at`.
function countUntil(list, at) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] <= at) low = middle + 1; else high = middle;
  }
  return low;
}

// The number of the turn in which an event is.
const turnAt = (at) => data.base.turns + countUntil(turnStarts, at);

function drawWords() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const place of document.querySelectorAll("[data-word]")) place.textContent = words()[place.dataset.word];
  for (const place of document.querySelectorAll("[data-label]")) place.setAttribute("aria-label", words()[place.dataset.label]);
  for (const button of document.querySelectorAll("[data-go]")) {
    const word = words()[button.dataset.go === "why" ? "whyTitle" : button.dataset.go === "play" && playing ? "pause" : button.dataset.go];
    button.title = word;
    button.setAttribute("aria-label", word);
  }
  byId("play").firstElementChild.textContent = playing ? "❚❚" : "▶";
  byId("sentence").setAttribute("aria-live", playing ? "off" : "polite");
  byId("language").textContent = words().language;
  byId("theme").textContent = words().theme[document.documentElement.dataset.theme ?? "system"];
  for (const option of byId("speed").options) option.textContent = words().perSecond(option.value);
  byId("search").placeholder = words().searchHint;
  byId("help").replaceChildren(...words().help.map(([keys, effect]) => element("tr", {}, element("td", {}, keys), element("td", {}, effect))));
  const notes = [];
  if (data.schedule) notes.push(differences());
  if (data.fault) notes.push(visible(data.fault.split("\n")[0]));
  if (!events.length) notes.push(words().nothing);
  if (data.ignored) notes.push(words().ignored);
  if (data.lost) notes.push(words().lost(data.lost));
  if (missedAt) notes.push(words().missed(missedAt));
  if (data.cut) notes.push(words().cut(data.cut));
  if (newest.at < events.length) notes.push(words().reading);
  else if (verdict !== null) notes.push(verdict < 0 ? words().verified : words().differs(verdict));
  byId("notice").replaceChildren(notes.join(" "));
  const failure = failedAt ? events[failedAt - 1][2] : data.base.failure;
  if (failure) {
    const text = say(failure === 1 ? "failPanic" : "failDeadlock");
    byId("notice").prepend(element("strong", { class: "failed" }, text), " ",
      failedAt ? element("button", { type: "button", id: "failure", onclick: () => go(failedAt) }, words().toFailure) : "", " ");
    notes.push(text);
  }
  byId("notice").hidden = !notes.length;
}

function go(at) {
  asks = false;
  // The answer stays until the next question.
  if (!byId("question").querySelector("[role=status]")) byId("question").hidden = true;
  byId("remark").textContent = "";
  cursor = Math.max(0, Math.min(newest.at, at));
  // Seldom, because browsers complain of too many changes.
  addressed ||= setTimeout(() => {
    addressed = 0;
    try { history.replaceState(null, "", "#e=" + cursor); } catch { /* Some browsers forbid it for files. */ }
  }, 300);
  draw();
}
let addressed = 0;

// The first number in a sorted list above `at`, and the last below it.
const above = (list, at) => list[countUntil(list, at)] ?? events.length;
const below = (list, at) => list[countUntil(list, at - 1) - 1] ?? 0;

// The event that queued a task, or began its life, before `at`.
function causeOf(task, at) {
  for (let nth = at - 1; nth >= 0; nth--) {
    const [code, , a, , outcome] = events[nth];
    if (a === task && (code === CODE.Spawn || (code === CODE.Wake && outcome === 0))) return nth + 1;
  }
  return null;
}

const lastBefore = (at, isIt) => {
  for (let nth = at - 2; nth >= 0; nth--) if (isIt(events[nth], nth)) return nth + 1;
  return null;
};

// What has caused the wake or the cancellation that is event `at`.
function causeOfWake(at, by) {
  if (by > 0) return lastBefore(at, ([code, , a]) => code === CODE.StepBegin && a === by);
  if (by === BY.Callback) return lastBefore(at, ([code]) => code === CODE.CallBegin);
  if (by === BY.Timer) return lastBefore(at, ([code]) => code === CODE.TimerFire);
  const ended = by === BY.Kernel && endOf[at - 1];
  if (ended) return lastBefore(at, ([code, , a]) => code === CODE.End && a === ended);
  return by === BY.Kernel && failedAt && failedAt < at ? failedAt : null;
}

// The event that queued the callback which is called at `at`, or set its timer.
function causeOfCall(at) {
  if (events[at - 2]?.[0] === CODE.TimerFire) {
    const timer = events[at - 2][2];
    return lastBefore(at, ([code, , a]) => code === CODE.TimerArm && a === timer);
  }
  // The callbacks that still stand in the queue were queued later.
  const { ready } = stateAt(at);
  let later = ready.slice(0, ready.length).filter(([task]) => task === 0).length;
  return lastBefore(at, ([code]) => code === CODE.CallQueue && later-- === 0);
}

function nextOf(task, step) {
  for (let at = cursor + step; at >= 1 && at <= events.length; at += step) {
    if (taskOf(events[at - 1]) === task) return at;
  }
  return cursor;
}

const MOVES = {
  first: () => go(0), last: () => go(events.length), back: () => go(cursor - 1), forward: () => forward(cursor + 1),
  backStep: () => go(below(stepStarts, cursor)), forwardStep: () => forward(above(stepStarts, cursor)),
  backTurn: () => go(below(turnStarts, cursor)), forwardTurn: () => go(above(turnStarts, cursor)),
  play: () => play(!playing),
  why: () => {
    if (!cursor) return;
    const event = events[cursor - 1], [code, , a, by] = event, about = taskOf(event);
    const isOther = chosen && chosen !== about;
    let at = null;
    if (isOther) at = causeOf(chosen, cursor - 1);
    else if (code === CODE.Wake || code === CODE.Cancel || code === CODE.Uncancel) at = causeOfWake(cursor, by);
    else if (code === CODE.Spawn) at = causeOfWake(cursor, event[5]);
    else if (code === CODE.CallQueue) at = causeOfWake(cursor, a);
    else if (code === CODE.Yield) at = lastBefore(cursor, ([code, , task]) => code === CODE.StepBegin && task === about);
    else if (about) at = causeOf(about, cursor - 1);
    else if (code === CODE.CallBegin || code === CODE.CallSkip) at = causeOfCall(cursor);
    else if (code === CODE.TimerFire || code === CODE.TimerCancel) at = lastBefore(cursor, (event) => event[0] === CODE.TimerArm && event[2] === a);
    if (at) return go(at);
    byId("remark").textContent = data.lost ? words().causeLost : words().noCause;
  },
};

// Goes on, but asks first who runs next, if the reader wants to predict that.
function forward(at) {
  const next = above(stepStarts, cursor), isStep = next <= at && stepStarts.length && next <= stepStarts[stepStarts.length - 1];
  if (!byId("predict").checked || !isStep) return go(at);
  go(next - 1);
  ask(next);
}

function ask(then) {
  const state = stateAt(cursor), event = events[then - 1];
  const right = event[0] === CODE.StepBegin ? event[2] : 0;
  asks = true;
  play(false);
  draw();
  // Everybody who is alive is a choice, in the order of their numbers.
  const choices = [];
  for (const id of state.tasks.keys()) if (choices.push(id) === 12) break;
  if (right && !choices.includes(right)) choices.push(right);
  const answer = (who) => {
    score[1]++;
    if (who === right) score[0]++;
    const verdict = who === right ? words().right(...score) : words().wrong(right ? told(right) : words().callback, ...score);
    go(then);
    byId("question").replaceChildren(element("span", { role: "status" }, verdict));
    byId("question").hidden = false;
  };
  const button = (who) => element("button", { type: "button", "data-answer": who, onclick: () => answer(who) },
    who ? element("bdi", {}, `${shortName(who)} (${who})`) : words().callback);
  byId("question").replaceChildren(element("p", {}, words().whoNext), ...choices.map(button), button(0));
  byId("question").hidden = false;
  byId("question").querySelector("button").focus();
}

function play(on) {
  clearInterval(playing);
  playing = on ? setInterval(() => (cursor < events.length ? MOVES.forward() : play(false)), 1000 / byId("speed").value) : 0;
  drawWords();
}

// Finds the next event for which `search` stands: a task's name or number, file:line, or words of the
// sentence. It continues from the beginning. A long recording is searched in slices, so that the page
// stays usable. `#123` selects that task, and finds its next event.
let searches = 0;
function find(search) {
  const wanted = search.trim().toLowerCase(), mine = ++searches;
  if (!wanted || !events.length) return;
  const number = /^#(\d+)$/.exec(wanted);
  if (number) chosen = names.has(Number(number[1])) ? Number(number[1]) : chosen;
  const start = cursor;
  let at = cursor, state = cloneState(stateAt(cursor)), count = 0;
  const matches = () => (number ? taskOf(events[at - 1]) === Number(number[1]) : sentence(at - 1, state).toLowerCase().includes(wanted));
  const slice = () => {
    if (mine !== searches || cursor !== start) return;
    const end = performance.now() + 30;
    while (count++ < events.length) {
      if (at === events.length) [at, state] = [0, cloneState(copies[0].state)];
      apply(state, events[at++]);
      if (matches()) return go(at);
      if (count % 16 === 0 && performance.now() > end) {
        byId("remark").textContent = words().searching(count, events.length);
        return setTimeout(slice);
      }
    }
    byId("remark").textContent = words().notFound;
  };
  slice();
}

// ---- the beginning ----

for (const button of document.querySelectorAll("[data-go]")) button.addEventListener("click", () => MOVES[button.dataset.go]());
byId("slider").addEventListener("input", (event) => go(Number(event.target.value)));
byId("speed").addEventListener("change", () => playing && play(true));
byId("predict").addEventListener("change", () => { byId("question").replaceChildren(); go(cursor); });
byId("search").addEventListener("input", () => { searches++; byId("remark").textContent = ""; });
byId("search").addEventListener("keydown", (event) => { if (event.key === "Enter") find(event.target.value); });
byId("language").addEventListener("click", () => { language = language === "en" ? "zh" : "en"; kept.set("language", language); drawWords(); draw(); });
if (kept.get("theme")) document.documentElement.dataset.theme = kept.get("theme");
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = dark === "dark" ? "light" : "dark";
  kept.set("theme", document.documentElement.dataset.theme);
  drawWords();
});
// A first visit explains the page.
byId("about").open = !kept.get("visited") && innerWidth > 900;
kept.set("visited", "yes");
const KEYS = { ArrowLeft: "back", ArrowRight: "forward", Home: "first", End: "last", " ": "play", "[": "backTurn", "]": "forwardTurn", PageUp: "backTurn", PageDown: "forwardTurn", w: "why" };
document.addEventListener("keydown", (event) => {
  const { target } = event, key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(target.tagName) && target.type !== "range") return;
  if (key === " " && /^(BUTTON|SUMMARY)$/.test(target.tagName)) return;
  const move = event.shiftKey && { ArrowLeft: "backStep", ArrowRight: "forwardStep" }[key] || KEYS[key];
  if (move) MOVES[move]();
  else if (key === "n" || key === "b") chosen && go(nextOf(chosen, key === "n" ? 1 : -1));
  else if (key === "/") byId("search").focus();
  else if (key === "p") byId("predict").click();
  else if (key === "l") byId("language").click();
  else return;
  event.preventDefault();
});
addEventListener("hashchange", () => goToHash());
function goToHash() {
  const at = /^#e=(\d+)$/.exec(location.hash);
  go(at ? Number(at[1]) : Math.min(1, events.length));
}

byId("title").textContent = "onelane · " + visible(data.title);
document.title = byId("title").textContent;
function begin() {
  const done = readOn(25);
  drawWords();
  if (!done) return setTimeout(begin);
  document.documentElement.dataset.ready = verdict === null || verdict < 0 ? "yes" : "no";
  goToHash();
}
byId("lanes").append(...Object.values(lanesBox));
lanesBox.scroll.addEventListener("scroll", () => { lanesScroll = lanesBox.scroll.scrollLeft; }, { passive: true });
// One listener for all columns.
lanesBox.scroll.addEventListener("click", ({ target }) => target.dataset.event && go(Number(target.dataset.event)));
lanesWidth = byId("lanes").clientWidth;
openWorld(data.first);
draw();
// Also called once at the beginning, when the page has its scroll bar.
new ResizeObserver(([{ contentRect }]) => {
  if (Math.round(contentRect.width) === lanesWidth) return;
  lanesWidth = Math.round(contentRect.width);
  drawLanes(cursor);
}).observe(byId("lanes"));
begin();
