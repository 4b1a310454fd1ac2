// What the page knows, and what it says besides.

import { ServerError } from "./server.js";
import { element, setText } from "./text.js";

export const ROWS = 100; // shown at first; more on demand
export const STATES = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];

export const hasEnded = (state) => state === "Succeeded" || state === "Failed";
export const sleep = (seconds) => new Promise((resolve) => { setTimeout(resolve, seconds * 1000); });

export const state = {
  user: null, // as /whoami has it
  records: new Map(), // by id, as /jobs has them
  order: [], // ids, newest first
  cancelled: new Set(), // ids of those that were cancelled here, which takes a moment to be seen
  removing: new Set(), // ids of those that were removed here: an answer that was on its way may still have them
  submitted: new Map(), // by id, of those that were submitted here: an answer that was on its way may not have them yet
  verdicts: new Map(), // by id, of jobs that have ended: what their logs say
  isLoaded: false, // whether the jobs were read at all
  rowsShown: ROWS,
  view: { name: "list", batch: null, job: null },
  session: 0, // counts up when the caller changes: what comes back later is no longer theirs
};

export function announce(text) {
  setText(element("announcement"), text);
}

export const notices = new Map();

// A notice stays until its subject is well again.
export function notice(subject, text) {
  if (text === null) notices.delete(subject); else notices.set(subject, text);
  const all = [...notices.values()].join(" ");
  element("notice").hidden = all === "";
  setText(element("notice"), all);
}

export function explainFailure(subject, error) {
  if (error.status === 401) {
    window.dispatchEvent(new CustomEvent("unauthorized", { detail: error.message }));
  } else {
    notice(subject, error instanceof ServerError ? error.text : `This page failed: ${error.message}`);
    if (!(error instanceof ServerError)) console.error(error);
  }
}
