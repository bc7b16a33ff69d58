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

// Copies of states, from which others are computed. They are as far apart as they are large, so that
// all of them take memory in proportion to the number of events.
let copies, turnStarts, stepStarts, choices, names, newest, verdict, shown;

function openWorld(number) {
  world = number;
  Object.assign(data, { hashes: null }, data.worlds[number]);
  events = data.events;
  copies = [{ at: 0, state: firstState(data) }];
  turnStarts = [];
  stepStarts = [];
  choices = [];
  names = new Map(data.base.tasks.map(([id, name]) => [id, name]));
  newest = { at: 0, state: cloneState(copies[0].state) };
  verdict = data.hashes ? -1 : null;
  shown = { at: 0, state: cloneState(copies[0].state) };
  byId("slider").max = events.length;
}

// Reads on for some milliseconds. Returns whether everything is read.
function readOn(milliseconds) {
  const end = performance.now() + milliseconds;
  while (newest.at < events.length) {
    if (newest.at % 64 === 0 && performance.now() > end) return false;
    const event = events[newest.at];
    apply(newest.state, event, data);
    newest.at++;
    if (event[0] === CODE.Choose) choices.push(newest.at);
    if (event[0] === CODE.Spawn) names.set(event[2], event[3]);
    if (event[0] === CODE.TurnBegin) turnStarts.push(newest.at);
    if (event[0] === CODE.StepBegin || event[0] === CODE.CallBegin) stepStarts.push(newest.at);
    if (verdict === -1 && hashOf(newest.state, data) !== data.hashes[newest.at - 1]) verdict = newest.at;
    if (newest.at - copies[copies.length - 1].at >= Math.max(256, sizeOf(newest.state))) {
      copies.push({ at: newest.at, state: cloneState(newest.state) });
    }
  }
  return true;
}

function stateAt(at) {
  if (at < shown.at || at - shown.at > 1024) {
    let low = 0, high = copies.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (copies[middle].at <= at) low = middle; else high = middle - 1;
    }
    const copy = copies[low];
    if (at < shown.at || copy.at > shown.at) shown = { at: copy.at, state: cloneState(copy.state) };
  }
  while (shown.at < at) apply(shown.state, events[shown.at++], data);
  return shown.state;
}

// ---- texts ----

let language = /^zh/.test(navigator.language) ? "zh" : "en";
const words = () => WORDS[language];
const say = (key, ...parts) => words().say[key](...parts);

// Names may contain anything: what a reader could not see, or what would turn the text around, is
// written as its number.
function visible(text) {
  return text.replace(/[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu,
    (letter) => "\\u{" + letter.codePointAt(0).toString(16) + "}");
}

const nameOf = (task) => visible(data.texts[names.get(task)] ?? "?");
const told = (task) => `“${nameOf(task)}” (${task})`;
const cause = (by) => (by > 0 ? told(by) : words().cause(by));
const first = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const what = (index) => visible(data.texts[index]);

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
    case CODE.Wake:
      if (c === 2) return say("late", first(cause(b)));
      if (c === 1) return say("merged", told(a), first(cause(b)));
      return state.running === a ? say("wakesItself", told(a)) : say("queued", told(a), first(cause(b)));
    case CODE.StepBegin: return say("stepBegin", told(a), placeText(state.tasks.get(a)?.place ?? 0));
    case CODE.StepEnd: {
      if (b) return say("stepEndEnded", told(a));
      const task = state.tasks.get(a);
      if (task?.isReady) return say("stepEndQueued", told(a));
      const waits = task ? [...task.waits.values()].map((wait) => what(wait.what)) : [];
      return waits.length ? say("stepEndWaits", told(a), waits.join(" + ")) : say("stepEnd", told(a));
    }
    case CODE.Suspend: return say("suspend", told(a));
    case CODE.Choose: {
      const chosen = choicesAt(nth + 1)[c], normal = c && choicesAt(nth + 1)[0];
      stateAt(nth + 1);
      return c ? say("chooses", chosen, normal) : say("choosesFirst", chosen, b);
    }
    case CODE.CallBegin: return events[nth - 1]?.[0] === CODE.TimerFire ? say("timerCall") : say("callBegin");
    case CODE.CallEnd: return say("callEnd");
    case CODE.CallQueue: return say("callQueue", first(cause(a)));
    case CODE.CallSkip: return say("callSkip");
    case CODE.WaitBegin: return say("waitBegin", told(a), what(c), placeText(f));
    case CODE.WaitEnd: return say("waitEnd", told(a), placeText(c));
    case CODE.TimerArm: {
      const place = placeInWheel(data, state, { deadline: b, isDue: false });
      const where = place ? words().say.timerPlace(place.level, place.slot) : words().say.timerLate;
      return say("timerArm", a, timeText(b), where, c ? words().say.forTask(told(c)) : words().say.forCallback);
    }
    case CODE.TimerFire: return say("timerFire", a);
    case CODE.TimerCancel: return say("timerCancel", a);
    case CODE.Expire: return say("expire", timeText(a), [...state.timers.values()].filter((timer) => timer.isDue).length);
    case CODE.End: return say(["endValue", "endCancelled", "endPanicked"][b], told(a));
    case CODE.Park: return a < 0 ? say("parkForEver") : say("park", timeText(a));
    case CODE.Unpark: return say("unpark");
    default: return say(a === 1 ? "failPanic" : "failDeadlock");
  }
}

