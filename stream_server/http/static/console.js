// The console page: signs in with a link, lists dongles, shows one dongle's live stream.
import { Follower } from "./follower.js";
import { ask, backoffMs, element, isHeld, isSignedOut, number, part, setText } from "./page.js";
import { BusClock, Rate } from "./rates.js";
import {
  drawDecoded, drawSignals, forgetSignals, loadIsDue, loadSignals, takeSignals, takeValues,
} from "./signals.js";

const MAXIMUM_ROWS = 2000;
const MAXIMUM_LOG = 200;
const DRAW_MS = 250;
const LIST_MS = 5000;
// A backlog is on its way, and of a start nobody knows whether anything came before it.
const NOTHING_LOST = new Set(["agent_start", "backlog", "found"]);

const noFrames = part("no-frames").textContent;
let follower = null;
let shown = null;
// The dongle that the address names and the server does not know.
let missing = null;
// Whether nobody has chosen a dongle yet: then the only one is shown.
let unchosen = true;
let frames = new Map();
let busClock = new BusClock();
let rate = new Rate();
// What the server last told of frames received and pending, and the counts shown since (docs/sse.md).
let books = { received: null, pending: null, shown: 0 };
let listTimer = null;
let listed = [];
let startTimer = null;
let startFailures = 0;
// The token of a sign-in link that no server has decided on yet.
let link = null;
let signedIn = false;
// What the server last told, which is true while the stream is live.
let presence = null;
let live = false;
let lostAt = null;

function post(path, body, headers = {}) {
  const options = { method: "POST", headers: { "Content-Type": "application/json", ...headers } };
  return ask(path, body === undefined ? options : { ...options, body: JSON.stringify(body) });
}

function setConnection(text, kind = "") {
  setText(part("connection"), text);
  part("connection").className = `pill ${kind}`;
}

function showNotice(title, text, remedy = true) {
  part("notice-title").textContent = title;
  part("notice-text").textContent = text;
  part("notice-remedy").hidden = !remedy;
  part("notice").hidden = false;
}

function showSignedOut(title, text) {
  signedIn = false;
  leaveStream();
  clearTimeout(listTimer);
  part("fleet").hidden = part("console").hidden = part("sign-out").hidden = true;
  setConnection("signed out");
  showNotice(title, text);
}

const showSessionEnded = () => showSignedOut("Your session has ended", "Sign in again to go on.");

// What went wrong, null where nothing did. A proxy, or a server that is not ready, leaves the link as good as it was.
async function redeemLink() {
  const token = new URLSearchParams(location.hash.slice(1)).get("link");
  if (token !== null) {
    link = token;
    // The token leaves the address bar before anything else can happen.
    history.replaceState(null, "", location.pathname + location.search);
  }
  if (link === null) return null;
  try {
    await post("/auth/link", { token: link });
  } catch (error) {
    if (error.code !== undefined && error.status < 500 && error.status !== 429) link = null;
    return error;
  }
  link = null;
  return null;
}

const linkErrors = {
  LINK_USED: ["This link was used already", "Each link signs in one browser, once."],
  LINK_EXPIRED: ["This link is not valid", "It has expired (a link works for 15 minutes), or this server never made it."],
};

async function start() {
  clearTimeout(startTimer);
  const linkError = await redeemLink();
  try {
    if (link !== null) throw linkError;
    await ask("/auth/me");
  } catch (error) {
    if (!isSignedOut(error)) return startLater(error);
    if (linkError === null) {
      return showSignedOut("You are not signed in", "Open a sign-in link of this server in this browser.");
    }
    return showSignedOut(...(linkErrors[linkError.code] ?? ["This link did not work", linkError.message]));
  }
  startFailures = 0;
  signedIn = true;
  part("notice").hidden = true;
  part("fleet").hidden = part("sign-out").hidden = false;
  setConnection("signed in");
  await listDongles();
  followHash();
}

function startLater(error) {
  setConnection("unreachable", "lost");
  showNotice("The server does not answer", `${error.message}. This page asks again by itself.`, false);
  startTimer = setTimeout(start, Math.max(error.waitMs ?? 0, backoffMs(startFailures)));
  startFailures += 1;
}

async function listDongles() {
  clearTimeout(listTimer);
  let waitMs = LIST_MS;
  try {
    const { dongles } = await ask("/dongles");
    if (!signedIn) return;
    listed = dongles;
    showDongles(true);
    if (unchosen && listed.length === 1 && chosen() === null) {
      history.replaceState(null, "", addressOf(listed[0].dongle_id));
      followHash();
    } else if (missing !== null && isListed(missing)) followHash();
  } catch (error) {
    if (!signedIn) return;
    if (isSignedOut(error)) return showSessionEnded();
    waitMs = Math.max(LIST_MS, error.waitMs ?? 0);
    showDongles(false);
  }
  listTimer = setTimeout(listDongles, waitMs);
}

