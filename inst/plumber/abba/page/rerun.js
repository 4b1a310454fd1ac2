// Running a program again, as it was submitted before.

import { wake } from "./jobs.js";
import { ask } from "./server.js";
import { announce, explainFailure, hasEnded, notice, state } from "./state.js";
import { element, fileName, setText } from "./text.js";

// What /batch-arguments tells of a job besides what it was submitted with; and its place in the order of its batch, since it
// runs by itself now.
const NO_ARGUMENTS = ["job_id", "status", "ending", "open_predecessors", "in_place", "after", "on_failure"];

// A program runs in the name of whoever submits it.
export function canBeRerun(record) {
  // What it was submitted with is forgotten, too.
  return hasEnded(record.status) && !record.archived && record.user === state.user.user;
}

// So that a call which is repeated, because no answer came, makes no second job.
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// What a job was submitted with; null where that cannot be read.
async function readArguments(record) {
  const session = state.session;
  try {
    const { body } = await ask("GET", "batch-arguments", { batch_id: record.batch_id });
    if (session !== state.session) return null;
    const kept = body.find((one) => one.job_id === record.job_id);
    notice("rerun", kept === undefined ? `The job ${record.job_id} is not there any more.` : null);
    return kept ?? null;
  } catch (error) {
    if (session === state.session) explainFailure("rerun", error);
    return null;
  }
}

// The text of the program that was chosen. Errors, in words: there is none, it is another, or it is not UTF-8.
async function chosenText(name) {
  const file = element("rerun-file").files[0];
  if (file === undefined) throw new Error("Choose the program first.");
  if (file.name !== name) throw new Error(`That is ${file.name}, and the job ran ${name}.`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${name} is not UTF-8, or cannot be read. Submit it with R.`);
  }
}

// `record`: a job that has ended. `button` gets the focus back.
export async function confirmRerun(record, button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  const kept = await readArguments(record);
  button.removeAttribute("aria-disabled");
  if (kept === null) return;
  const name = fileName(kept.file_path);
  const key = newKey();
  const dialog = element("rerun");
  setText(element("rerun-title"), `Run ${name} again?`);
  setText(element("rerun-text"), kept.in_place
    ? "It runs as it is now, where it lies, with the arguments and limits of this job."
    : "Choose the program: it was sent, and runs as it is now, with the arguments and limits of this job.");
  element("rerun-choice").hidden = kept.in_place;
  element("rerun-file").value = "";
  setText(element("rerun-error"), "");
  const yes = element("rerun-yes");
  yes.onclick = async () => {
    if (yes.getAttribute("aria-disabled") === "true") return;
    yes.setAttribute("aria-disabled", "true");
    try {
      await submit(record, kept, kept.in_place ? null : await chosenText(name), key);
      dialog.close();
    } catch (error) {
      setText(element("rerun-error"), error.text ?? error.message);
      if (error.status === 401) {
        dialog.close();
        explainFailure("rerun", error);
      }
    }
    yes.removeAttribute("aria-disabled");
  };
  element("rerun-no").onclick = () => dialog.close();
  dialog.onclose = () => { if (button.isConnected && !button.hidden) button.focus(); };
  dialog.showModal();
  element(kept.in_place ? "rerun-no" : "rerun-file").focus();
}

async function submit(record, kept, text, key) {
  const session = state.session;
  const isGiven = ([name, value]) => !NO_ARGUMENTS.includes(name) && value !== null && value !== "";
  const program = Object.fromEntries(Object.entries(kept).filter(isGiven));
  if (text !== null) program.program_text = text;
  const { body } = await ask("POST", "submit-job", program, undefined, { "Idempotency-Key": key });
  if (session !== state.session) return;
  // An answer that is on its way does not have it yet.
  state.submitted.set(body.job_id, {
    ...record, ...body, status: "Pending", submitted: new Date().toISOString(), started: null, finished: null,
    exit_code: null, reason: null,
  });
  state.records.set(body.job_id, state.submitted.get(body.job_id));
  announce(`${fileName(record.program)} was submitted again: ${body.job_id}`);
  window.location.hash = "#job=" + encodeURIComponent(body.job_id);
  wake();
}
