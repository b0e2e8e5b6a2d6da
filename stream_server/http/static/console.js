// The console page: signs in with a link, lists dongles and groups, shows the live stream of one.
import { Follower } from "./follower.js";
import { drawGroup, forgetGroup, groupDetails, mayOperate, openGroup, sideOf } from "./groups.js";
import { ask, backoffMs, element, isHeld, isSignedOut, number, part, post, postSigned, setText } from "./page.js";
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
// What is shown, a dongle or a group: its kind and id.
let shown = null;
// What the address names and the server does not know.
let missing = null;
// Whether nobody has chosen anything yet: then the only dongle is shown.
let unchosen = true;
let frames = new Map();
let busClock = new BusClock();
let rate = new Rate();
// What the server last told of frames received and pending, and the counts shown since (docs/sse.md).
let books = { received: null, pending: null, shown: 0 };
let listTimer = null;
let listed = { dongle: [], group: [] };
let startTimer = null;
let startFailures = 0;
// The token of a sign-in link that no server has decided on yet.
let link = null;
let signedIn = false;
// What the server last told of each dongle that is shown, which is true while the stream is live.
let presences = new Map();
let live = false;
let lostAt = null;

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
    mayOperate((await ask("/auth/me")).role);
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
  await listFleet();
  followHash();
}

function startLater(error) {
  setConnection("unreachable", "lost");
  showNotice("The server does not answer", `${error.message}. This page asks again by itself.`, false);
  startTimer = setTimeout(start, Math.max(error.waitMs ?? 0, backoffMs(startFailures)));
  startFailures += 1;
}

async function listFleet() {
  clearTimeout(listTimer);
  let waitMs = LIST_MS;
  try {
    const [{ dongles }, { groups }] = await Promise.all([ask("/dongles"), ask("/groups")]);
    if (!signedIn) return;
    listed = { dongle: dongles, group: groups };
    showFleet(true);
    if (unchosen && dongles.length === 1 && chosen() === null) {
      history.replaceState(null, "", addressOf({ kind: "dongle", id: dongles[0].dongle_id }));
      followHash();
    } else if (missing !== null && entryOf(missing)) followHash();
  } catch (error) {
    if (!signedIn) return;
    if (isSignedOut(error)) return showSessionEnded();
    waitMs = Math.max(LIST_MS, error.waitMs ?? 0);
    showFleet(false);
  }
  listTimer = setTimeout(listFleet, waitMs);
}

