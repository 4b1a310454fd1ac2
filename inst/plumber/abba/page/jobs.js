// The jobs: read again and again, or once something has changed, and shown as a list.

import { batchRows, drawBatches } from "./batches.js";
import { canBeCancelled, canBeRemoved, confirmCancel, confirmRemove, offer } from "./cancel.js";
import { drawJob } from "./job.js";
import { canBeRerun } from "./rerun.js";
import { cell, drawRows } from "./rows.js";
import { ask } from "./server.js";
import { announce, explainFailure, hasEnded, notice, sleep, state, STATES } from "./state.js";
import { duration, element, fileName, localTime, make, setText, setTime, visible } from "./text.js";
import { readVerdicts, verdictOf } from "./verdicts.js";

const JOBS_SECONDS = 3; // between two looks at the jobs while some have not ended
const IDLE_SECONDS = 15; // and while all have
const ARCHIVE_SECONDS = 600; // between two looks at what the server's archive has, where no job goes
const LONGEST_WAIT_SECONDS = 40; // for a change: the server answers after 20

let wakeUp = () => {};

export function wake() {
  wakeUp();
}

// Waits, and no longer than until somebody looks again or asks for it; in a tab that nobody sees until it is seen.
async function pause(seconds) {
  const woken = new Promise((resolve) => { wakeUp = resolve; });
  if (document.hidden) await woken; else await Promise.race([sleep(seconds), woken]);
}

// The job or the batch that is looked at, and its state as the server told it last.
const watched = { subject: "", state: null };

// Waits until the job or the batch that is looked at changes, or somebody asks for a look.
async function pauseUntilChange() {
  const { job, batch } = state.view;
  const parameters = job !== null ? { job_id: job } : { batch_id: batch };
  if (job === null && state.user.operator && element("everybody").checked) parameters.everybody = true;
  const subject = JSON.stringify(parameters);
  if (watched.subject !== subject) Object.assign(watched, { subject, state: null });
  // Without a state the answer comes at once.
  if (watched.state !== null) parameters.state = watched.state;
  const stop = new AbortController();
  const woken = new Promise((resolve) => { wakeUp = resolve; });
  const change = ask("GET", "watch-jobs", parameters, stop.signal);
  try {
    const answer = await Promise.race([change, woken, sleep(LONGEST_WAIT_SECONDS)]);
    if (answer !== undefined && watched.subject === subject) watched.state = answer.body.state;
  } finally {
    stop.abort();
    change.catch(() => {}); // that of a request which is given up
  }
}

export async function watchJobs(session) {
  let failures = 0;
  while (session === state.session) {
    let seconds;
    try {
      await readJobs(session);
      if (session !== state.session) return;
      failures = 0;
      notice("jobs", null);
      const busy = [...state.records.values()].filter((record) => !hasEnded(record.status));
      const { job, batch } = state.view;
      if (!document.hidden && busy.some((record) => record.job_id === job || record.batch_id === batch)) {
        await pauseUntilChange();
        continue;
      }
      seconds = busy.length > 0 ? JOBS_SECONDS : IDLE_SECONDS;
    } catch (error) {
      if (session !== state.session) return;
      failures += 1;
      explainFailure("jobs", error);
      seconds = error.retryAfter ?? Math.min(30, 2 ** failures);
    }
    await pause(seconds);
  }
}

// What an archive of the server has: of which question, until when that is good, and its jobs.
const archive = { subject: null, until: 0, rows: [] };
export const forgetArchive = () => Object.assign(archive, { subject: null, until: 0, rows: [] });

