// Text, and the elements that show it.
//
// What a program is called and what it prints is somebody's text. It reaches the page as text (`textContent`) only; the
// server's Content-Security-Policy forbids all else.

export const element = (id) => document.getElementById(id);

// A sign that does not show, by its number. One that makes another sign a coloured picture is seen by that.
function unhidden(sign) {
  if (sign.length > 1 && sign.endsWith("\ufe0f")) return sign;
  const number = sign.codePointAt(0).toString(16);
  return number.length > 4 ? `\\u{${number}}` : "\\u" + number.padStart(4, "0");
}

// Text that shows all that is in it: colours of a terminal are left out, other signs that cannot be seen, or that turn
// what is written around, become ones that can.
export function visible(text) {
  return text
    // eslint-disable-next-line no-control-regex
    .replace(/\u001b\[[0-9;:?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b\n]*(?:\u0007|\u001b\\)/g, "")
    // eslint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (sign) => String.fromCharCode(0x2400 + sign.charCodeAt(0)))
    .replace(/\p{Extended_Pictographic}\ufe0f|[\u007f-\u009f\u2028\u2029\p{Cf}\p{Default_Ignorable_Code_Point}]/gu, unhidden);
}

export function setText(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export const fileName = (path) => path.split(/[/\\]/).pop() || path;
const two = (number) => String(number).padStart(2, "0");

export function localTime(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return text;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ` +
    `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}

export function setTime(node, text) {
  node.setAttribute("datetime", text ?? "");
  node.setAttribute("title", text ?? "");
  setText(node, text === null ? "" : localTime(text));
}

// The server's clock and this one may differ, but not by much.
export function duration(record) {
  if (record.started === null) return "";
  const end = record.finished === null ? Date.now() : Date.parse(record.finished);
  if (record.finished === null && record.status !== "Running") return "";
  const seconds = Math.max(0, Math.round((end - Date.parse(record.started)) / 1000));
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  if (hours > 0) return `${hours} h ${two(minutes)} min`;
  return minutes > 0 ? `${minutes} min ${two(seconds % 60)} s` : `${seconds} s`;
}

// Kubernetes writes a part of a core in thousandths: "200m".
export const cores = (limit) => (limit !== null && /^[0-9]+m$/.test(limit) ? String(parseInt(limit, 10) / 1000) : limit);
