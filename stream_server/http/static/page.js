// What the page's modules share: its parts, and the server's API.
export const API = "api/v1";

export const part = (id) => document.getElementById(id);
export const number = new Intl.NumberFormat();

// How long an answer is waited for.
export const ANSWER_MS = 15000;
const BACKOFF_MS = 2500;
const LONGEST_BACKOFF_MS = 15000;
const LONGEST_RETRY_AFTER_MS = 600000;

class Refused extends Error {
  constructor(response, body) {
    super(body.message ?? `something answered HTTP ${response.status}`);
    this.status = response.status;
    // None where it was no server of ours that answered, but a proxy before it.
    this.code = body.code;
    this.waitMs = retryAfterMs(response);
  }
}

// The pause before the next attempt, at random, so that the pages of a restarted server do not come back in step.
export function backoffMs(failures) {
  return Math.min(LONGEST_BACKOFF_MS, BACKOFF_MS * 2 ** failures) * (0.5 + Math.random() / 2);
}

// What Retry-After asks for, in seconds or as a date; 0 where it asks for nothing.
export function retryAfterMs(response) {
  const text = response.headers.get("Retry-After") ?? "";
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Math.min(LONGEST_RETRY_AFTER_MS, Math.max(0, ms || 0));
}

export const isSignedOut = (error) => error.status === 401 && error.code !== undefined;

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;

// JSON.parse rounds whole numbers beyond 2^53: they become strings of their digits before it sees them.
export function parseJson(text) {
  const keepDigits = (token) => /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${token}"` : token;
  return JSON.parse(/\d{16}/.test(text) ? text.replace(TOKEN, keepDigits) : text);
}

export async function ask(path, options = {}) {
  const response = await fetch(`${API}${path}`, {
    credentials: "same-origin", signal: AbortSignal.timeout(ANSWER_MS), ...options,
  });
  const body = await response.text().then(parseJson).catch(() => ({}));
  if (!response.ok) throw new Refused(response, body);
  return body;
}

export function post(path, body, headers = {}) {
  const options = { method: "POST", headers: { "Content-Type": "application/json", ...headers } };
  return ask(path, body === undefined ? options : { ...options, body: JSON.stringify(body) });
}

// As whoever is signed in in this browser.
export async function postSigned(path, body) {
  const { csrf_token: token } = await ask("/auth/csrf");
  return post(path, body, { "X-CSRF-Token": token ?? "" });
}

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

let pressed = null;
document.addEventListener("pointerdown", (event) => { pressed = event.target.closest?.("tr") ?? null; });
for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => { pressed = null; });

// Whether somebody selects text of a row, or has: drawing it anew would take the selection away before it is copied.
export function isHeld(line) {
  if (line === null) return false;
  const selection = getSelection();
  return line === pressed || (!selection.isCollapsed && selection.containsNode(line, true));
}