// The jobs of the cluster, and those that it has forgotten: of these there may be many, and they change no more.
async function askForJobs(session, parameters) {
  const askForThose = async () => (await ask("GET", "jobs", { ...parameters, archived: false })).body;
  const subject = JSON.stringify([session, parameters]);
  if (archive.subject === subject && Date.now() < archive.until) {
    const body = await askForThose();
    const told = new Set(body.map((record) => record.job_id));
    const isGone = (record) => !record.archived && !told.has(record.job_id) && !state.submitted.has(record.job_id);
    if (![...state.records.values()].some(isGone)) {
      return [...body, ...archive.rows.filter((record) => !told.has(record.job_id))];
    }
  }
  const read = { subject, until: Date.now() + ARCHIVE_SECONDS * 1000 };
  try {
    const { body } = await ask("GET", "jobs", parameters);
    Object.assign(archive, { ...read, rows: body.filter((record) => record.archived) });
    notice("archive", null);
    return body;
  } catch (error) {
    if (error.status !== 503) throw error;
    // Where the archive cannot be read the cluster's jobs are there all the same.
    const body = await askForThose();
    explainFailure("archive", error);
    Object.assign(archive, { ...read, until: Date.now() + IDLE_SECONDS * 1000, rows: [] });
    return body;
  }
}

// Times and ids are ASCII: without a look at the user's language, which for the jobs of a year takes seconds.
const compare = (a, b) => (a < b ? -1 : Number(a > b));

async function readJobs(session) {
  const everybody = element("everybody").checked;
  const parameters = state.user.operator && !everybody ? { user: state.user.user } : {};
  const body = await askForJobs(session, parameters);
  if (session !== state.session || everybody !== element("everybody").checked) return;
  const before = new Map(state.records);
  const told = new Set(body.filter((record) => !record.archived).map((record) => record.job_id));
  for (const id of state.removing) if (!told.has(id)) state.removing.delete(id);
  for (const id of told) state.submitted.delete(id);
  const there = [...body, ...state.submitted.values()].filter((record) => record.archived || !state.removing.has(record.job_id));
  state.records = new Map(there.map((record) => [record.job_id, record]));
  state.order = there
    .sort((a, b) => compare(b.submitted, a.submitted) || compare(a.job_id, b.job_id))
    .map((record) => record.job_id);
  if (state.isLoaded) announceChanges(before);
  state.isLoaded = true;
  setText(element("as-of"), `As of ${localTime(new Date()).slice(11)}`);
  drawList();
  drawJob();
}

export function lookAtEverybody() {
  state.isLoaded = false;
  wake();
}

function announceChanges(before) {
  const changes = [];
  for (const [id, record] of state.records) {
    const old = before.get(id);
    if (old !== undefined && old.status !== record.status) changes.push(`${fileName(record.program)}: ${record.status}`);
  }
  if (changes.length > 5) announce(`The states of ${changes.length} jobs have changed`);
  else if (changes.length > 0) announce(changes.join(", "));
}

// --- The list ----------------------------------------------------------------------------------------------------------

export const rows = new Map(); // by id: the row and its parts

export function chosen() {
  const text = element("search").value.trim().toLowerCase();
  const statuses = element("status").value.split(",").filter(Boolean);
  const { batch } = state.view;
  return state.order.map((id) => state.records.get(id)).filter((record) =>
    (batch === null || record.batch_id === batch) &&
    (statuses.length === 0 || statuses.includes(record.status)) &&
    (text === "" || [record.program, record.batch_id, record.job_id, record.user]
      .some((value) => value.toLowerCase().includes(text))));
}

function makeRow(id) {
  const part = {
    state: make("span", { class: "state" }),
    program: make("a", { href: "#job=" + encodeURIComponent(id) }),
    user: make("span"),
    batch: make("a"),
    archived: make("span"),
    reason: cell("reason"),
    verdict: make("span", { class: "verdict" }),
    line: make("span", { class: "more" }),
    submitted: make("time"),
    duration: cell("number"),
    cancel: make("button", { type: "button", class: "danger" }, "Cancel"),
    remove: make("button", { type: "button", class: "quiet" }, "Remove"),
  };
  const its = () => [state.records.get(id)].filter((record) => record !== undefined);
  part.cancel.addEventListener("click", () => confirmCancel(its(), part.cancel));
  part.remove.addEventListener("click", () => confirmRemove(its(), part.remove));
  const row = make("tr", { role: "row" },
    cell("status", part.state),
    cell("program", part.program, make("span", { class: "more" }, part.user, part.batch, part.archived)),
    part.reason,
    cell("verdict", part.verdict, part.line),
    cell("submitted", part.submitted),
    part.duration,
    cell("action", part.cancel, part.remove));
  return { row, part };
}

