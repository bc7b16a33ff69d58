// Runs the tests of `tests.mjs` in Node, in a page of a real browser, and in a worker of that page. Then
// uses the page of `examples/web`.
//
//   node run.cjs FOLDER [CHROMIUM]
//
// `.ci/web` builds the folder and calls this. Without CHROMIUM, only Node runs them.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const [folder, executablePath] = process.argv.slice(2);
const programs = path.resolve(__dirname, "../conformance");
const conformance = ["programs-A", "programs-B", "programs-C", "programs-D", "found-D"];
const types = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

const page = `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>tests</title>`;

/** Serves the tests, the programs, and an answer for `fetch`. */
function serve() {
  const server = http.createServer((request, response) => {
    const { pathname, search } = new URL(request.url, "http://localhost");
    if (pathname === "/echo") return setTimeout(() => response.end(`echo ${search.slice(1)}`), 5);
    if (pathname === "/") return response.setHeader("content-type", "text/html").end(page);
    const name = path.basename(pathname);
    const file = [folder, __dirname, programs].map((place) => path.join(place, name)).find((file) => fs.existsSync(file));
    if (!file) return response.writeHead(404).end();
    response.setHeader("content-type", types[path.extname(file)] ?? "text/plain");
    fs.createReadStream(file).pipe(response);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

async function inNode(base) {
  const file = path.resolve(folder, "onelane_web_tests");
  const module = fs.readFileSync(`${file}_bg.wasm`);
  let loaded = 0;
  const load = async () => {
    const wasm = await import(`${pathToFileURL(file)}.js?${++loaded}`);
    wasm.initSync({ module });
    return wasm;
  };
  const tests = await import(pathToFileURL(path.join(__dirname, "tests.mjs")));
  const texts = conformance.map((name) => [name, fs.readFileSync(path.join(programs, `${name}.jsonl`), "utf8")]);
  return {
    passed: [...await tests.runTests(load, base), ...await tests.runLastTests(load)],
    lines: await tests.runConformance(load, Object.fromEntries(texts)),
  };
}

/** Runs in the page or in the worker, as text. */
async function inBrowser(base, names) {
  let loaded = 0;
  const load = async () => {
    const wasm = await import(`${base}/onelane_web_tests.js?${++loaded}`);
    await wasm.default();
    return wasm;
  };
  const tests = await import(`${base}/tests.mjs`);
  const texts = {};
  for (const name of names) texts[name] = await (await fetch(`${base}/${name}.jsonl`)).text();
  return {
    passed: [...await tests.runTests(load, base), ...await tests.runLastTests(load)],
    lines: await tests.runConformance(load, texts),
  };
}

async function inChromium(base) {
  const { chromium } = require("playwright-core");
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const browser = await chromium.launch({ executablePath, args });
  const results = [];
  for (const place of ["page", "worker"]) {
    const tab = await browser.newPage();
    // A page that says anything on the console is wrong.
    const wrong = new Promise((_, reject) => {
      tab.on("console", (message) => reject(new Error(`${place}: ${message.text()}`)));
      tab.on("pageerror", (error) => reject(error));
    });
    await tab.goto(`${base}/`);
    const run = tab.evaluate(([place, text, base, names]) => {
      if (place === "page") return eval(`(${text})`)(base, names);
      const code = `(${text})(${JSON.stringify(base)}, ${JSON.stringify(names)})
        .then((result) => postMessage({ result }), (error) => postMessage({ error: String(error.stack) }));`;
      const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
      return new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.result));
        worker.onerror = (event) => reject(new Error(event.message));
      });
    }, [place, inBrowser.toString(), base, conformance]);
    results.push([`Chromium, ${place}`, await Promise.race([run, wrong])]);
    await tab.close();
  }
  await useExample(browser, base);
  await browser.close();
  return results;
}

/** Clicks through the page of `examples/web`. */
async function useExample(browser, base) {
  const tab = await browser.newPage(), wrong = [];
  tab.on("console", (message) => wrong.push(message.text()));
  tab.on("pageerror", (error) => wrong.push(error.stack));
  await tab.goto(`${base}/index.html`);
  await tab.waitForSelector("html[data-ready]");
  const text = (id) => tab.textContent(`#${id}`);
  const until = (id, words) => tab.waitForFunction(([id, words]) => document.getElementById(id).textContent.includes(words), [id, words]);
  const counts = () => Promise.all(["primes", "frames", "seconds"].map(async (id) => Number(await text(id))));

  // All counters grow, also that of the seconds, and a fetch ends.
  await tab.waitForFunction(() => ["primes", "frames", "seconds"].every((id) => Number(document.getElementById(id).textContent) > 0));
  await tab.click("#load");
  await until("out", "index.html: ");
  assert.match(await text("out"), /^index\.html: \d+ characters\n.*\.js: \d+ characters\n.*\.wasm: \d+ characters$/);
  await tab.click("#tasks");
  for (const name of ["primes", "frames", "seconds"]) assert.ok((await text("out")).includes(name), await text("out"));
  await tab.click("#stop");
  assert.equal(await text("out"), "all tasks have ended");
  const last = await counts();
  await tab.waitForTimeout(100);
  assert.deepEqual(await counts(), last, "no task continues");
  assert.deepEqual(wrong, []);
  await tab.close();
}

async function main() {
  const server = await serve();
  const base = `http://127.0.0.1:${server.address().port}`;
  const results = [["Node", await inNode(base)]];
  console.log(results[0][1].lines.join("\n"));
  if (executablePath) results.push(...await inChromium(base));
  for (const [place, { passed, lines }] of results) {
    assert.deepEqual(passed, results[0][1].passed, "the same tests everywhere");
    assert.deepEqual(lines, results[0][1].lines, "the same programs everywhere");
    console.log(`${place}: ${passed.length} tests passed, and the conformance programs`);
  }
  if (executablePath) console.log("Chromium: the example runs");
  server.close();
  server.closeAllConnections();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
