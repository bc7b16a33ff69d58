// Opens the pages that `tests/replay.rs` writes in a real browser, and drives them.
//
//   node browser.js CHROMIUM FOLDER [SCREENSHOTS]
//
// `.ci/browser` installs what this needs, and calls it.
"use strict";
const { chromium } = require("playwright-core");
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");

const [executablePath, folder, screenshots] = process.argv.slice(2);
const address = (name) => "file://" + path.resolve(folder, name);
let checks = 0;
const check = (what, ...rest) => { checks++; assert.deepEqual(...rest, what); };

async function main() {
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const browser = await chromium.launch({ executablePath, args });
  // A page that says anything on the console, fails, or asks for anything else than itself, is wrong.
  const open = async (name, options = {}, hash = "") => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, offline: true, locale: "en-US", ...options });
    const page = await context.newPage();
    const wrong = [];
    page.on("console", (message) => wrong.push("console: " + message.text()));
    page.on("pageerror", (error) => wrong.push("error: " + error.stack));
    page.on("request", (request) => { if (!/^(file|data):/.test(request.url())) wrong.push("request: " + request.url()); });
    page.on("dialog", (dialog) => { wrong.push("dialog: " + dialog.message()); dialog.dismiss(); });
    await page.goto(address(name) + hash);
    await page.waitForSelector("html[data-ready]", { timeout: 60_000 });
    const close = async () => { check(name + " is quiet", wrong, []); await context.close(); };
    return { page, close };
  };
  const at = (page) => page.evaluate(() => Number(document.documentElement.dataset.event));
  const text = (page, selector) => page.textContent(selector);
  const sentenceAt = (page, nth) => page.evaluate((nth) => { go(nth); return byId("sentence").textContent; }, nth);

  // No event.
  {
    const { page, close } = await open("empty.html");
    check("says that there is nothing", (await text(page, "#notice")).startsWith("Nothing was recorded"), true);
    for (const key of ["ArrowRight", "ArrowLeft", "End", " ", "w", "[", "]", "PageUp", "PageDown"]) await page.keyboard.press(key);
    check("stays at the beginning", await at(page), 0);
    await close();
  }

  // Forward to the end and back to the beginning, by the keyboard alone.
  {
    const { page, close } = await open("varied.html");
    check("the states equal those of Rust", await page.getAttribute("html", "data-ready"), "yes");
    check("the notice says so", (await text(page, "#notice")).includes("the same states as the program"), true);
    const all = await page.evaluate(() => events.length);
    await page.keyboard.press("Home");
    const there = [await page.innerHTML("main")];
    for (let nth = 1; nth <= all; nth++) {
      await page.keyboard.press("ArrowRight");
      check("one event forward", await at(page), nth);
      check("each event has a sentence", (await text(page, "#sentence")).length > 5, true);
      there.push(await page.innerHTML("main"));
    }
    for (let nth = all - 1; nth >= 0; nth--) {
      await page.keyboard.press("ArrowLeft");
      check("backwards shows what forwards has shown", await page.innerHTML("main"), there[nth]);
    }
    // The lanes begin with the state 50 events before.
    check("the past is the past", await page.evaluate(() => events.findIndex((_, nth) => {
      stateAt(nth);
      const state = cloneState(copies[0].state);
      for (const event of events.slice(0, Math.max(0, nth - BEFORE))) apply(state, event);
      return hashOf(past.state, data) !== hashOf(state, data);
    })), -1);
    // Sentences say no more than the events do.
    const sentences = await page.evaluate(() => events.map((event, nth) => [event[0], sentence(nth, stateAt(nth + 1))]));
    const all_ = (code) => sentences.filter(([of]) => of === code).map(([, text]) => text).join("\n");
    const said = (what, code, words) => check(what, all_(code).includes(words), true);
    said("a first step", 4, "runs for the first time");
    said("a step after a sleep", 4, "It has waited at replay.rs:");
    said("a step after a yield", 4, "It has yielded at replay.rs:");
    said("a yield", 24, "yields at replay.rs:");
    said("a request that is taken back, and one is left", 23, "1 is left");
    said("the last request that is taken back", 23, "continues as if nothing had happened");
    // What has waited and has not run yet is still at its line.
    const unsure = await page.evaluate(() => events.flatMap(([code, , a], nth) =>
      (code === CODE.StepBegin && stateAt(nth).tasks.get(a).steps && stateAt(nth).tasks.get(a).place === null ? [nth] : [])));
    check("the line of each task that is ready is known", unsure, []);
    said("a step after a cancellation", 4, "It was cancelled, so it unwinds");
    said("a cancellation", 22, "cancels “");
    said("the end of what is awaited", 3, "is woken, because “");
    check("no task continues where it has not waited", all_(4).includes("continues"), false);
    // The cause of a wake is the step that has woken, or the end.
    for (const nth of await page.evaluate(() => events.flatMap(([code, , , by, outcome], nth) => (code === 3 && by !== 0 && outcome === 0 ? [nth + 1] : [])))) {
      await page.evaluate((nth) => go(nth), nth);
      const by = await page.evaluate(() => events[cursor - 1][3]);
      await page.keyboard.press("w");
      const [code, task] = await page.evaluate(() => [events[cursor - 1][0], events[cursor - 1][2]]);
      if (by > 0) check("the waker's step", [code, task], [4, by]);
      else if (by === -2) check("the timer", code, 13);
      else if (by === -3) check("an end or a failure, or none is recorded", [3, 16, 19].includes(code), true);
    }
    // Named events.
    const find = async (words) => {
      await page.keyboard.press("/");
      await page.fill("#search", words);
      await page.keyboard.press("Enter");
      await page.evaluate(() => document.activeElement.blur());
      return text(page, "#sentence");
    };
    await page.keyboard.press("Home");
    check("finds a spawn", (await find("sleeper")).includes("spawns “sleeper”"), true);
    check("the queue has the task", (await text(page, "#ready")).includes("sleeper"), true);
    check("the lit line is the spawn", (await text(page, "#source .lit.text")).includes('name("sleeper")'), true);
    check("finds the callback that was cancelled", (await find("calls nothing")).includes("cancelled"), true);
    check("finds the turn of the wheel", await find("wheel is turned to 6 ms"), "The wheel is turned to 6 ms. 1 timer is due.");
    check("finds a fired timer", /^Timer \d+ fires/.test(await find("fires")), true);
    check("finds the end", (await find("because it was cancelled")).includes("ends"), true);
    await page.keyboard.press("End");
    const step = await at(page);
    await page.keyboard.press("Shift+ArrowLeft");
    check("one step back", (await at(page)) < step && /runs|called/.test(await text(page, "#sentence")), true);
    const ran = await at(page);
    await page.keyboard.press("w");
    check("why: an earlier event", (await at(page)) < ran && /wakes|woken|spawns|queues/.test(await text(page, "#sentence")), true);
    await page.keyboard.press("Home");
    await page.keyboard.press("]");
    check("the first turn", (await text(page, "#sentence")).startsWith("Turn 1 begins"), true);
    await page.keyboard.press("]");
    await page.keyboard.press("[");
    check("and back", (await text(page, "#sentence")).startsWith("Turn 1 begins"), true);
    // Selects a task, and goes to its next event.
    await page.click("#wakers [data-task]");
    const from = await at(page);
    await page.keyboard.press("n");
    const next = await at(page);
    check("the next event of the task", next > from, true);
    await page.keyboard.press("n");
    await page.keyboard.press("b");
    check("and the previous one", await at(page), next);
    // The focus stays where it is for the reader.
    await page.focus("#wakers [data-task]");
    const focused = () => page.evaluate(() => document.activeElement.closest("section")?.id + " " + document.activeElement.dataset.task);
    const focus = await focused();
    await page.keyboard.press("Enter");
    check("the focus after a choice", await focused(), focus);
    check("is said to be pressed", await page.getAttribute(`#wakers [data-task]:focus`, "aria-pressed"), "false");
    await page.keyboard.press("Enter");
    await page.keyboard.press("ArrowLeft");
    check("the focus after a move", await focused(), focus);
    check("lanes and graph are reached by the keyboard", await page.locator("#lanes [tabindex='0']").count() > 0, true);
    await page.evaluate(() => document.activeElement.blur());
    check("finds a task by number", [await find("#2"), await page.evaluate(() => chosen)][1], 2);
    await page.evaluate(() => { chosen = 0; draw(); });
    check("says what is not found", [await find("no such thing"), await text(page, "#remark")][1], "Not found.");
    // A summary is opened by the space bar, which does not play.
    await page.focus("#about summary");
    const isOpen = await page.evaluate(() => byId("about").open);
    await page.keyboard.press("Space");
    check("opened or closed", await page.evaluate(() => [byId("about").open, playing]), [!isOpen, 0]);
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("Shift+L");
    check("a capital letter is the same key", await page.getAttribute("html", "lang"), "zh-CN");
    await page.keyboard.press("l");
    // Languages, and both colour schemes.
    await page.keyboard.press("l");
    check("Chinese", [await text(page, "#panel-ready h2"), await page.getAttribute("html", "lang")], ["就绪队列", "zh-CN"]);
    await page.keyboard.press("l");
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await paper();
    await page.click("#theme");
    check("dark is another colour", (await paper()) !== light, true);
    // Predict.
    await page.keyboard.press("Home");
    await page.keyboard.press("p");
    await page.keyboard.press("Shift+ArrowRight");
    check("asks who runs", (await text(page, "#question")).startsWith("Who runs next?"), true);
    check("and what comes next", await page.evaluate(() => Math.max(...[...document.querySelectorAll("#lanes [data-event]")].map((area) => area.dataset.event)) - cursor), 0);
    check("and hides the queue", (await text(page, "#ready")).includes("Who runs next?"), true);
    await page.click('#question [data-answer="1"]');
    check("the main task was right", (await text(page, "#question")).startsWith("Right. 1 of 1"), true);
    await page.keyboard.press("ArrowLeft");
    check("the answer can still be read", (await text(page, "#question")).startsWith("Right. 1 of 1"), true);
    await page.evaluate(() => go(cursor + 1));
    await page.keyboard.press("Shift+ArrowRight");
    await page.click('#question [data-answer="0"]');
    check("a callback was wrong", (await text(page, "#question")).startsWith("No: "), true);
    // Plays to the end.
    await page.keyboard.press("p");
    await page.selectOption("#speed", "60");
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("Space");
    await page.waitForFunction(() => cursor === events.length && !playing, { timeout: 30_000 });
    // A hostile name is text.
    await page.keyboard.press("Home");
    check("a name is text", (await find("bold")).includes("</script><b>bold</b>\\u{202e}"), true);
    check("and no element", await page.locator("main b").count(), 0);
    await close();
  }

  // What if: each order was really run, and the page goes from one to the other.
  {
    const { page, close } = await open("orders.html");
        check("opens with the order that fails", (await text(page, "#notice")).includes("an update is lost"), true);
    check("shows the tree of orders", await page.evaluate(() => {
      const number = (node) => Number(node.querySelector("[data-world]").dataset.world);
      const nodes = [...document.querySelectorAll("#worlds .tree li:has([data-world])")];
      // Each is below the order from which it deviates at its last choice.
      return nodes.length > 3 && nodes.every((node) => {
        const above = node.parentElement.closest("li"), { schedule, fault } = data.worlds[number(node)];
        const isRed = node.querySelector("[data-world] + span").className === "failed";
        return isRed === Boolean(fault) && schedule.split(",").slice(0, -1).join() === (above ? data.worlds[number(above)].schedule : "");
      });
    }), true);
    const numbers = await page.evaluate(() => [normal, ...counts.keys()].map((number) => [counts.get(number).orders, data.worlds.filter(({ schedule }, one) =>
      one !== number && (number === normal || schedule.startsWith(data.worlds[number].schedule + ","))).length]));
    check("and the numbers below", numbers.filter(([one, other]) => one !== other), []);
    const deviating = await page.evaluate(() => data.worlds.findIndex(({ schedule }) => schedule.startsWith("1=1/")));
    await page.evaluate((number) => enter(number, 0), deviating);
    check("what differs, in words", /differs from the normal one: at choice 1, “.+” \(\d+\) instead of “.+” \(\d+\)/.test(await text(page, "#notice")), true);
    await page.evaluate(() => enter(data.first, cursor));
    let entered = 0;
    for (const choice of await page.evaluate(() => choices)) {
      await page.evaluate((choice) => go(choice), choice);
      const others = page.locator("#worlds [data-choice]:not([disabled])");
      if (!(await others.count())) continue;
      // Without the generations of rows, which depend on earlier loops of the process.
      const past = (choice) => JSON.stringify(events.slice(0, choice - 1).map((event) => event.slice(0, 7)));
      const before = await page.evaluate(past, choice);
      await others.first().click();
      check("the same event", await at(page), choice);
      check("the same past", await page.evaluate(past, choice), before);
      entered++;
      await page.evaluate(() => enter(data.first, cursor));
    }
    check("there were other worlds", entered > 0, true);
    const passes = await page.evaluate(() => data.worlds.slice(0, 60).findIndex(({ fault }) => !fault));
    await page.click(`#worlds [data-world='${passes}']`);
    check("an order that passes says nothing of a failure", /lost|panicked/.test(await text(page, "#notice")), false);
    await close();
  }

  // Small and wide screens, touch, the address of an event, and paper. Nothing is wider than the screen.
  for (const [name, options] of Object.entries({
    small: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
    wide: { viewport: { width: 1600, height: 1000 } },
    dark: { viewport: { width: 1280, height: 900 }, colorScheme: "dark", locale: "zh-CN" },
  })) {
    const { page, close } = await open("varied.html", options, "#e=30");
    check("the address names the event", await at(page), 30);
    const fits = await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
    check(name + " fits", fits, true);
    const inView = await page.evaluate(() => {
      const scroll = document.querySelector("#lanes .scroll").getBoundingClientRect();
      const mark = document.querySelector("#lanes .cursor").getBoundingClientRect();
      return mark.left >= scroll.left && mark.right <= scroll.right + 2;
    });
    check("the lanes' cursor is in view", inView, true);
    if (options.colorScheme === "dark") {
      await page.click("#theme");
      check("light on a dark system", await page.evaluate(() => [getComputedStyle(document.documentElement).colorScheme, getComputedStyle(document.body).color]), ["light", "rgb(27, 27, 31)"]);
      await page.reload();
      await page.waitForSelector("html[data-ready]");
      check("the theme is remembered", await page.getAttribute("html", "data-theme"), "light");
      await page.click("#theme");
    }
    const names = await page.evaluate(() => [...document.querySelectorAll("section:not([hidden]), [role=group], #slider")].filter((part) =>
      !(part.getAttribute("aria-label") || byId(part.getAttribute("aria-labelledby"))?.textContent)).map((part) => part.id));
    check("each part has a name", names, []);
    if (options.hasTouch) {
      const tall = await page.evaluate(() => document.querySelector(".controls").getBoundingClientRect().height);
      check("the fixed part is low", tall < 220, true);
      const cell = await page.evaluate(() => document.querySelector("#wheel td.time").getBoundingClientRect().width);
      check("a time is in one line", cell > 30, true);
      await page.tap('[data-go="forward"]');
      check("a tap goes on", await at(page), 31);
    }
    if (screenshots) await page.screenshot({ path: path.join(screenshots, name + ".png"), fullPage: true });
    if (name === "wide") {
      for (const panel of ["source", "ready", "wheel", "wakers", "lanes", "graph", "inbox"]) {
        const box = await page.locator("#panel-" + panel).boundingBox();
        check(panel + " is drawn", box.width > 100 && box.height > 40, true);
      }
      await page.evaluate(() => { document.documentElement.dataset.theme = "dark"; });
      await page.emulateMedia({ media: "print" });
      check("paper is light", await page.evaluate(() => getComputedStyle(document.body).color), "rgb(27, 27, 31)");
      check("paper has no buttons", await page.isVisible(".moves"), false);
      if (screenshots) await page.screenshot({ path: path.join(screenshots, "print.png"), fullPage: true });
    }
    await close();
  }

  // A failed run says so, and where.
  {
    const { page, close } = await open("failed.html");
    check("the notice says why", (await text(page, "#notice")).startsWith("Deadlock"), true);
    await page.click("#failure");
    check("goes to the failure", (await text(page, "#sentence")).startsWith("Deadlock"), true);
    // The gather leads to its tasks, and two sleeps are two boxes.
    const graph = await page.evaluate(() => {
      const at = events.findLastIndex((event) => event[0] === CODE.Fail);
      go(at);
      return document.querySelector("#graph svg").getAttribute("aria-label");
    });
    if (screenshots) await page.screenshot({ path: path.join(screenshots, "failed.png"), fullPage: true });
    check("a gather waits for its tasks", graph.includes("waits for one (") && graph.includes("waits for two ("), true);
    await close();
  }

  // Many waits of one task, and names that are long, blank, or written from right to left.
  {
    const { page, close } = await open("crowd.html");
    const lengths = await page.evaluate(() => events.map((_, nth) => sentence(nth, stateAt(nth + 1)).length));
    check("no sentence is long", Math.max(...lengths) < 600, true);
    await page.evaluate(() => go(events.findIndex((event) => event[0] === CODE.Expire)));
    check("the graph says what it leaves out", /Show 4980 more/.test(await text(page, "#graph")), true);
    check("a sleep's box has its deadline", (await text(page, "#graph")).includes("a sleep until 1 ms"), true);
    check("few paths", await page.locator("#graph path").count(), 20);
    check("two sleeps are two boxes", await page.locator("#graph g").count(), 21);
    await page.focus("#graph [data-fold]");
    await page.keyboard.press("Enter");
    check("unfolds", [await page.locator("#graph path").count(), /and 4940 more/.test(await text(page, "#graph"))], [60, true]);
    check("the focus stays on the button", await page.evaluate(() => document.activeElement.dataset.fold), "graph");
    await page.keyboard.press("Enter");
    check("folds again", await page.locator("#graph path").count(), 20);
    check("the wheel is folded", [await page.locator("#wheel tr").count(), (await text(page, "#wheel")).includes("Show 4988 more")], [13, true]);
    if (screenshots) await page.screenshot({ path: path.join(screenshots, "crowd.png"), fullPage: true });
    await page.keyboard.press("Home");
    const whole = await page.textContent("body");
    await page.evaluate(() => go(events.findIndex((event) => event[0] === CODE.Spawn && what(event[3]).includes("u{200b}")) + 1));
    const sentence_ = await text(page, "#sentence");
    check("what is not seen is written", sentence_.includes("a\\u{200b}b\\u{feff}"), true);
    await page.evaluate(() => go(events.findIndex((event) => event[0] === CODE.Spawn && what(event[3]).startsWith("שלום")) + 1));
    check("a name from right to left is isolated", (await text(page, "#sentence")).includes("\u2068שלום\u2069"), true);
    check("the page has text", whole.length > 100, true);
    await close();
  }

  // The pages of the documentation.
  for (const name of fs.readdirSync("docs/replay").filter((name) => name.endsWith(".html"))) {
    const { page, close } = await open(path.resolve("docs/replay", name));
    check("has events and sources", await page.evaluate(() => events.length > 20 && data.files.every(({ text }) => text)), true);
    await page.evaluate(() => { for (let at = 0; at <= events.length; at++) go(at); });
    await close();
  }
  if (screenshots) {
    const { page, close } = await open(path.resolve("docs/replay/seed_timeout.html"), { viewport: { width: 1400, height: 1000 } }, "#e=34");
    await page.evaluate(() => { byId("about").open = false; document.activeElement.blur(); });
    await page.screenshot({ path: path.join(screenshots, "page.png"), fullPage: true });
    await close();
  }

  // Long runs, and very many tasks at once. A step does a bounded amount of work, wherever it goes. The
  // times are printed only, because they depend on the machine.
  for (const [name, most] of [["varied", 700], ["long", 1_300], ["sleepers", 2_000], ["crowd", 6_000], ["orders", 1_300]]) {
    const { page, close } = await open(name + ".html");
    if (name === "long") check("says what is lost", (await text(page, "#notice")).includes("earlier events are lost"), true);
    const steps = await page.evaluate(async () => {
      const steps = [];
      for (let nth = 0; nth < 240; nth++) {
        const [moves, before, begun] = [["a jump", "forward", "back", "a step back"], { ...work }, performance.now()];
        const move = [() => go((nth * 7919 * 131) % (events.length + 1)), MOVES.forward, MOVES.back, MOVES.backStep][nth % 4];
        move();
        // With the layout that the browser does before it shows the page.
        document.body.getBoundingClientRect();
        steps.push({ at: cursor, move: moves[nth % 4], time: performance.now() - begun,
          events: work.events - before.events, elements: work.elements - before.elements });
      }
      return steps;
    });
    const worst = (what) => steps.reduce((one, other) => (other[what] > one[what] ? other : one));
    const times = steps.map(({ time }) => time).sort((one, other) => one - other);
    const [events, elements, slowest] = ["events", "elements", "time"].map(worst);
    console.log(`${name}: at most ${events.events} events and ${elements.elements} elements in a step; ` +
      `${times[120].toFixed(1)} ms, at most ${slowest.time.toFixed(1)} ms (${slowest.move}, event ${slowest.at})`);
    // The time on the processor of the page's thread hardly depends on what else the machine does.
    const session = await page.context().newCDPSession(page);
    await session.send("Performance.enable", { timeDomain: "threadTicks" });
    const used = async () => (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value * 1000;
    const costs = [];
    for (let nth = 0; nth < 60; nth++) {
      const before = await used();
      await page.evaluate((nth) => {
        [() => go((nth * 7919 * 131) % (events.length + 1)), MOVES.forward, MOVES.back, MOVES.backStep][nth % 4]();
        document.body.getBoundingClientRect();
      }, nth);
      costs.push((await used()) - before);
    }
    costs.sort((one, other) => one - other);
    console.log(`${name}: ${costs[30].toFixed(1)} ms of the processor in a step, at most ${costs[59].toFixed(1)} ms`);
    check(`${name}: few events are applied in a step`, events.events <= most, true);
    check(`${name}: few elements are made in a step`, elements.elements <= 900, true);
    await close();
  }
  await browser.close();
  console.log(`${checks} checks in ${executablePath}`);
}

main().catch((error) => { console.error(error); process.exit(1); });
