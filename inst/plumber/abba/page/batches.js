// The jobs by their batches: a line for each, with how many are in which state.

import { cell, drawRows } from "./rows.js";
import { state, STATES } from "./state.js";
import { element, make, setText, setTime } from "./text.js";

export const batchRows = new Map(); // by id: the row and its parts

function makeRow(id) {
  const part = {
    batch: make("a", { href: "#batch=" + encodeURIComponent(id) }),
    users: make("span", { class: "more" }),
    jobs: cell("number"),
    states: make("div", { class: "states" }),
    submitted: make("time"),
    counts: new Map(STATES.map((name) => [name, make("span", { class: "state", "data-state": name })])),
  };
  setText(part.batch, id);
  part.states.append(...part.counts.values());
  const row = make("tr", { role: "row" },
    cell("program", part.batch, part.users), cell("groups", part.states), part.jobs, cell("submitted", part.submitted));
  return { row, part };
}

function drawRow(part, records) {
  setText(part.users, element("everybody").checked ? [...new Set(records.map((job) => job.user))].join(", ") : "");
  setText(part.jobs, String(records.length));
  for (const [name, chip] of part.counts) {
    const count = records.filter((job) => job.status === name).length;
    chip.hidden = count === 0;
    setText(chip, `${count} ${name}`);
  }
  // Of a batch the first submission tells when it began.
  setTime(part.submitted, records[records.length - 1].submitted);
}

// `jobs`: records, the newest first. Gives back how many batches there are.
export function drawBatches(jobs) {
  const groups = new Map();
  for (const job of jobs) {
    if (!groups.has(job.batch_id)) groups.set(job.batch_id, []);
    groups.get(job.batch_id).push(job);
  }
  drawRows("batches", batchRows, new Map([...groups].slice(0, state.rowsShown)), makeRow, drawRow);
  return groups.size;
}
