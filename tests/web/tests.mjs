// Calls the tests of `src/lib.rs`, and drives the one of far timers. The same module runs in a page, in
// a worker and in Node.

const DAY = 24 * 60 * 60 * 1000;
const LONGEST_DELAY = 2 ** 31 - 1;

function assert(condition, message) {
  if (!condition) throw new Error(message);
}

// The clock and `setTimeout` of this test: time passes only when the test says so. If `early`, timeouts
// fire up to a millisecond before their time, as some browsers do.
async function testFarTimers(wasm, early) {
  const real = { now: performance.now.bind(performance), setTimeout, clearTimeout };
  let now = real.now(), last = 0, delays = 0, fired = 0;
  const timeouts = new Map();
  performance.now = () => now;
  globalThis.setTimeout = (act, delay) => {
    // What a browser does with a delay that it cannot express.
    if (delay > LONGEST_DELAY) delay = 1;
    assert(Number.isInteger(delay) && delay >= 0, `a delay of ${delay}`);
    timeouts.set(++last, { at: now + delay, act });
    delays = Math.max(delays, delay);
    return last;
  };
  globalThis.clearTimeout = (id) => timeouts.delete(id);
  try {
    const begun = now, notes = wasm.start_far_timers(), seen = [];
    const lasting = { 0: 0.5, 1: DAY + 0.5, 30: 30 * DAY + 0.5, 300: 300 * DAY + 0.5 };
    while (true) {
      for (let turn = 0; turn < 5; turn++) await null;
      while (notes.length > seen.length) {
        const days = notes[seen.length];
        const late = now - begun - lasting[days];
        assert(late >= 0 && late <= 2, `the timer of ${days} days came ${late} ms after its time`);
        seen.push(days);
      }
      // The timer that never comes needs no timeout.
      if (timeouts.size === 0) break;
      assert(timeouts.size === 1, `${timeouts.size} timeouts are set`);
      const [[id, { at, act }]] = timeouts;
      timeouts.delete(id);
      now = Math.max(now, at - (early && at - now > 1 ? 0.9 : 0));
      fired++;
      act();
    }
    assert(seen.join() === "0,1,30,300", `these timers came: ${seen}`);
    assert(delays === LONGEST_DELAY, `the longest delay was ${delays}`);
    assert(fired < 60, `${fired} timeouts fired`);
  } finally {
    delete performance.now;
    Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout });
  }
}

/** Runs all tests. `load()` resolves to a fresh program each time; `base` is the address of the server. */
export async function runTests(load, base) {
  const passed = [];
  const wasm = await load();
  const names = Object.keys(wasm).filter((name) => name.startsWith("test_"));
  assert(names.length > 10, `only ${names.length} tests were found`);
  for (const name of names) {
    let limit;
    const late = new Promise((_, reject) => {
      limit = setTimeout(() => reject(new Error(`${name} has not ended`)), 60_000);
    });
    await Promise.race([wasm[name](base), late]);
    clearTimeout(limit);
    passed.push(name);
  }
  return passed;
}

/** Each needs a program of its own: the clock jumps, or the program ends. */
export async function runLastTests(load) {
  for (const early of [false, true]) await testFarTimers(await load(), early);

  // A panic ends the program, and says why.
  const { error } = console, said = [];
  console.error = (text) => said.push(text);
  const endsBy = async (name, words) => {
    const wasm = await load();
    let ended = null;
    try {
      wasm[name]();
    } catch (trap) {
      ended = trap;
    }
    assert(ended instanceof WebAssembly.RuntimeError, `${name} ended by ${ended}`);
    // No turn runs any more.
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert(said.length === 1 && said[0].includes(words), `${name}: ${said.join("; ")}`);
    said.length = 0;
  };
  try {
    await endsBy("fail_to_wait", "nothing can wait on wasm32-unknown-unknown");
    await endsBy("panic_in_a_turn", "on purpose");
  } finally {
    console.error = error;
  }
  return ["far timers", "far timers and early timeouts", "a loop that would have to wait", "a panic in a turn"];
}

/** Runs the conformance programs. */
export async function runConformance(load, texts) {
  const wasm = await load();
  return Object.entries(texts).map(([name, text]) => wasm.run_conformance(name, text));
}
