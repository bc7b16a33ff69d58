// Runs a WebAssembly program under Node: `node .ci/web-runner.mjs FILE.wasm [ARGUMENT]...`. For the doc
// tests. `ONELANE_BINDGEN` is the program `bindgen` of `tests/web`. Fails if the program panics, also
// after `main` has returned.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [file] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'onelane-'));
process.on('exit', () => rmSync(folder, { recursive: true }));
execFileSync(process.env.ONELANE_BINDGEN, [file, folder], { stdio: 'inherit' });
const name = join(folder, basename(file, '.wasm'));
const program = await import(`${pathToFileURL(name)}.js`);
program.initSync({ module: readFileSync(`${name}_bg.wasm`) });
