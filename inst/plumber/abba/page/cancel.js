// Cancelling and removing jobs.

import { drawJob } from "./job.js";
import { drawList, wake } from "./jobs.js";
import { ask } from "./server.js";
import { announce, explainFailure, hasEnded, notice, state } from "./state.js";
import { element, fileName, setText } from "./text.js";

const JOBS_OF_A_REQUEST = 200; // so that each is answered in time, and what was done before is known

export function canBeCancelled(record) {
  return !hasEnded(record.status) && !state.cancelled.has(record.job_id);
}

export function canBeRemoved(record) {
  return hasEnded(record.status) && !record.archived && !state.removing.has(record.job_id);
}

// Shows a button or takes it away; the focus that it had goes to `next`.
export function offer(button, isOffered, next) {
  if (!isOffered && document.activeElement === button) next.focus();
  button.hidden = !isOffered;
}

// Of several jobs of one batch its name says which.
function ofBatch() {
  return state.view.batch === null ? "" : ` of the batch ${state.view.batch}`;
}

const cancelling = {
  subject: "cancel",
  verb: "Cancel",
  text(jobs) {
    if (jobs.length > 1) return `These jobs${ofBatch()} are ended where they stand. Their logs are kept.`;
    const effect = jobs[0].status === "Pending" ? "The program has not started, and will not."
      : "The program is ended where it stands. Its log is kept.";
    return `${effect} The job is ${jobs[0].job_id}.`;
  },
  no: "Let it run",
  send: (ids) => ask("POST", "cancel-job", { job_id: ids }),
  note: (ids) => { for (const id of ids) state.cancelled.add(id); },
};

const removing = {
  subject: "remove",
  verb: "Remove",
  text: (jobs) => (jobs.length > 1
    ? `These jobs${ofBatch()}, which have ended, are removed for good, and their logs with them.`
    : `The job is removed for good, and its log with it. The job is ${jobs[0].job_id}.`),
  no: "Keep it",
  // An operator who sees the jobs of everybody means them.
  send: (ids) => ask("POST", "remove-job", {
    job_id: ids, ...(element("everybody").checked && state.user.operator ? { everybody: true } : {}),
  }),
  note(ids) {
    for (const id of ids) {
      state.removing.add(id);
      state.records.delete(id);
    }
    state.order = state.order.filter((id) => state.records.has(id));
    // There is nothing more to look at.
    if (state.view.job !== null && !state.records.has(state.view.job)) window.location.hash = "";
  },
};

// `jobs`: records, those that people see. `button` gets the focus back.
export const confirmCancel = (jobs, button) => confirm(cancelling, jobs, button);
export const confirmRemove = (jobs, button) => confirm(removing, jobs, button);

function confirm(deed, jobs, button) {
  if (jobs.length === 0 || button.getAttribute("aria-disabled") === "true") return;
  const dialog = element("confirm");
  const [what, them] = jobs.length > 1 ? [`${jobs.length} jobs`, "them"] : [fileName(jobs[0].program), "it"];
  setText(element("confirm-title"), `${deed.verb} ${what}?`);
  setText(element("confirm-text"), deed.text(jobs));
  setText(element("confirm-no"), deed.no.replace("it", them));
  setText(element("confirm-yes"), `${deed.verb} ${them}`);
  element("confirm-yes").onclick = () => {
    dialog.close();
    act(deed, jobs.map((job) => job.job_id), button);
  };
  element("confirm-no").onclick = () => dialog.close();
  dialog.onclose = () => { if (button.isConnected && !button.hidden) button.focus(); };
  dialog.showModal();
  element("confirm-no").focus();
}

async function act(deed, ids, button) {
  const session = state.session;
  button.setAttribute("aria-disabled", "true");
  const done = [];
  try {
    for (let begin = 0; begin < ids.length; begin += JOBS_OF_A_REQUEST) {
      const { body } = await deed.send(ids.slice(begin, begin + JOBS_OF_A_REQUEST));
      if (session !== state.session) return;
      done.push(...body);
      deed.note(body.map((row) => row.job_id));
    }
    notice(deed.subject, null);
  } catch (error) {
    if (session !== state.session) return;
    const rows = (error.body?.done ?? []).filter((row) => row.done !== null);
    done.push(...rows);
    deed.note(rows.map((row) => row.job_id));
    explainFailure(deed.subject, error);
  } finally {
    // Also where the caller has changed meanwhile: the button is the next one's, too.
    button.removeAttribute("aria-disabled");
  }
  drawList();
  drawJob();
  const words = [...new Set(done.map((row) => row.done))].join(", ");
  if (done.length > 0) announce(done.length === 1 ? `${done[0].job_id}: ${words}` : `${done.length} jobs: ${words}`);
  wake();
}
