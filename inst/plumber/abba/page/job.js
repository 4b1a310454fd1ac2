// One job.

import { canBeCancelled, canBeRemoved, offer } from "./cancel.js";
import { lookAtEverybody } from "./jobs.js";
import { log } from "./log.js";
import { canBeRerun } from "./rerun.js";
import { ask } from "./server.js";
import { explainFailure, notice, state } from "./state.js";
import { cores, duration, element, fileName, make, setText, setTime, visible } from "./text.js";

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

export function drawJob() {
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
  offer(element("job-rerun"), record !== undefined && canBeRerun(record), element("job-title"));
  offer(element("job-remove"), record !== undefined && canBeRemoved(record), element("job-title"));
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
    ...(record.archived ? [fact("Kept", "in the archive: the cluster has forgotten it")] : []),
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
export const showJob = { id: null, explained: null, more: [] };

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
