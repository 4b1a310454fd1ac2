// Asking the server.

const SESSION = "abba-session"; // in sessionStorage: which keys in the history are not forgotten
const REQUEST_SECONDS = 60;

export class ServerError extends Error {
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

// The key lives in this page, and with its entries in the history, so that loading it again keeps it. What is in
// sessionStorage every other page of the same host can read.
function keptKey() {
  const kept = window.history.state;
  const session = window.sessionStorage.getItem(SESSION);
  return session !== null && kept?.session === session ? kept.key : null;
}

let key = keptKey();

export const theKey = {
  get: () => key,
  set(value) {
    key = value;
    window.sessionStorage.setItem(SESSION, `${Date.now()}-${Math.random()}`);
    theKey.keep();
  },
  forget() {
    key = null;
    window.sessionStorage.removeItem(SESSION);
    theKey.keep();
  },
  // Each address within the page is an entry of its own.
  keep() {
    window.history.replaceState(key === null ? null : { key, session: window.sessionStorage.getItem(SESSION) }, "");
  },
};

// Asks the server: the arguments of a GET in its query, those of a POST in its body. `more`: further headers.
// Gives back the JSON and the headers; raises a ServerError.
export async function ask(
  method, name, parameters = {}, signal = AbortSignal.timeout(REQUEST_SECONDS * 1000), more = {},
) {
  // Relative: the server may stand behind a path, as on Posit Connect.
  const url = new URL(name, document.baseURI);
  const headers = { Accept: "application/json", ...more };
  const options = { method, headers, cache: "no-store", signal };
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
