// Compares the states that the page computes with those that Rust has computed: each line of the file
// is the JSON of a recording with hashes. Prints the number of compared states.
//
//   node hashes.js reducer.js recordings.jsonl
"use strict";
const fs = require("fs");
const path = require("path");

const [reducer, file] = process.argv.slice(2);
const { splitTimes, firstDifference } = require(path.resolve(reducer));
let states = 0;
fs.readFileSync(file, "utf8").split("\n").filter(Boolean).forEach((line, nth) => {
  const data = JSON.parse(line);
  data.split = splitTimes(data.times);
  for (const world of data.worlds) {
    Object.assign(data, world);
    const at = firstDifference(data);
    if (at >= 0) {
      console.error(`recording ${nth + 1}: the states differ after event ${at + 1}: ${data.events[at]}`);
      process.exit(1);
    }
    states += data.events.length;
  }
});
console.log(states);