// The task that an event is about, or 0.
function taskOf(event) {
  const [code, , a, , c] = event;
  if (code === CODE.TimerArm) return c;
  const about = [CODE.Spawn, CODE.Wake, CODE.StepBegin, CODE.StepEnd, CODE.Suspend, CODE.WaitBegin, CODE.WaitEnd, CODE.End];
  return about.includes(code) ? a : 0;
}

function placeOf(nth, state) {
  const [code, , a, , c, , , f] = events[nth];
  if (code === CODE.Spawn || code === CODE.WaitEnd) return c;
  if (code === CODE.WaitBegin) return f;
  const task = state.tasks.get(taskOf(events[nth]) || state.running);
  return task ? task.place : null;
}

// ---- elements ----

// element("li", { class: "x" }, child, ..): text stays text.
function element(name, attributes = {}, ...children) {
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

function taskButton(task) {
  return element("button", {
    type: "button", class: "task" + (task === chosen ? " chosen" : ""), "data-task": task,
    onclick: () => { chosen = chosen === task ? 0 : task; draw(); },
  }, element("bdi", {}, nameOf(task)), ` (${task})`);
}

const faint = (text) => element("p", { class: "faint" }, text);
// A panel shows no more than this many things: more would take too long, and nobody reads them.
const MANY = 60;
const moreThan = (count, most = MANY) => (count > most ? faint(words().more(count - most)) : null);

function stateOf(task, state) {
  if (task === state.running) return ["run", words().running];
  return state.tasks.get(task)?.isReady ? ["ready", words().isReady] : ["wait", words().waiting];
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
  const place = litPlace(state, nth);
  if (place === null) return [faint(words().noPlace)];
  const [file, line] = data.places[place];
  const { name, text } = data.files[file];
  const heading = element("p", { class: "file" }, visible(name) + ":" + line);
  if (text === null) return [heading, faint(words().noSource)];
  data.files[file].lines ??= text.split("\n");
  const { lines } = data.files[file];
  const waiting = new Map();
  for (const [id, task] of state.tasks) {
    const [at, row] = data.places[task.place];
    if (at === file) waiting.set(row, [...(waiting.get(row) ?? []), id]);
  }
  const code = element("div", { class: "code" });
  const from = Math.max(1, line - 9), to = Math.min(lines.length, line + 9);
  for (let row = from; row <= to; row++) {
    const lit = row === line ? " lit" : "";
    const here = waiting.get(row) ?? [];
    const badges = here.slice(0, 3).join(" ") + (here.length > 3 ? " +" + (here.length - 3) : "");
    code.append(
      element("span", { class: "number" + lit }, String(row)),
      element("span", { class: "state-wait" + lit, title: here.slice(0, 20).map(nameOf).join(", ") }, badges),
      element("span", { class: "text" + lit }, lines[row - 1] || " "),
    );
  }
  return [heading, code];
}

function entryLine([task, by]) {
  const who = task ? taskButton(task) : words().callback;
  return element("li", {}, who, element("span", { class: "faint" }, ` ${words().wakesFrom} ${cause(by)}`));
}

function drawReady(state) {
  if (asks) return [faint(words().whoNext)];
  const parts = [[words().thisTurn, 0, state.marked], [words().nextTurn, state.marked, state.ready.length]];
  const lists = parts.flatMap(([heading, from, to]) => to <= from ? [] : [element("p", { class: "bar" }, heading),
    element("ol", { start: from + 1 }, ...state.ready.slice(from, Math.min(to, MANY)).map(entryLine))]);
  const running = state.running ? element("p", { class: "state-run" }, taskButton(state.running), " ", words().running)
    : state.isCalling ? element("p", { class: "state-run" }, words().callback, " ", words().running) : null;
  return [running, ...(lists.length ? lists : [faint(words().empty)]), moreThan(state.ready.length)].filter(Boolean);
}

function digitsLine(digits, differs) {
  const line = element("span", { class: "digits mono" });
  digits.forEach((digit, nth) => {
    const kind = differs === null ? "" : nth < differs ? "same" : nth === differs ? "differs" : "";
    line.append(element("span", { class: kind }, String(digit).padStart(2, "0")), " ");
  });
  return line;
}

function drawWheel(state) {
  const timers = [...state.timers].sort(([, one], [, other]) =>
    one.deadline === other.deadline ? 0 : isUntil(data.split, one.deadline, other.deadline) ? -1 : 1);
  const rows = [element("tr", {}, element("th", {}, words().wheelTime), element("td", {}, digitsLine(digitsOf(data, state.wheel), null)), element("td", {}, timeText(state.wheel)))];
  const full = new Map();
  for (const [, timer] of timers) {
    const place = placeInWheel(data, state, timer);
    if (place) full.set(place.level * 64 + place.slot, true);
  }
  for (const [id, timer] of timers.slice(0, 8)) {
    const place = placeInWheel(data, state, timer);
    const where = place ? `${words().level} ${place.level}, ${words().slot} ${place.slot}` : timer.isDue ? words().due : words().late;
    rows.push(element("tr", {}, element("td", {}, `${id} `, timer.task ? taskButton(timer.task) : words().callback),
      element("td", {}, digitsLine(digitsOf(data, timer.deadline), place ? 10 - place.level : null)),
      element("td", {}, `${timeText(timer.deadline)}; ${where}`)));
  }
  const now = digitsOf(data, state.wheel);
  const picture = element("svg:svg", { viewBox: "0 0 700 106", role: "img", "aria-label": words().wheel });
  for (let level = 0; level < 11; level++) {
    const text = element("svg:text", { x: 0, y: 8 + level * 9.5, class: "faint", "font-size": 8 }, String(level));
    picture.append(text);
    for (let slot = 0; slot < 64; slot++) {
      const kind = "cell" + (full.has(level * 64 + slot) ? " full" : "") + (now[10 - level] === slot ? " now" : "");
      picture.append(element("svg:rect", { x: 22 + slot * 10.5, y: level * 9.5, width: 9, height: 8, class: kind }));
    }
  }
  return [picture, ruler(state, timers), element("table", {}, ...rows), moreThan(timers.length, 8)].filter(Boolean);
}

// Time as a ruler, from now to the last of the next deadlines.
function ruler(state, timers) {
  if (!timers.length) return null;
  const near = timers.slice(0, 24), now = BigInt(data.times[state.time]);
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
  const tasks = [...state.tasks].sort(([, one], [, other]) => one.row - other.row);
  const table = element("table", {}, element("tr", {}, ...["row", "generation", "task", "state"].map((word) => element("th", {}, words()[word]))));
  for (const [id, task] of tasks.slice(0, MANY)) {
    const [kind, text] = stateOf(id, state);
    table.append(element("tr", {}, element("td", {}, String(task.row)), element("td", {}, String(task.generation)),
      element("td", {}, taskButton(id)), element("td", { class: "state-" + kind, title: words().steps(task.steps) }, text)));
  }
  return [table, moreThan(tasks.length)].filter(Boolean);
}

// The lanes show this many events around the cursor.
const BEFORE = 50, AFTER = 22, LANES = 24;

function drawLanes(at) {
  const from = Math.max(0, at - BEFORE), to = Math.min(events.length, at + AFTER);
  const begun = { at: shown.at, state: shown.state };
  const state = cloneState(stateAt(from));
  // The cursor's state was computed with effort, so it is kept.
  if (begun.at !== from) shown = begun;
  const lanes = new Map();
  const alive = (id) => state.tasks.has(id);
  const wanted = [];
  const want = (id) => { if (id > 0 && wanted.length < LANES && !wanted.includes(id)) wanted.push(id); };
  want(chosen);
  for (let nth = at - 1; nth >= from; nth--) want(taskOf(events[nth]));
  for (let nth = at; nth < to; nth++) want(taskOf(events[nth]));
  for (const id of begun.state.tasks.keys()) want(id);
  wanted.sort((one, other) => one - other);
  for (const id of wanted) lanes.set(id, []);
  const wakes = [];
  const note = (column) => {
    for (const [id, lane] of lanes) {
      lane[column] = !alive(id) ? null : stateOf(id, state)[0];
    }
  };
  note(0);
  for (let nth = from; nth < to; nth++) {
    apply(state, events[nth], data);
    note(nth - from + 1);
    const [code, , a, b, c] = events[nth];
    const by = code === CODE.Wake ? b : code === CODE.Spawn ? events[nth][5] : 0;
    if (by > 0 && by !== a && lanes.has(by) && lanes.has(a) && !(code === CODE.Wake && c !== 0)) wakes.push([nth - from + 1, by, a]);
  }
  const width = 11, left = 170, height = 22;
  const columns = to - from + 1;
  const picture = element("svg:svg", { viewBox: `0 0 ${left + columns * width + 10} ${lanes.size * height + 8}`, role: "img",
    "aria-label": words().lanes, width: left + columns * width + 10, height: lanes.size * height + 8 });
  const rows = new Map([...lanes.keys()].map((id, nth) => [id, nth * height + 12]));
  for (const [id, lane] of lanes) {
    const y = rows.get(id);
    const label = nameOf(id).length > 20 ? nameOf(id).slice(0, 19) + "…" : nameOf(id);
    const text = element("svg:text", { x: 0, y: y + 4, "data-task": id, "font-weight": id === chosen ? 700 : 400 }, `${label} (${id})`);
    text.addEventListener("click", () => { chosen = chosen === id ? 0 : id; draw(); });
    picture.append(text);
    lane.forEach((kind, column) => {
      const x = left + column * width;
      if (kind === "run") picture.append(element("svg:rect", { x, y: y - 6, width, height: 12, class: "lane-run" }));
      if (kind === "ready") picture.append(element("svg:rect", { x: x + 1, y: y - 3, width: width - 2, height: 6, class: "lane-ready" }));
      if (kind === "wait") picture.append(element("svg:line", { x1: x, y1: y, x2: x + width, y2: y, class: "lane-wait" }));
    });
  }
  for (const [column, by, task] of wakes) {
    const x = left + column * width + width / 2, end = rows.get(task), sign = end > rows.get(by) ? 1 : -1;
    picture.append(element("svg:path", { class: "cursor", fill: "none", d: `M${x} ${rows.get(by)}V${end - sign * 4}m-3 ${-4 * sign}l3 ${4 * sign}l3 ${-4 * sign}` }));
  }
  const x = left + (at - from) * width;
  picture.append(element("svg:rect", { x, y: 0, width, height: lanes.size * height + 6, class: "cursor", fill: "none" }));
  for (let column = 0; column < columns; column++) {
    const area = element("svg:rect", { x: left + column * width, y: 0, width, height: lanes.size * height + 6, fill: "transparent", "data-event": from + column });
    area.addEventListener("click", () => go(from + column));
    picture.append(area);
  }
  const legend = element("p", { class: "faint" }, element("span", { class: "state-run" }, "█ " + words().running), "  ",
    element("span", { class: "state-ready" }, "▭ " + words().isReady), "  ", element("span", { class: "state-wait" }, "— " + words().waiting));
  return [legend, picture, moreThan(Math.max(begun.state.tasks.size, lanes.size), lanes.size)].filter(Boolean);
}

// Who waits for whom: boxes in columns, what is awaited to the right of who awaits it.
function drawGraph(state) {
  const nodes = new Map(), edges = [];
  const node = (key, label, task) => { if (!nodes.has(key)) nodes.set(key, { label, task, depth: 0 }); return key; };
  for (const [id, task] of state.tasks) {
    if (nodes.size > 40) break;
    for (const wait of task.waits.values()) {
      const from = node("t" + id, `${nameOf(id)} (${id})`, id);
      const to = wait.kind === ON.Task ? node("t" + wait.on, `${nameOf(wait.on)} (${wait.on})`, wait.on)
        : wait.kind === ON.Object ? node("o" + wait.on, what(wait.what), 0) : node("w" + wait.what, what(wait.what), 0);
      edges.push([from, to]);
    }
  }
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
    box.x = 4 + box.depth * 190;
    box.y = 4 + counts[box.depth]++ * 34;
  }
  const wide = 190 * counts.length, tall = 34 * Math.max(...counts.filter(Boolean)) + 8;
  const picture = element("svg:svg", { viewBox: `0 0 ${wide} ${tall}`, width: wide, height: tall, role: "img", "aria-label": words().graph });
  for (const [from, to] of edges) {
    const [one, other] = [nodes.get(from), nodes.get(to)];
    picture.append(element("svg:path", { class: "edge", d: `M${one.x + 160} ${one.y + 12}C${one.x + 178} ${one.y + 12} ${other.x - 18} ${other.y + 12} ${other.x} ${other.y + 12}l-6 -3m6 3l-6 3` }));
  }
  for (const { label, task, x, y } of nodes.values()) {
    const short = label.length > 21 ? label.slice(0, 20) + "…" : label;
    const box = element("svg:g", { "data-task": task || null }, element("svg:title", {}, label),
      element("svg:rect", { x, y, width: 160, height: 24, rx: task ? 4 : 12, class: "node" + (task && task === chosen ? " chosen" : "") }),
      element("svg:text", { x: x + 6, y: y + 16 }, short));
    if (task) box.addEventListener("click", () => { chosen = chosen === task ? 0 : task; draw(); });
    picture.append(box);
  }
  return [picture];
}

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