function drawRow(part, record) {
  const found = verdictOf(record);
  const isEverybody = element("everybody").checked;
  const looks = JSON.stringify([record, found, isEverybody, canBeCancelled(record), canBeRemoved(record)]);
  // A thousand rows are looked at every few seconds; most are as they were.
  if (part.looks === looks) {
    if (record.status === "Running") setText(part.duration, duration(record));
    return;
  }
  part.looks = looks;
  const name = fileName(record.program);
  part.state.dataset.state = record.status;
  setText(part.state, record.status);
  setText(part.program, name);
  part.program.title = visible(record.program);
  setText(part.user, isEverybody ? record.user + " · " : "");
  setText(part.batch, record.batch_id);
  setText(part.archived, record.archived ? " · archived" : "");
  part.batch.href = "#batch=" + encodeURIComponent(record.batch_id);
  setText(part.reason, record.reason ?? "");
  drawVerdict(part, found, hasEnded(record.status));
  setTime(part.submitted, record.submitted);
  setText(part.duration, duration(record));
  part.cancel.setAttribute("aria-label", `Cancel ${visible(name)}`);
  offer(part.cancel, canBeCancelled(record), part.program);
  part.remove.setAttribute("aria-label", `Remove ${visible(name)}`);
  offer(part.remove, canBeRemoved(record), part.program);
}

function drawVerdict(part, found, isEnded) {
  const { verdict, line } = found ?? { verdict: null, line: null };
  part.verdict.dataset.verdict = verdict ?? "";
  // The word of one that is still read comes with the answer.
  setText(part.verdict, verdict ?? (!isEnded ? "" : found === undefined ? "…" : "not known"));
  setText(part.line, line ?? "");
}

export function drawList() {
  if (state.view.name !== "list" || state.user === null) return;
  const all = chosen();
  const { batch } = state.view;
  const isByBatch = batch === null && element("by-batch").checked;
  const shown = isByBatch ? [] : all.slice(0, state.rowsShown);
  const groups = drawBatches(isByBatch ? all : []);
  drawRows("jobs", rows, new Map(shown.map((record) => [record.job_id, record])), makeRow, drawRow);
  element("jobs").hidden = shown.length === 0;
  element("jobs").classList.toggle("with-verdicts", element("verdicts").checked);
  element("batches").hidden = groups === 0;
  element("by-batch-choice").hidden = batch !== null;
  element("verdicts-choice").hidden = isByBatch;
  element("none").hidden = !state.isLoaded || all.length > 0;
  setText(element("none"), state.order.length === 0
    ? "You have no jobs. A job that has ended is kept for some days."
    : "None of your jobs is like that.");
  const more = isByBatch ? groups - batchRows.size : all.length - shown.length;
  element("more").hidden = more === 0;
  setText(element("more"), `Show more: ${more} older ones`);
  const counts = STATES
    .map((name) => [name, all.filter((record) => record.status === name).length])
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${count} ${name}`);
  setText(element("counts"), counts.join(" · "));
  const mine = element("everybody").checked ? "Jobs of everybody" : "Your jobs";
  setText(element("list-title"), batch === null ? mine : `Batch ${batch}`);
  document.title = `${batch === null ? mine : visible(batch)} – abba`;
  element("all-jobs").hidden = batch === null;
  // The programs lie with those who submitted them: R reads them anew.
  element("again").hidden = batch === null || !all.some((job) => job.status === "Failed" && canBeRerun(job));
  setText(element("again-call"), `abba_rerun_batch("${batch}")`);
  offer(element("cancel-batch"), batch !== null && all.some(canBeCancelled), element("list-title"));
  offer(element("remove-batch"), batch !== null && all.some(canBeRemoved), element("list-title"));
  if (!isByBatch) readVerdicts(all, drawList);
}
