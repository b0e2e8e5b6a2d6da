// The decoded signals of the dongle that is shown: the panel, and the second line of a frame's row.
import { ask, element, isHeld, number, part, setText } from "./page.js";

const MAXIMUM_SIGNALS = 5000;
const MAXIMUM_PAIRS = 24;
const LOAD_MS = 5000;
// No event is this much older than a value that is shown, unless its gateway's clock was set back.
const SET_BACK_MS = 120000;

const byName = new Intl.Collator("en", { numeric: true }).compare;
let signals = new Map();
const changed = new Set();
let tableHash = null;
let loadedAt = -Infinity;
let loadWanted = false;

export function takeSignals(event) {
  if (tableHash !== null && event.hash !== tableHash) loadWanted = true;
  takeValues(event.message, event.values, event.ts);
}

export function takeValues(message, values, ts) {
  for (const [signal, value] of Object.entries(values)) takeValue({ message, signal, value, ts });
}

// The newest value of a signal stays, in whichever order values come.
function takeValue({ message, signal, value, unit, ts }) {
  const key = `${message}\n${signal}`;
  let entry = signals.get(key);
  if (entry === undefined) {
    if (signals.size >= MAXIMUM_SIGNALS) return;
    entry = { message, signal, name: `${message}.${signal}`, unit: "", ts: "", line: null };
    signals.set(key, entry);
    if (unit === undefined) loadWanted = true;
  }
  if (unit !== undefined) entry.unit = unit ?? "";
  if (ts >= entry.ts || Date.parse(entry.ts) - Date.parse(ts) > SET_BACK_MS) Object.assign(entry, { value, ts });
  changed.add(entry);
}

export function forgetSignals() {
  signals = new Map();
  changed.clear();
  tableHash = null;
  part("signals").replaceChildren();
  part("signals-panel").hidden = true;
}

// Whether there is a signal whose unit is not known, or another table.
export const loadIsDue = () => loadWanted && performance.now() - loadedAt > LOAD_MS;

// The last values that the server has, unless the dongle is not shown any more when they come.
export async function loadSignals(dongle, isShown) {
  loadWanted = false;
  loadedAt = performance.now();
  let answer;
  try {
    answer = await ask(`/dongles/${encodeURIComponent(dongle)}/signals`);
  } catch (error) {
    // A server from before there were signals.
    if (error.status === 404) return;
    throw error;
  }
  if (!isShown()) return;
  if (tableHash !== null && tableHash !== answer.hash) forgetSignals();
  tableHash = answer.hash;
  for (const signal of answer.signals) takeValue({ ...signal, unit: signal.unit ?? "" });
}

function valueText(value) {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value ?? "–");
  // 15 digits are what a double keeps of any decimal: 90.3, not 90.30000000000001.
  return String(Number(value.toPrecision(15)));
}

// The second line of a decoded frame: its message, its signals, what could not be decoded.
export function drawDecoded(row) {
  const { message, signals: values = {}, undecoded = [] } = row.frame;
  if (message === undefined && row.decoded === null) return;
  if (row.decoded === null) {
    row.decoded = element("tr", "decoded");
    row.decoded.append(element("td"));
    row.decoded.firstChild.colSpan = 1 + row.cells.length;
    row.decoded.firstChild.append(element("div"));
    row.line.after(row.decoded);
  }
  row.line.classList.toggle("has-decoded", message !== undefined);
  row.decoded.hidden = message === undefined;
  const names = Object.keys(values).slice(0, MAXIMUM_PAIRS);
  const shape = JSON.stringify([message, names, undecoded]);
  if (row.shape !== shape) {
    row.shape = shape;
    row.outputs = names.map(() => element("b"));
    row.decoded.firstChild.firstChild.replaceChildren(...decodedParts(message, names, row.outputs, values, undecoded));
  }
  names.forEach((name, index) => {
    const unit = signals.get(`${message}\n${name}`)?.unit;
    setText(row.outputs[index], valueText(values[name]) + (unit ? ` ${unit}` : ""));
  });
}

function decodedParts(message, names, outputs, values, undecoded) {
  const pairs = names.map((name, index) => {
    const pair = element("span", "", `${name} `);
    pair.append(outputs[index]);
    return pair;
  });
  const more = Object.keys(values).length - names.length;
  if (more > 0) pairs.push(element("span", "", `and ${number.format(more)} more`));
  if (undecoded.length > 0) pairs.push(element("span", "warning", `not decoded: ${undecoded.join(", ")}`));
  return [element("strong", "", message), ...pairs];
}

export function drawSignals() {
  if (changed.size === 0) return;
  const today = new Date().toISOString().slice(0, 10);
  let added = false;
  for (const entry of changed) {
    if (entry.line === null) {
      added = true;
      entry.line = element("tr");
      entry.cells = [element("td", "number"), element("td"), element("td")];
      const header = element("th", "", `${entry.message}.`);
      header.scope = "row";
      header.append(element("wbr"), entry.signal);
      entry.line.append(header, ...entry.cells);
    } else if (isHeld(entry.line)) continue;
    changed.delete(entry);
    const date = entry.ts.startsWith(today) ? "" : `${entry.ts.slice(0, 10)} `;
    const texts = [valueText(entry.value), entry.unit, date + entry.ts.slice(11, 19)];
    texts.forEach((text, index) => setText(entry.cells[index], text));
  }
  if (!added) return;
  // Only what is new is put in: a row that is taken out and put back loses its selection.
  let next = part("signals").firstChild;
  for (const { line } of [...signals.values()].sort((one, other) => byName(one.name, other.name))) {
    if (line === next) next = next.nextSibling;
    else if (line !== null) part("signals").insertBefore(line, next);
  }
  part("signals-panel").hidden = false;
  filterSignals();
}

function filterSignals() {
  const words = part("signal-filter").value.toLowerCase().split(/\s+/);
  let found = 0;
  for (const entry of signals.values()) {
    const name = entry.name.toLowerCase();
    entry.line.hidden = !words.every((word) => name.includes(word));
    if (!entry.line.hidden) found += 1;
  }
  const all = number.format(signals.size) + (signals.size < MAXIMUM_SIGNALS ? "" : " or more");
  setText(part("signal-count"), found === signals.size ? all : `${number.format(found)} of ${all}`);
  part("no-signals").hidden = found > 0;
}

part("signal-filter").addEventListener("input", () => { drawSignals(); filterSignals(); });