// What could be chosen in the choice that is event `position`, in words.
function choicesAt(position) {
  const [, , kind, among] = events[position - 1];
  const state = stateAt(position - 1);
  const words_ = [];
  const due = [...state.timers].filter(([, timer]) => timer.isDue).sort(([one, a], [other, b]) =>
    a.deadline === b.deadline ? one - other : isUntil(data.split, a.deadline, b.deadline) ? -1 : 1);
  for (let index = 0; index < among; index++) {
    const task = kind === CHOICE.Entry ? state.ready[index]?.[0] : kind === CHOICE.Timer ? due[index]?.[1].task : 0;
    if (kind === CHOICE.Entry || kind === CHOICE.Timer) words_.push(task ? told(task) : words().callback);
    else if (kind === CHOICE.Cancellation) words_.push(index ? words().isCancelled : words().goesOn);
    else words_.push(kind === CHOICE.Time ? words().deadlines(index) : String(index));
  }
  return words_;
}

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
  const nth = Math.max(0, choices.findLastIndex((position) => position <= at));
  const position = choices[nth], [, , , among, chosen] = events[position - 1];
  const list = element("ul");
  choicesAt(position).slice(0, MANY).forEach((name, index) => {
    const world_ = worldOf.get(scheduleWith(nth + 1, index, among));
    const note = index === chosen ? words().chosen : world_ === undefined ? words().notRun : "";
    const where = element("button", {
      type: "button", class: "task" + (index === chosen ? " chosen" : ""), "data-choice": index,
      onclick: () => { enter(world_, position); },
    }, name);
    if (world_ === undefined || index === chosen) where.disabled = true;
    list.append(element("li", {}, where, " ", element("span", { class: "faint" }, note)));
  });
  const orders = element("ol", { start: 0 });
  data.worlds.slice(0, MANY).forEach(({ schedule, fault }, number) => {
    orders.append(element("li", {}, element("button", {
      type: "button", class: "task" + (number === world ? " chosen" : ""), "data-world": number,
      onclick: () => enter(number, cursor),
    }, schedule || words().normalOrder), " ", element("span", { class: fault ? "failed" : "state-run", title: fault }, fault ? "✘ " + visible(fault.split("\n")[0]) : "✔")));
  });
  return [element("p", {}, words().choice(nth + 1)), list, element("p", { class: "faint" }, words().orders(data.worlds.length)),
    orders, moreThan(data.worlds.length)].filter(Boolean);
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

