// Runs a WASI program under Node: `node .ci/wasi.mjs FILE.wasm [ARGUMENT]...`. The program may read
// and write the current folder, and gets the environment.
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';

const [file, ...rest] = process.argv.slice(2);
const here = process.cwd();
const wasi = new WASI({ version: 'preview1', args: [file, ...rest], env: process.env, preopens: { [here]: here } });
const module = await WebAssembly.compile(await readFile(file));
// Debian's wasi-libc is older than the functions for threads, with which newer ones report that
// there are no threads. std calls them, so they do the same here.
const env = {};
for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    if (from !== 'env') continue;
    if (!name.startsWith('pthread_')) throw new Error(`the program imports ${name}, which no platform has`);
    env[name] = () => 58; // ENOTSUP
}
process.exitCode = wasi.start(await WebAssembly.instantiate(module, { ...wasi.getImportObject(), env }));
