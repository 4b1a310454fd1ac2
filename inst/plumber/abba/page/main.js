// The page for people: who am I, my jobs, their logs while they run, cancel, remove, run again.

import { batchRows } from "./batches.js";
import { canBeCancelled, canBeRemoved, confirmCancel, confirmRemove } from "./cancel.js";
import { drawJob, showJob } from "./job.js";
import { chosen, drawList, forgetArchive, lookAtEverybody, rows, wake, watchJobs } from "./jobs.js";
import { log } from "./log.js";
import { confirmRerun } from "./rerun.js";
import { ask, theKey } from "./server.js";
import { announce, explainFailure, notice, notices, ROWS, sleep, state } from "./state.js";
import { duration, element, setText } from "./text.js";

// --- Who ---------------------------------------------------------------------------------------------------------------

function askForKey(reason) {
  state.session += 1;
  wake();
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
  state.removing.clear();
  state.submitted.clear();
  state.verdicts.clear();
  state.isLoaded = false;
  state.rowsShown = ROWS;
  for (const { row } of rows.values()) row.remove();
  rows.clear();
  for (const { row } of batchRows.values()) row.remove();
  batchRows.clear();
  for (const subject of [...notices.keys()]) notice(subject, null);
  forgetArchive();
  element("everybody").checked = false;
  element("search").value = "";
  Object.assign(showJob, { id: null, explained: null, more: [] });
  const told = ["announcement", "job-title", "facts", "why-reason", "why-details", "why-advice", "events", "again-call"];
  for (const id of told) element(id).replaceChildren();
  log.follow(null);
}

// A local server prints an address with its key. On the web anybody may send somebody an address, with their own key in it.
function takeKeyOfAddress() {
  const key = new URLSearchParams(window.location.hash.slice(1)).get("key");
  if (key === null) return false;
  window.history.replaceState(null, "", window.location.pathname);
  if (!/^(localhost|127(\.[0-9]+){3}|\[::1\])$/.test(window.location.hostname)) return false;
  theKey.set(key);
  return true;
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
  // What was waited for is of another job.
  wake();
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
for (const id of ["search", "status", "by-batch", "verdicts"]) {
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
// What is shown is what is meant: of a batch others may have jobs, too.
element("cancel-batch").addEventListener("click", () => {
  confirmCancel(chosen().filter(canBeCancelled), element("cancel-batch"));
});
element("remove-batch").addEventListener("click", () => {
  confirmRemove(chosen().filter(canBeRemoved), element("remove-batch"));
});
const theJob = () => [state.records.get(state.view.job)].filter((record) => record !== undefined);
element("job-cancel").addEventListener("click", () => confirmCancel(theJob(), element("job-cancel")));
element("job-remove").addEventListener("click", () => confirmRemove(theJob(), element("job-remove")));
element("job-rerun").addEventListener("click", () => {
  for (const record of theJob()) confirmRerun(record, element("job-rerun"));
});
element("save").addEventListener("click", () => log.save());
element("wrap").addEventListener("change", () => element("log").classList.toggle("wrap", element("wrap").checked));
element("again-copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(element("again-call").textContent);
    announce("Copied");
  } catch {
    // A page over plain HTTP may not: then the call is marked, to be copied by hand.
    window.getSelection().selectAllChildren(element("again-call"));
    announce("The call is marked");
  }
});
window.addEventListener("hashchange", () => {
  theKey.keep();
  if (takeKeyOfAddress()) begin(); else show();
});
window.addEventListener("unauthorized", (event) => askForKey(event.detail));
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

takeKeyOfAddress();
begin();