function draw() {
  const at = cursor, state = stateAt(at), nth = at - 1;
  byId("where").textContent = [words().event(at, events.length), words().turn(state.turns),
    words().time(timeText(at ? state.time : data.base.time))].join(" · ");
  byId("sentence").textContent = asks ? words().whoNext : nth < 0 ? words().start : sentence(nth, state);
  byId("slider").value = at;
  byId("slider").setAttribute("aria-valuetext", byId("where").textContent);
  byId("source").replaceChildren(...drawSource(state, nth));
  byId("ready").replaceChildren(...drawReady(state));
  byId("wheel").replaceChildren(...drawWheel(state));
  byId("wakers").replaceChildren(...drawWakers(state));
  byId("graph").replaceChildren(...drawGraph(state));
  byId("inbox").replaceChildren(...drawInbox(at));
  byId("lanes").replaceChildren(...drawLanes(at));
  byId("worlds").replaceChildren(...drawWorlds(at));
  document.documentElement.dataset.event = at;
}

function drawWords() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const place of document.querySelectorAll("[data-word]")) place.textContent = words()[place.dataset.word];
  for (const button of document.querySelectorAll("[data-go]")) {
    const word = words()[button.dataset.go === "why" ? "whyTitle" : button.dataset.go === "play" && playing ? "pause" : button.dataset.go];
    button.title = word;
    button.setAttribute("aria-label", word);
  }
  byId("play").textContent = playing ? "⏸" : "▶";
  byId("why").textContent = words().why;
  byId("language").textContent = words().language;
  byId("theme").textContent = words().theme;
  byId("slider").setAttribute("aria-label", words().lanes);
  byId("search").placeholder = words().searchHint;
  byId("help").replaceChildren(...words().help.map(([keys, effect]) => element("tr", {}, element("td", {}, keys), element("td", {}, effect))));
  const notes = [];
  if (data.schedule) notes.push(words().differsFromFifo(data.schedule));
  if (data.fault) notes.push(visible(data.fault.split("\n")[0]));
  if (!events.length) notes.push(words().nothing);
  if (data.lost) notes.push(words().lost(data.lost));
  if (newest.at < events.length) notes.push(words().reading);
  else if (verdict !== null) notes.push(verdict < 0 ? words().verified : words().differs(verdict));
  byId("notice").textContent = notes.join(" ");
  byId("notice").hidden = !notes.length;
}

