// The log of one job.

import { ask } from "./server.js";
import { explainFailure, hasEnded, notice, sleep, state } from "./state.js";
import { element, make, setText, visible } from "./text.js";

const LOG_SECONDS = 1; // between two looks at a log that grows
const CUT = "The beginning is left out here: this page holds the newest part of a long log. In R, abba_get_job_log() reads all.";

// What is known of a log before it is read.
const unread = () => ({
  count: 0, // lines that are final
  last: null, // the last of them
  blocks: [], // what is shown: elements with the texts in them, as they were read, to be saved
  block: null, // the one that takes the next lines
  size: 0, // of all of them, in characters
  isCut: false, // whether the first of them were left out
});

// Follows one log at a time. While the program runs, the last line may not be finished: it is shown as such and asked
// for again. A line that was seen before is asked for again, too: where it is another one now, the cluster has dropped
// the log's older part, and lines may be missing.
export const log = {
  id: null,
  turn: 0, // counts up with each log: what comes back later is of another one
  most: 32 * 1024 * 1024, // characters: a program may print for days, and a page that holds all of it ends
  ...unread(),
  wake: () => {},

  follow(id) {
    if (id === this.id) return;
    this.id = id;
    this.turn += 1;
    Object.assign(this, unread());
    this.lastLine = make("span", { class: "last" });
    element("log").replaceChildren(this.lastLine);
    element("log-warnings").replaceChildren();
    element("save").hidden = true;
    element("log-verdict").hidden = true;
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
      if (!isMore) {
        if (isWhole) this.judge(body[body.length - 1]);
        return;
      }
    }
  },

  judge(part) {
    const words = part?.verdict ? [`Verdict: ${part.verdict}`, part.verdict_line].filter(Boolean).join(" – ") : "";
    element("log-verdict").hidden = words === "";
    element("log-verdict").dataset.verdict = part?.verdict ?? "";
    setText(element("log-verdict"), words);
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
    this.begin("gap").append(words);
    this.take(`[abba: ${words}]\n`);
    this.block = null;
    this.count = 0;
    this.last = null;
  },

  // A new block, after the others; its element.
  begin(name) {
    const node = make("span", { class: name });
    this.block = { node, texts: [], size: 0 };
    this.blocks.push(this.block);
    this.lastLine.before(node);
    return node;
  },

  take(text) {
    this.block.texts.push(text);
    this.block.size += text.length;
    this.size += text.length;
  },

  // Leaves the oldest out where the page would hold too much.
  cut() {
    while (this.size > this.most && this.blocks.length > 1) {
      const { node, size } = this.blocks.shift();
      node.remove();
      this.size -= size;
      if (!this.isCut) element("log").prepend(make("span", { class: "gap" }, CUT));
      this.isCut = true;
    }
  },

  add(lines, held) {
    const box = element("log");
    for (let begin = 0; begin < lines.length; begin += 500) {
      const text = lines.slice(begin, begin + 500).map((line) => line + "\n").join("");
      const { texts, size } = this.block ?? { texts: [], size: Infinity };
      if (texts.length >= 500 || size > this.most / 32) this.begin("lines");
      this.block.node.append(visible(text));
      this.take(text);
    }
    this.cut();
    if (lines.length > 0) {
      this.count += lines.length;
      this.last = lines[lines.length - 1];
    }
    setText(this.lastLine, held ?? "");
    element("save").hidden = this.blocks.length === 0;
    const scroll = () => { if (element("along").checked) box.scrollTop = box.scrollHeight; };
    scroll();
    // How high new lines are is known once they were looked at.
    requestAnimationFrame(() => requestAnimationFrame(scroll));
  },

  save() {
    const record = state.records.get(this.id);
    const notes = [...element("log-warnings").children].map((item) => `[abba: ${item.textContent}]\n`);
    const end = record !== undefined && hasEnded(record.status) ? "" : "[abba: saved before the program had ended]\n";
    const beginning = this.isCut ? [`[abba: ${CUT}]\n`] : [];
    const texts = this.blocks.flatMap((block) => block.texts);
    const file = new Blob([...notes, ...beginning, ...texts, end], { type: "text/plain;charset=utf-8" });
    const link = make("a", { href: URL.createObjectURL(file), download: `${this.id}.log` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  },
};
