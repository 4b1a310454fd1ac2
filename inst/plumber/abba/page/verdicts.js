// The verdicts of logs: asked for where people want them, since the server reads each log for that once.

import { ask } from "./server.js";
import { explainFailure, hasEnded, notice, state } from "./state.js";
import { element } from "./text.js";

const TRIES = 5; // at a log that cannot be read

let isAsking = false;

// What is known of a job: `verdict`, null where its log could not be read, `line`, and after how many tries; undefined: it
// was not asked for.
export const verdictOf = (record) => state.verdicts.get(record.job_id);

// Asks for those of `jobs` that are not known, and then calls `draw`. One answer holds as many as the server can read in
// some seconds; the next look at the jobs goes on.
export async function readVerdicts(jobs, draw) {
  const isOpen = (found) => found === undefined || (found.verdict === null && found.tries < TRIES);
  const open = () => jobs.filter((job) => hasEnded(job.status) && isOpen(verdictOf(job)));
  if (isAsking || !element("verdicts").checked || open().length === 0) return;
  const { session, view, user } = state;
  const parameters = { verdict: true };
  if (view.batch !== null) parameters.batch_id = view.batch;
  if (user.operator && !element("everybody").checked) parameters.user = user.user;
  isAsking = true;
  try {
    const { body, headers } = await ask("GET", "jobs", parameters);
    if (session !== state.session) return;
    notice("verdicts", null);
    const warnings = JSON.parse(headers.get("Abba-Warnings") ?? "[]");
    // The warning names the first of those that are left alone; where nothing new came, it is no use to wait for more.
    const isMore = warnings.some((warning) => warning.class === "verdict_missing")
      && body.some((row) => row.verdict !== null && isOpen(verdictOf(row)));
    for (const row of body) {
      if (!hasEnded(row.status) || (row.verdict === null && isMore)) continue;
      const tries = (verdictOf(row)?.tries ?? 0) + 1;
      state.verdicts.set(row.job_id, { verdict: row.verdict, line: row.verdict_line, tries });
    }
    draw();
  } catch (error) {
    if (session === state.session) explainFailure("verdicts", error);
  } finally {
    isAsking = false;
  }
}