function go(at) {
  asks = false;
  byId("question").hidden = true;
  cursor = Math.max(0, Math.min(newest.at, at));
  try { history.replaceState(null, "", "#e=" + cursor); } catch { /* Some browsers forbid it for files. */ }
  draw();
}

// The first number in a sorted list above `at`, and the last below it.
const above = (list, at) => list.find((number) => number > at) ?? events.length;
function below(list, at) {
  for (let nth = list.length - 1; nth >= 0; nth--) if (list[nth] < at) return list[nth];
  return 0;
}

// The event that queued a task, or began its life, before `at`.
function causeOf(task, at) {
  for (let nth = at - 1; nth >= 0; nth--) {
    const [code, , a, , outcome] = events[nth];
    if (a === task && (code === CODE.Spawn || (code === CODE.Wake && outcome === 0))) return nth + 1;
  }
  return null;
}

// The event that queued the callback which is called at `at`, or set its timer.
function causeOfCall(at) {
  const back = (isIt) => { for (let nth = at - 2; nth >= 0; nth--) if (isIt(events[nth])) return nth + 1; return null; };
  if (events[at - 2]?.[0] === CODE.TimerFire) {
    const timer = events[at - 2][2];
    return back(([code, , a]) => code === CODE.TimerArm && a === timer);
  }
  // The callbacks that still stand in the queue were queued later.
  let later = stateAt(at).ready.filter(([task]) => task === 0).length;
  return back(([code]) => code === CODE.CallQueue && later-- === 0);
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
    const [code, , timer] = events[cursor - 1], isCall = code === CODE.CallBegin || code === CODE.CallSkip;
    const task = chosen || taskOf(events[cursor - 1]);
    let at = task ? causeOf(task, cursor - 1) : null;
    if (!task && isCall) at = causeOfCall(cursor);
    if (!task && (code === CODE.TimerFire || code === CODE.TimerCancel)) {
      at = events.findLastIndex((event, nth) => nth < cursor && event[0] === CODE.TimerArm && event[2] === timer) + 1;
    }
    if (at) go(at);
  },
};