// `known`: whether the server has said just now how they stand.
function showFleet(known) {
  if (shown === null) setConnection(known ? "signed in" : "reconnecting", known ? "" : "lost");
  part("no-dongles").hidden = !known || listed.dongle.length > 0;
  part("groups-title").hidden = listed.group.length === 0;
  const focused = document.activeElement?.getAttribute?.("href");
  part("dongles").replaceChildren(...listed.dongle.map((dongle) => dongleItem(dongle, known)));
  part("groups").replaceChildren(...listed.group.map((group) => groupItem(group, known)));
  if (focused) part("fleet").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

const KINDS = ["dongle", "group"];
const addressOf = ({ kind, id }) => `#${kind}=${encodeURIComponent(id)}`;
const isSame = (one, other) => one?.kind === other?.kind && one?.id === other?.id;
const entryOf = ({ kind, id }) => listed[kind].find((one) => one[`${kind}_id`] === id);

function chosen() {
  const said = new URLSearchParams(location.hash.slice(1));
  const kind = KINDS.find((one) => said.has(one));
  return kind === undefined ? null : { kind, id: said.get(kind) };
}

function fleetItem(subject, state, details) {
  const item = element("li");
  const link = element("a");
  link.href = addressOf(subject);
  if (isSame(subject, shown)) link.setAttribute("aria-current", "page");
  link.append(element("span", `dot ${state}`), element("strong", "", subject.id), element("small", "", details));
  item.append(link);
  return item;
}

function dongleItem(dongle, known) {
  const state = !known ? "unknown" : dongle.presence.online ? "online" : "offline";
  const details = `${state} · ${dongle.agent_id} · ${dongle.interface} ${dongle.channel}`;
  return fleetItem({ kind: "dongle", id: dongle.dongle_id }, state, details);
}

function groupItem(group, known) {
  const mode = known ? group.mode : "unknown";
  return fleetItem({ kind: "group", id: group.group_id }, mode, groupDetails(group, mode));
}

function followHash() {
  if (new URLSearchParams(location.hash.slice(1)).has("link")) return void start();
  let subject = chosen();
  if (subject !== null) unchosen = false;
  if (isSame(subject, shown) && missing === null) return;
  leaveStream();
  if (missing !== null) part("notice").hidden = true;
  missing = subject === null || entryOf(subject) ? null : subject;
  if (missing !== null) {
    const text = "This server knows none of that name. It is shown as soon as there is one.";
    showNotice(`There is no ${missing.kind} ${missing.id}`, text, false);
    subject = null;
  }
  shown = subject;
  part("console").hidden = subject === null;
  for (const link of part("fleet").querySelectorAll("a")) {
    const current = subject !== null && link.getAttribute("href") === addressOf(subject);
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (subject !== null) openStream(subject);
  else setConnection("signed in");
}

function leaveStream() {
  follower?.leave();
  follower = lostAt = null;
  presences = new Map();
  live = false;
  shown = null;
  frames = new Map();
  busClock = new BusClock();
  rate = new Rate();
  forgetSignals();
  forgetGroup();
  books = { received: null, pending: null, shown: 0 };
  part("log").replaceChildren();
  part("frames").replaceChildren();
  showPresence();
}

function openStream(subject) {
  part("console-title").textContent = subject.id;
  if (subject.kind === "group") openGroup(entryOf(subject), showSessionEnded);
  follower = new Follower(subject, {
    can_frame: takeFrame,
    // Of a group each frame shows its own: signals of two buses may be called alike.
    signals: subject.kind === "dongle" ? takeSignals : () => {},
    presence: takePresence,
    group_state: takeGroup,
    log: (log) => addLog(log.ts, log.level, `${log.source}: ${log.message}`),
    gap: (gap) => {
      const side = sideOf(gap.dongle_id);
      const text = side ? `${side}: ${describeGap(gap)}` : describeGap(gap);
      addLog(gap.to ?? gap.from, NOTHING_LOST.has(gap.where) ? "info" : "warning", text);
    },
    stream_reset: (reset) => {
      takeBooks(reset);
      refreshSignals(subject);
      addLog(null, "warning", `some events of this page were missed (${reset.reason})`);
    },
  }, takeState);
  refreshSignals(subject);
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
  drawGroup(live);
}

function takeBooks(state) {
  if (typeof state.frames_received !== "number") return;
  books = { received: state.frames_received, pending: state.frames_pending, shown: 0 };
}

function takePresence(told) {
  takeBooks(told);
  presences.set(told.dongle_id, told);
  showPresence();
}

function takeGroup(told) {
  takeBooks(told);
  drawGroup(live, told);
  const entry = entryOf(shown);
  if (!entry || entry.mode === told.mode) return;
  entry.mode = told.mode;
  showFleet(true);
}

const isOnline = () => live && [...presences.values()].some((one) => one.online);

// A stream that was taken up again tells what has changed meanwhile, not what has stayed.
function showPresence() {
  const known = live && presences.size > 0;
  const words = [...presences.values()].map((one) => {
    const word = one.online ? "online" : `offline (${one.reason})`;
    const side = sideOf(one.dongle_id);
    return side ? `${side} ${word}` : word;
  });
  setText(part("presence"), known ? words.sort().join(" · ") : "unknown");
  const good = [...presences.values()].every((one) => one.online);
  part("presence").className = !known ? "" : good ? "good" : "bad";
}

function takeFrame(frame) {
  const ms = Date.parse(frame.ts);
  books.shown += frame.count;
  busClock.take(ms);
  rate.take(ms, frame.count);
  const side = sideOf(frame.dongle_id);
  if (frame.signals && side === "") takeValues(frame.message, frame.signals, frame.ts);
  const direction = `${side} ${frame.direction}`.trim();
  const key = `${direction} ${frame.id} ${frame.is_extended} ${frame.is_remote ?? false}`;
  let row = frames.get(key);
  if (row === undefined) {
    if (frames.size >= MAXIMUM_ROWS) return;
    row = { direction, count: 0, rate: new Rate(), line: null, decoded: null, shape: null };
    frames.set(key, row);
  }
  row.count += frame.count;
  row.rate.take(ms, frame.count);
  row.frame = frame;
  row.changed = true;
}

async function refreshSignals(subject) {
  if (subject.kind !== "dongle") return;
  try {
    await loadSignals(subject.id, () => shown === subject);
    for (const row of frames.values()) row.changed = true;
  } catch (error) {
    if (shown === subject) addLog(null, "warning", `no last values of signals: ${error.message}`);
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
    element("td", "", row.direction), element("td", "number"), element("td"),
    element("td", "number"), element("td", "number"),
  ];
  line.append(header, ...row.cells);
  line.dataset.order = `${row.frame.is_extended ? 1 : 0}${row.frame.id}${row.direction}`;
  const after = [...part("frames").rows].find((other) => other.dataset.order > line.dataset.order);
  part("frames").insertBefore(line, after ?? null);
  row.line = line;
}

function draw() {
  if (shown === null) return;
  const busMs = isOnline() ? busClock.now() : Infinity;
  for (const row of frames.values()) {
    if (row.line === null) makeLine(row);
    else if (isHeld(row.line) || isHeld(row.decoded)) continue;
    const now = row.rate.at(busMs);
    setText(row.cells[4], now < 0.05 ? "0" : now.toFixed(now < 10 ? 1 : 0));
    if (!row.changed) continue;
    row.changed = false;
    const texts = [row.direction, String(row.frame.dlc), row.frame.data_hex, number.format(row.count)];
    texts.forEach((text, index) => setText(row.cells[index], text));
    drawDecoded(row);
  }
  if (loadIsDue()) refreshSignals(shown);
  part("no-frames").hidden = frames.size > 0;
  const off = shown.kind === "dongle" && entryOf(shown)?.frames === "off";
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
    await postSigned("/auth/logout");
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