// `known`: whether the server has said just now how they stand.
function showDongles(known) {
  if (shown === null) setConnection(known ? "signed in" : "reconnecting", known ? "" : "lost");
  part("no-dongles").hidden = !known || listed.length > 0;
  const items = listed.map((dongle) => dongleItem(dongle, known));
  const focused = document.activeElement?.getAttribute?.("href");
  part("dongles").replaceChildren(...items);
  if (focused) part("dongles").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

const addressOf = (dongle) => `#dongle=${encodeURIComponent(dongle)}`;
const chosen = () => new URLSearchParams(location.hash.slice(1)).get("dongle");
const isListed = (dongle) => listed.some((one) => one.dongle_id === dongle);

function dongleItem(dongle, known) {
  const item = element("li");
  const link = element("a");
  link.href = addressOf(dongle.dongle_id);
  if (dongle.dongle_id === shown) link.setAttribute("aria-current", "page");
  link.dataset.frames = dongle.frames;
  const state = !known ? "unknown" : dongle.presence.online ? "online" : "offline";
  link.append(
    element("span", `dot ${state}`),
    element("strong", "", dongle.dongle_id),
    element("small", "", `${state} · ${dongle.agent_id} · ${dongle.interface} ${dongle.channel}`),
  );
  item.append(link);
  return item;
}

function followHash() {
  if (new URLSearchParams(location.hash.slice(1)).has("link")) return void start();
  let dongle = chosen();
  if (dongle !== null) unchosen = false;
  if (dongle === shown && missing === null) return;
  leaveStream();
  if (missing !== null) part("notice").hidden = true;
  missing = dongle === null || isListed(dongle) ? null : dongle;
  if (missing !== null) {
    showNotice(`There is no dongle ${missing}`, "This server knows none of that name. It is shown as soon as there is one.", false);
    dongle = null;
  }
  shown = dongle;
  part("console").hidden = dongle === null;
  for (const link of part("dongles").querySelectorAll("a")) {
    const current = dongle !== null && link.getAttribute("href") === addressOf(dongle);
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (dongle !== null) openStream(dongle);
  else setConnection("signed in");
}

function leaveStream() {
  follower?.leave();
  follower = presence = lostAt = null;
  live = false;
  shown = null;
  frames = new Map();
  busClock = new BusClock();
  rate = new Rate();
  forgetSignals();
  books = { received: null, pending: null, shown: 0 };
  part("log").replaceChildren();
  part("frames").replaceChildren();
  showPresence();
}

function openStream(dongle) {
  part("console-title").textContent = dongle;
  follower = new Follower(dongle, {
    can_frame: takeFrame,
    signals: takeSignals,
    presence: takePresence,
    log: (log) => addLog(log.ts, log.level, `${log.source}: ${log.message}`),
    gap: (gap) => addLog(gap.to ?? gap.from, NOTHING_LOST.has(gap.where) ? "info" : "warning", describeGap(gap)),
    stream_reset: (reset) => {
      takeBooks(reset);
      refreshSignals(dongle);
      addLog(null, "warning", `some events of this page were missed (${reset.reason})`);
    },
  }, takeState);
  refreshSignals(dongle);
}

function takeState(state, text) {
  if (state === "signed-out") return showSessionEnded();
  live = state === "live";
  setConnection(text ? `${state}: ${text}` : state, live ? "live" : state === "reconnecting" ? "lost" : "");
  if (state === "reconnecting") lostAt ??= Date.now();
  if (live && lostAt !== null) {
    addLog(null, "info", `connected again after ${number.format(Math.ceil((Date.now() - lostAt) / 1000))} s`);
    lostAt = null;
  }
  showPresence();
}

function takeBooks(state) {
  if (typeof state.frames_received !== "number") return;
  books = { received: state.frames_received, pending: state.frames_pending, shown: 0 };
}

function takePresence(told) {
  takeBooks(told);
  presence = told;
  showPresence();
}

// A stream that was taken up again tells what has changed meanwhile, not what has stayed.
function showPresence() {
  const known = live && presence !== null;
  setText(part("presence"), !known ? "unknown" : presence.online ? "online" : `offline (${presence.reason})`);
  part("presence").className = !known ? "" : presence.online ? "good" : "bad";
}

function takeFrame(frame) {
  const ms = Date.parse(frame.ts);
  books.shown += frame.count;
  busClock.take(ms);
  rate.take(ms, frame.count);
  if (frame.signals) takeValues(frame.message, frame.signals, frame.ts);
  const key = `${frame.direction} ${frame.id} ${frame.is_extended} ${frame.is_remote ?? false}`;
  let row = frames.get(key);
  if (row === undefined) {
    if (frames.size >= MAXIMUM_ROWS) return;
    row = { count: 0, rate: new Rate(), line: null, decoded: null, shape: null };
    frames.set(key, row);
  }
  row.count += frame.count;
  row.rate.take(ms, frame.count);
  row.frame = frame;
  row.changed = true;
}

async function refreshSignals(dongle) {
  try {
    await loadSignals(dongle, () => shown === dongle);
    for (const row of frames.values()) row.changed = true;
  } catch (error) {
    if (shown === dongle) addLog(null, "warning", `no last values of signals: ${error.message}`);
  }
}

function describeGap(gap) {
  const things = gap.lane === "signals" ? "signal values" : "frames";
  if (gap.where === "agent_start") return `the agent started; which ${things} it may have missed before cannot be known`;
  if (gap.where === "backlog") return `${number.format(gap.frames)} older ${things} are on their way to the recording`;
  const amount = gap.frames === null ? `an unknown number of ${things}` : `${number.format(gap.frames)} ${things}`;
  return `gap: ${amount} missing (${gap.where})`;
}

function addLog(timestamp, level, text) {
  const item = element("li", level);
  const time = element("time", "", (timestamp ?? new Date().toISOString()).slice(11, 19));
  item.append(time, `${level === "info" ? "" : `${level}: `}${text}`);
  part("log").prepend(item);
  while (part("log").childElementCount > MAXIMUM_LOG) part("log").lastElementChild.remove();
}

function makeLine(row) {
  const line = element("tr", row.frame.is_error ? "error" : "");
  const header = element("th", "", row.frame.id);
  header.scope = "row";
  row.cells = [
    element("td", "", row.frame.direction), element("td", "number"), element("td"),
    element("td", "number"), element("td", "number"),
  ];
  line.append(header, ...row.cells);
  line.dataset.order = `${row.frame.is_extended ? 1 : 0}${row.frame.id}${row.frame.direction}`;
  const after = [...part("frames").rows].find((other) => other.dataset.order > line.dataset.order);
  part("frames").insertBefore(line, after ?? null);
  row.line = line;
}

function draw() {
  if (shown === null) return;
  const busMs = live && presence?.online ? busClock.now() : Infinity;
  for (const row of frames.values()) {
    if (row.line === null) makeLine(row);
    else if (isHeld(row.line) || isHeld(row.decoded)) continue;
    const now = row.rate.at(busMs);
    setText(row.cells[4], now < 0.05 ? "0" : now.toFixed(now < 10 ? 1 : 0));
    if (!row.changed) continue;
    row.changed = false;
    const texts = [row.frame.direction, String(row.frame.dlc), row.frame.data_hex, number.format(row.count)];
    texts.forEach((text, index) => setText(row.cells[index], text));
    drawDecoded(row);
  }
  if (loadIsDue()) refreshSignals(shown);
  part("no-frames").hidden = frames.size > 0;
  const off = part("dongles").querySelector("[aria-current]")?.dataset.frames === "off";
  setText(part("no-frames"), off ? "This dongle sends its signals only, no frames." : noFrames);
  setText(part("ids"), number.format(frames.size));
  setText(part("rate"), `${number.format(Math.round(rate.at(busMs)))}/s`);
  const known = books.received !== null;
  const pending = Math.max(0, books.pending - books.shown);
  setText(part("received"), known ? number.format(books.received - books.pending + pending + books.shown) : "–");
  setText(part("pending"), known ? number.format(pending) : "–");
}

async function signOut() {
  try {
    const { csrf_token: token } = await ask("/auth/csrf");
    await post("/auth/logout", undefined, { "X-CSRF-Token": token ?? "" });
    showSignedOut("You are signed out", "Your session on the server is closed.");
  } catch (error) {
    showNotice("Signing out failed", error.message, false);
  }
}

part("sign-out").addEventListener("click", signOut);
window.addEventListener("hashchange", followHash);
setInterval(draw, DRAW_MS);
// In turn with the frames, so that neither keeps the page from scrolling for long.
setTimeout(() => setInterval(drawSignals, DRAW_MS), DRAW_MS / 2);
start();