// Goes on, but asks first who runs next, if the reader wants to predict that.
function forward(at) {
  const next = events.slice(cursor, at).findIndex((event) => event[0] === CODE.StepBegin || event[0] === CODE.CallBegin);
  if (!byId("predict").checked || next < 0) return go(at);
  go(cursor + next);
  ask(cursor + 1);
}

function ask(then) {
  const state = stateAt(cursor), event = events[then - 1];
  const right = event[0] === CODE.StepBegin ? event[2] : 0;
  asks = true;
  play(false);
  draw();
  // Everybody who is alive is a choice, in the order of their numbers.
  const choices = [...state.tasks.keys()].slice(0, 12);
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
    who ? element("bdi", {}, `${nameOf(who)} (${who})`) : words().callback);
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
// sentence. It continues from the beginning.
function find(search) {
  const wanted = search.trim().toLowerCase();
  if (!wanted || !events.length) return;
  const state = cloneState(stateAt(cursor));
  let at = cursor;
  const restart = () => { at = 0; Object.assign(state, cloneState(copies[0].state)); };
  const begun = performance.now();
  for (let count = 0; count < events.length; count++) {
    if (at === events.length) restart();
    apply(state, events[at], data);
    at++;
    if (sentence(at - 1, state).toLowerCase().includes(wanted)) return go(at);
    // A long recording: the page must stay usable.
    if (count % 256 === 255 && performance.now() - begun > 2000) break;
  }
  byId("search").setCustomValidity(words().notFound);
  byId("search").reportValidity();
}

