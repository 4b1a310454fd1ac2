// The page for people: who am I, my jobs, their logs while they run, cancel.
//
// What a program is called and what it prints is somebody's text. It reaches the page as text (`textContent`) only; the
// server's Content-Security-Policy forbids all else.
"use strict";

const KEY_NAME = "abba-api-key"; // in sessionStorage: gone with the tab, never in an address
const JOBS_SECONDS = 3; // between two looks at the jobs while some have not ended
const IDLE_SECONDS = 15; // and while all have
const LOG_SECONDS = 1; // between two looks at a log that grows
const REQUEST_SECONDS = 60;
const ROWS = 100; // shown at first; more on demand

const element = (id) => document.getElementById(id);
const hasEnded = (state) => state === "Succeeded" || state === "Failed";
const sleep = (seconds) => new Promise((resolve) => { setTimeout(resolve, seconds * 1000); });

// --- Text ------------------------------------------------------------------------------------------------------------

// Text that shows all that is in it: colours of a terminal are left out, other signs that cannot be seen, or that turn
// what is written around, become ones that can.
function visible(text) {
  return text
    // eslint-disable-next-line no-control-regex
    .replace(/\u001b\[[0-9;:?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b\n]*(?:\u0007|\u001b\\)/g, "")
    // eslint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (sign) => String.fromCharCode(0x2400 + sign.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      (sign) => "\\u" + sign.charCodeAt(0).toString(16).padStart(4, "0"));
}

function setText(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const fileName = (path) => path.split(/[/\\]/).pop() || path;
const two = (number) => String(number).padStart(2, "0");

function localTime(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ` +
    `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

function setTime(node, text) {
  node.setAttribute("datetime", text ?? "");
  node.setAttribute("title", text ?? "");
  setText(node, text === null ? "" : localTime(text));
}

// The server's clock and this one may differ, but not by much.
function duration(record) {
  if (record.started === null) return "";
  const end = record.finished === null ? Date.now() : Date.parse(record.finished);
  if (record.finished === null && record.status !== "Running") return "";
  const seconds = Math.max(0, Math.round((end - Date.parse(record.started)) / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours > 0) return `${hours} h ${two(minutes)} min`;
  return minutes > 0 ? `${minutes} min ${two(seconds % 60)} s` : `${seconds} s`;
}

// Kubernetes writes a part of a core in thousandths: "200m".
const cores = (limit) => (limit !== null && /^[0-9]+m$/.test(limit) ? String(parseInt(limit, 10) / 1000) : limit);

// --- The server ------------------------------------------------------------------------------------------------------

class ServerError extends Error {
  // `status`: of HTTP; 0 where there was no answer.
  constructor(status, body, retryAfter) {
    super([body.message, body.consequence].filter(Boolean).join(" "));
    this.status = status;
    this.body = body;
    this.retryAfter = retryAfter;
  }

  // What a person can do; what the server advises on keys is for R.
  get text() {
    return [this.message, this.body.details, this.status === 401 ? "" : this.body.advice].filter(Boolean).join(" ");
  }
}

const theKey = {
  get: () => window.sessionStorage.getItem(KEY_NAME),
  set: (key) => window.sessionStorage.setItem(KEY_NAME, key),
  forget: () => window.sessionStorage.removeItem(KEY_NAME),
};

// Asks the server: the arguments of a GET in its query, those of a POST in its body.
// Gives back the JSON and the headers; raises a ServerError.
async function ask(method, name, parameters = {}) {
  // Relative: the server may stand behind a path, as on Posit Connect.
  const url = new URL(name, document.baseURI);
  const headers = { Accept: "application/json" };
  const options = { method, headers, cache: "no-store", signal: AbortSignal.timeout(REQUEST_SECONDS * 1000) };
  const key = theKey.get();
  if (key !== null) headers.Authorization = "Key " + key;
  if (method === "GET") {
    url.search = new URLSearchParams(parameters);
  } else {
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(parameters);
  }
  let response;
  let body;
  try {
    response = await fetch(url, options);
    const text = await response.text();
    body = text === "" ? {} : JSON.parse(text);
  } catch (error) {
    if (response === undefined || !(error instanceof SyntaxError)) {
      throw new ServerError(0, { message: "The abba server does not answer." }, null);
    }
    // A proxy's own page, or that of a login that has run out.
    throw new ServerError(response.status, {
      message: `What came back is not an answer of the abba server (HTTP status ${response.status}).`,
      advice: "Load this page again; you may have to log in.",
    }, null);
  }
  if (!response.ok) {
    const seconds = Number(response.headers.get("Retry-After"));
    const told = { message: body.error || `The abba server answered with HTTP status ${response.status}.`, ...body };
    throw new ServerError(response.status, told, seconds > 0 ? seconds : null);
  }
  return { body, headers: response.headers };
}

// --- What is known ---------------------------------------------------------------------------------------------------

const state = {
  user: null, // as /whoami has it
  records: new Map(), // by id, as /jobs has them
  order: [], // ids, newest first
  cancelled: new Set(), // ids of those that were cancelled here, which takes a moment to be seen
  isLoaded: false, // whether the jobs were read at all
  rowsShown: ROWS,
  view: { name: "list", batch: null, job: null },
  session: 0, // counts up when the caller changes: what comes back later is no longer theirs
};

// --- What is told ----------------------------------------------------------------------------------------------------

function announce(text) {
  setText(element("announcement"), text);
}

const notices = new Map();

// A notice stays until its subject is well again.
function notice(subject, text) {
  if (text === null) notices.delete(subject); else notices.set(subject, text);
  const all = [...notices.values()].join(" ");
  element("notice").hidden = all === "";
  setText(element("notice"), all);
}

function explainFailure(subject, error) {
  if (error.status === 401) {
    askForKey(error.message);
  } else {
    notice(subject, error instanceof ServerError ? error.text : `This page failed: ${error.message}`);
    if (!(error instanceof ServerError)) console.error(error);
  }
}

// --- Who -------------------------------------------------------------------------------------------------------------

function askForKey(reason) {
  state.session += 1;
  const wasKnown = theKey.get() !== null;
  theKey.forget();
  forgetAll();
  element("list").hidden = true;
  element("job").hidden = true;
  element("sign-in").hidden = false;
  element("forget").hidden = true;
  element("who").hidden = true;
  setText(element("key-error"), wasKnown ? reason : "");
  element("key").value = "";
  element("key").focus();
}

// Nothing of one caller is left for the next.
function forgetAll() {
  state.user = null;
  state.records.clear();
  state.order = [];
  state.cancelled.clear();
  state.isLoaded = false;
  state.rowsShown = ROWS;
  for (const { row } of rows.values()) row.remove();
  rows.clear();
  for (const subject of [...notices.keys()]) notice(subject, null);
  element("everybody").checked = false;
  showJob.id = null;
  log.follow(null);
}

async function begin() {
  state.session += 1;
  const session = state.session;
  try {
    const { body } = await ask("GET", "whoami");
    if (session !== state.session) return;
    state.user = body;
    notice("who", null);
    setText(element("key-error"), "");
    element("sign-in").hidden = true;
    element("key").value = "";
    element("who").hidden = false;
    setText(element("who"), `You are ${body.user}${body.operator ? " (operator)" : ""}`);
    element("forget").hidden = theKey.get() === null;
    element("everybody-choice").hidden = !body.operator;
    show();
    watchJobs(session);
  } catch (error) {
    if (session !== state.session) return;
    explainFailure("who", error);
    if (error.status !== 401) {
      await sleep(error.retryAfter ?? 5);
      if (session === state.session) begin();
    }
  }
}

// --- The jobs --------------------------------------------------------------------------------------------------------

let wake = () => {};

// Waits, and no longer than until somebody looks again or asks for it; in a tab that nobody sees until it is seen.
async function pause(seconds) {
  const woken = new Promise((resolve) => { wake = resolve; });
  if (document.hidden) await woken; else await Promise.race([sleep(seconds), woken]);
}

async function watchJobs(session) {
  let failures = 0;
  while (session === state.session) {
    let seconds;
    try {
      await readJobs(session);
      if (session !== state.session) return;
      failures = 0;
      notice("jobs", null);
      const isBusy = [...state.records.values()].some((record) => !hasEnded(record.status));
      seconds = isBusy ? JOBS_SECONDS : IDLE_SECONDS;
    } catch (error) {
      if (session !== state.session) return;
      failures += 1;
      explainFailure("jobs", error);
      seconds = error.retryAfter ?? Math.min(30, 2 ** failures);
    }
    await pause(seconds);
  }
}

async function readJobs(session) {
  const everybody = element("everybody").checked;
  const parameters = state.user.operator && !everybody ? { user: state.user.user } : {};
  const { body } = await ask("GET", "jobs", parameters);
  if (session !== state.session || everybody !== element("everybody").checked) return;
  const before = new Map(state.records);
  state.records = new Map(body.map((record) => [record.job_id, record]));
  state.order = body
    .sort((a, b) => b.submitted.localeCompare(a.submitted) || a.job_id.localeCompare(b.job_id))
    .map((record) => record.job_id);
  if (state.isLoaded) announceChanges(before);
  state.isLoaded = true;
  setText(element("as-of"), `As of ${localTime(new Date()).slice(11)}`);
  drawList();
  drawJob();
}

function lookAtEverybody() {
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

// --- The list --------------------------------------------------------------------------------------------------------

const rows = new Map(); // by id: the row and its parts; it stays the same element, and so keeps the focus

function chosen() {
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
  const cell = (name, ...children) => make("td", { role: "cell", class: name }, ...children);
  const part = {
    state: make("span", { class: "state" }),
    program: make("a", { href: "#job=" + encodeURIComponent(id) }),
    user: make("span"),
    batch: make("a"),
    reason: cell("reason"),
    submitted: make("time"),
    duration: cell("number"),
    cancel: make("button", { type: "button", class: "danger" }, "Cancel"),
  };
  part.cancel.addEventListener("click", () => confirmCancel({ job_id: id }, part.cancel));
  const row = make("tr", { role: "row" },
    cell("status", part.state),
    cell("program", part.program, make("span", { class: "more" }, part.user, part.batch)),
    part.reason,
    cell("submitted", part.submitted),
    part.duration,
    cell("action", part.cancel));
  return { row, part };
}

function drawRow(part, record) {
  const name = fileName(record.program);
  part.state.dataset.state = record.status;
  setText(part.state, record.status);
  setText(part.program, name);
  part.program.title = visible(record.program);
  setText(part.user, element("everybody").checked ? record.user + " · " : "");
  setText(part.batch, record.batch_id);
  part.batch.href = "#batch=" + encodeURIComponent(record.batch_id);
  setText(part.reason, record.reason ?? "");
  setTime(part.submitted, record.submitted);
  setText(part.duration, duration(record));
  part.cancel.setAttribute("aria-label", `Cancel ${visible(name)}`);
  offer(part.cancel, canBeCancelled(record), part.program);
}

function drawList() {
  if (state.view.name !== "list" || state.user === null) return;
  const all = chosen();
  const shown = all.slice(0, state.rowsShown);
  const wanted = new Set(shown.map((record) => record.job_id));
  for (const [id, { row }] of rows) {
    if (!wanted.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
  const body = element("jobs").tBodies[0];
  shown.forEach((record, place) => {
    if (!rows.has(record.job_id)) rows.set(record.job_id, makeRow(record.job_id));
    const { row, part } = rows.get(record.job_id);
    drawRow(part, record);
    // Moved only where it is not there already: moving takes the focus away.
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
  });
  element("jobs").hidden = shown.length === 0;
  element("none").hidden = !state.isLoaded || shown.length > 0;
  setText(element("none"), state.order.length === 0
    ? "You have no jobs. A job that has ended is kept for a week."
    : "None of your jobs is like that.");
  element("more").hidden = all.length <= shown.length;
  setText(element("more"), `Show more: ${all.length - shown.length} older ones`);
  const counts = ["Pending", "Running", "Succeeded", "Failed", "Unknown"]
    .map((name) => [name, all.filter((record) => record.status === name).length])
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${count} ${name}`);
  setText(element("counts"), counts.join(" · "));
  const { batch } = state.view;
  const mine = element("everybody").checked ? "Jobs of everybody" : "Your jobs";
  setText(element("list-title"), batch === null ? mine : `Batch ${batch}`);
  document.title = `${batch === null ? mine : visible(batch)} – abba`;
  element("all-jobs").hidden = batch === null;
  offer(element("cancel-batch"), batch !== null && all.some(canBeCancelled), element("list-title"));
}

// --- One job ---------------------------------------------------------------------------------------------------------

function fact(name, value) {
  const content = typeof value === "string" ? make("span") : value;
  if (typeof value === "string") setText(content, value);
  return make("div", {}, make("dt", {}, name), make("dd", {}, content));
}

function time(text) {
  const node = make("time");
  setTime(node, text);
  return node;
}

function drawJob() {
  if (state.view.name !== "job" || state.user === null) return;
  const id = state.view.job;
  const record = state.records.get(id);
  const isMissing = state.isLoaded && record === undefined;
  if (isMissing && state.user.operator && !element("everybody").checked) {
    // An operator was given the address of somebody's job.
    element("everybody").checked = true;
    lookAtEverybody();
    return;
  }
  element("job-missing").hidden = !isMissing;
  element("job-known").hidden = record === undefined;
  element("job-status").hidden = record === undefined;
  offer(element("job-cancel"), record !== undefined && canBeCancelled(record), element("job-title"));
  if (record === undefined) {
    setText(element("job-title"), id);
    document.title = "abba";
    return;
  }
  const name = fileName(record.program);
  const status = element("job-status");
  status.className = "state";
  status.dataset.state = record.status;
  setText(status, record.status);
  setText(element("job-title"), name);
  document.title = `${record.status}: ${visible(name)} – abba`;
  const batch = make("a", { href: "#batch=" + encodeURIComponent(record.batch_id) });
  setText(batch, record.batch_id);
  const facts = [
    fact("Program", record.program),
    fact("Job", record.job_id),
    fact("Batch", batch),
    fact("Submitted", time(record.submitted)),
    fact("Started", record.started === null ? "–" : time(record.started)),
    fact("Ended", record.finished === null ? "–" : time(record.finished)),
    fact("Ran for", duration(record) || "–"),
    fact("Exit status of R", record.exit_code === null ? "–" : String(record.exit_code)),
    ...showJob.more,
  ];
  if (state.user.operator) facts.splice(3, 0, fact("User", record.user));
  const old = element("facts");
  // The link to the batch may have the focus.
  if (!old.contains(document.activeElement)) old.replaceChildren(...facts);
  element("why").hidden = record.reason === null;
  element("why").dataset.state = record.status;
  setText(element("why-reason"), record.reason ?? "");
  const looks = JSON.stringify([record.status, record.reason]);
  if (showJob.explained !== looks) {
    showJob.explained = looks;
    explain(id);
  }
  log.follow(id);
}

// What the explanation adds: it costs the cluster more, and is asked for when the state has changed.
const showJob = { id: null, explained: null, more: [] };

async function explain(id) {
  const session = state.session;
  const isCurrent = () => session === state.session && id === state.view.job;
  try {
    const { body } = await ask("GET", "explain-job", { job_id: id });
    if (!isCurrent()) return;
    notice("explanation", null);
    setText(element("why-details"), body.details ?? "");
    setText(element("why-advice"), body.advice ?? "");
    showJob.more = [
      ["Container", body.image], ["Processor cores", cores(body.cpu_limit)], ["Memory", body.memory_limit],
      ["Node", body.node],
    ].filter(([, value]) => value !== null).map(([name, value]) => fact(name, value));
    element("events").replaceChildren(...body.events.map((event) => {
      const text = make("span");
      setText(text, ` ${event.reason}: ${event.message}`);
      return make("li", {}, ...(event.time === null ? [] : [time(event.time)]), text);
    }));
    element("events-of-job").hidden = body.events.length === 0;
    drawJob();
  } catch (error) {
    if (!isCurrent()) return;
    if (error.status === 404) return;
    explainFailure("explanation", error);
    showJob.explained = null; // asked again with the next look at the jobs
  }
}

// --- The log ---------------------------------------------------------------------------------------------------------

// Follows one log at a time. While the program runs, the last line may not be finished: it is shown as such and asked
// for again. A line that was seen before is asked for again, too: where it is another one now, the cluster has dropped
// the log's older part, and lines may be missing.
const log = {
  id: null,
  turn: 0, // counts up with each log: what comes back later is of another one
  count: 0, // lines that are final
  last: null, // the last of them
  texts: [], // all that was read, to be saved
  block: null, // the element that takes the next lines
  wake: () => {},

  follow(id) {
    if (id === this.id) return;
    this.id = id;
    this.turn += 1;
    this.count = 0;
    this.last = null;
    this.texts = [];
    this.block = null;
    this.lastLine = make("span", { class: "last" });
    element("log").replaceChildren(this.lastLine);
    element("log-warnings").replaceChildren();
    element("save").hidden = true;
    notice("log", null);
    this.wake();
    if (id !== null) this.run(this.turn);
  },

  async run(turn) {
    let failures = 0;
    while (turn === this.turn) {
      const { status } = state.records.get(this.id) ?? {};
      let seconds = LOG_SECONDS;
      if (status === "Pending") {
        setText(element("log-state"), "The program has not started yet.");
      } else if (status !== undefined) {
        const begin = performance.now();
        try {
          // The state was known before the log was asked for: after an end, the log is whole.
          await this.read(turn, hasEnded(status));
          if (turn !== this.turn) return;
          failures = 0;
          notice("log", null);
          if (hasEnded(status)) {
            setText(element("log-state"), this.count === 0
              ? "The program has ended and printed nothing."
              : `The log has ended: ${this.count} line${this.count === 1 ? "" : "s"}.`);
            return;
          }
          setText(element("log-state"), status === "Unknown"
            ? "The node of the program does not answer."
            : "Live. The last line may not be finished.");
          // A long log takes the server a while; others wait meanwhile.
          seconds = Math.max(LOG_SECONDS, (performance.now() - begin) / 250);
        } catch (error) {
          if (turn !== this.turn) return;
          failures += 1;
          explainFailure("log", error);
          seconds = error.retryAfter ?? Math.min(30, 2 ** failures);
        }
      }
      const woken = new Promise((resolve) => { this.wake = resolve; });
      if (document.hidden) await woken; else await Promise.race([sleep(seconds), woken]);
    }
  },

  async read(turn, isWhole) {
    for (;;) {
      const again = this.count > 0 ? 1 : 0;
      const { body, headers } = await ask("GET", "job-log", { job_id: this.id, page: `0.${this.count - again}` });
      if (turn !== this.turn) return;
      this.warn(headers.get("Abba-Warnings"));
      const lines = body.flatMap((part) => part.log);
      const isMore = headers.get("Abba-Next-Page") !== null;
      if (again === 1 && lines[0] !== this.last) {
        this.gap();
        continue;
      }
      const held = isMore || isWhole || lines.length === again ? null : lines.pop();
      this.add(lines.slice(again), held);
      if (!isMore) return;
    }
  },

  warn(header) {
    if (header === null) return;
    const list = element("log-warnings");
    const known = new Set([...list.children].map((item) => item.textContent));
    for (const { message, advice } of JSON.parse(header)) {
      const text = visible([message, advice].filter(Boolean).join(" "));
      if (!known.has(text)) list.append(make("li", {}, text));
    }
  },

  gap() {
    const words = "Lines may be missing here: the cluster keeps the newest part only of a long log.";
    this.lastLine.before(make("span", { class: "gap" }, words));
    this.texts.push(`[abba: ${words}]\n`);
    this.block = null;
    this.count = 0;
    this.last = null;
  },

  add(lines, held) {
    const box = element("log");
    for (let begin = 0; begin < lines.length; begin += 500) {
      const text = lines.slice(begin, begin + 500).map((line) => line + "\n").join("");
      this.texts.push(text);
      if (this.block === null || this.block.childNodes.length >= 500) {
        this.block = make("span", { class: "lines" });
        this.lastLine.before(this.block);
      }
      this.block.append(visible(text));
    }
    if (lines.length > 0) {
      this.count += lines.length;
      this.last = lines[lines.length - 1];
    }
    setText(this.lastLine, held ?? "");
    element("save").hidden = this.texts.length === 0;
    const scroll = () => { if (element("along").checked) box.scrollTop = box.scrollHeight; };
    scroll();
    // How high new lines are is known once they were looked at.
    requestAnimationFrame(() => requestAnimationFrame(scroll));
  },

  save() {
    const record = state.records.get(this.id);
    const notes = [...element("log-warnings").children].map((item) => `[abba: ${item.textContent}]\n`);
    const end = record !== undefined && hasEnded(record.status) ? "" : "[abba: saved before the program had ended]\n";
    const file = new Blob([...notes, ...this.texts, end], { type: "text/plain;charset=utf-8" });
    const link = make("a", { href: URL.createObjectURL(file), download: `${this.id}.log` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  },
};

// --- Cancel ----------------------------------------------------------------------------------------------------------

function canBeCancelled(record) {
  return !hasEnded(record.status) && !state.cancelled.has(record.job_id);
}

// Shows a button or takes it away; the focus that it had goes to `next`.
function offer(button, isOffered, next) {
  if (!isOffered && document.activeElement === button) next.focus();
  button.hidden = !isOffered;
}

// `what`: the arguments of /cancel-job. `button` gets the focus back.
function confirmCancel(what, button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const dialog = element("confirm");
  const isBatch = what.batch_id !== undefined;
  const record = isBatch ? null : state.records.get(what.job_id);
  const open = isBatch
    ? [...state.records.values()].filter((job) => job.batch_id === what.batch_id && canBeCancelled(job)).length
    : 1;
  setText(element("confirm-title"), isBatch ? `Cancel ${open} job${open === 1 ? "" : "s"}?`
    : `Cancel ${fileName(record.program)}?`);
  const effect = record?.status === "Pending" ? "The program has not started, and will not."
    : "The program is ended where it stands. Its log is kept.";
  setText(element("confirm-text"), isBatch ? `All jobs of the batch ${what.batch_id} that have not ended are ended.`
    : `${effect} The job is ${what.job_id}.`);
  element("confirm-yes").onclick = () => {
    dialog.close();
    cancel(what, button);
  };
  element("confirm-no").onclick = () => dialog.close();
  dialog.onclose = () => { if (button.isConnected && !button.hidden) button.focus(); };
  dialog.showModal();
  element("confirm-no").focus();
}

async function cancel(what, button) {
  const session = state.session;
  button.setAttribute("aria-disabled", "true");
  try {
    const { body } = await ask("POST", "cancel-job", what);
    if (session !== state.session) return;
    notice("cancel", null);
    for (const row of body) state.cancelled.add(row.job_id);
    drawList();
    drawJob();
    const words = [...new Set(body.map((row) => row.done))].join(", ");
    announce(body.length === 1 ? `${body[0].job_id}: ${words}` : `${body.length} jobs: ${words}`);
  } catch (error) {
    if (session === state.session) explainFailure("cancel", error);
  }
  button.removeAttribute("aria-disabled");
  wake();
}

// --- Where we are: the list, a batch, a job --------------------------------------------------------------------------

function readAddress() {
  const parameters = new URLSearchParams(window.location.hash.slice(1));
  const [job, batch] = [parameters.get("job"), parameters.get("batch")];
  return job !== null ? { name: "job", job, batch: null } : { name: "list", job: null, batch };
}

function show() {
  if (state.user === null) return;
  const before = state.view;
  state.view = readAddress();
  const isJob = state.view.name === "job";
  element("list").hidden = isJob;
  element("job").hidden = !isJob;
  if (isJob && showJob.id !== state.view.job) {
    Object.assign(showJob, { id: state.view.job, explained: null, more: [] });
    log.follow(null);
    element("events").replaceChildren();
    element("events-of-job").hidden = true;
    setText(element("why-details"), "");
    setText(element("why-advice"), "");
  }
  if (!isJob) {
    showJob.id = null;
    log.follow(null);
  }
  drawList();
  drawJob();
  if (before.name === "job" && !isJob && rows.has(before.job)) rows.get(before.job).part.program.focus();
  else element(isJob ? "job-title" : "list-title").focus();
}

// --- What people do --------------------------------------------------------------------------------------------------

// The address after the # is taken: it says which job is looked at.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  element("main").focus();
});
element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = element("key").value.trim();
  // A header takes these signs only.
  if (!/^[!-~]+$/.test(key)) {
    setText(element("key-error"), "That is no API key: it has letters, digits and signs only.");
    return;
  }
  theKey.set(key);
  begin();
});
element("forget").addEventListener("click", () => {
  theKey.forget();
  askForKey("");
});
element("filters").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["search", "status"]) {
  element(id).addEventListener("input", () => {
    state.rowsShown = ROWS;
    drawList();
  });
}
element("everybody").addEventListener("change", lookAtEverybody);
element("more").addEventListener("click", () => {
  state.rowsShown += ROWS;
  drawList();
});
element("cancel-batch").addEventListener("click", () => {
  confirmCancel({ batch_id: state.view.batch }, element("cancel-batch"));
});
element("job-cancel").addEventListener("click", () => confirmCancel({ job_id: state.view.job }, element("job-cancel")));
element("save").addEventListener("click", () => log.save());
element("wrap").addEventListener("change", () => element("log").classList.toggle("wrap", element("wrap").checked));
window.addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  wake();
  log.wake();
});

// Durations go on between two looks.
setInterval(() => {
  for (const [id, { part }] of rows) {
    const record = state.records.get(id);
    if (record?.status === "Running") setText(part.duration, duration(record));
  }
}, 1000);

// The link to the description of the API, where the server shows it.
fetch(new URL("__docs__/", document.baseURI), { cache: "no-store" })
  .then((response) => { element("docs").hidden = !response.ok; })
  .catch(() => {});

begin();
