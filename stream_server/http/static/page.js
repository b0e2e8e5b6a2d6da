// What the page's modules share: its parts, and the server's API.
export const API = "api/v1";

export const part = (id) => document.getElementById(id);
export const number = new Intl.NumberFormat();

class Refused extends Error {
  constructor(status, body) {
    super(body.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = body.code;
  }
}

const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;

// JSON.parse rounds whole numbers beyond 2^53: they become strings of their digits before it sees them.
export function parseJson(text) {
  const keepDigits = (token) => /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${token}"` : token;
  return JSON.parse(/\d{16}/.test(text) ? text.replace(TOKEN, keepDigits) : text);
}

export async function ask(path, options = {}) {
  const response = await fetch(`${API}${path}`, { credentials: "same-origin", ...options });
  const body = await response.text().then(parseJson).catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body);
  return body;
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