// ---- the beginning ----

for (const button of document.querySelectorAll("[data-go]")) button.addEventListener("click", () => MOVES[button.dataset.go]());
byId("slider").addEventListener("input", (event) => go(Number(event.target.value)));
byId("speed").addEventListener("change", () => playing && play(true));
byId("predict").addEventListener("change", () => go(cursor));
byId("search").addEventListener("input", () => byId("search").setCustomValidity(""));
byId("search").addEventListener("keydown", (event) => { if (event.key === "Enter") find(event.target.value); });
byId("language").addEventListener("click", () => { language = language === "en" ? "zh" : "en"; drawWords(); draw(); });
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = dark === "dark" ? "light" : "dark";
});
const KEYS = { ArrowLeft: "back", ArrowRight: "forward", Home: "first", End: "last", " ": "play", "[": "backTurn", "]": "forwardTurn", w: "why" };
document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(target.tagName) && target.type !== "range") return;
  if (key === " " && target.tagName === "BUTTON") return;
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

// Cargo gives the program of a test a name with a hash.
byId("title").textContent = "onelane · " + visible(data.title.replace(/-[0-9a-f]{16}$/, ""));
document.title = byId("title").textContent;
function begin() {
  const done = readOn(25);
  drawWords();
  if (!done) return setTimeout(begin);
  document.documentElement.dataset.ready = verdict === null || verdict < 0 ? "yes" : "no";
  goToHash();
}
openWorld(data.first);
draw();
begin();
