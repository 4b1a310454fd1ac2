// Cancelling a job, or a batch.

import { drawJob } from "./job.js";
import { drawList, wake } from "./jobs.js";
import { ask } from "./server.js";
import { announce, explainFailure, hasEnded, notice, state } from "./state.js";
import { element, fileName, setText } from "./text.js";

export function canBeCancelled(record) {
  return !hasEnded(record.status) && !state.cancelled.has(record.job_id);
}

// Shows a button or takes it away; the focus that it had goes to `next`.
export function offer(button, isOffered, next) {
  if (!isOffered && document.activeElement === button) next.focus();
  button.hidden = !isOffered;
}

// `what`: the arguments of /cancel-job. `button` gets the focus back.
export function confirmCancel(what, button) {
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
