// The group that is shown: how its relay stands, what has become of each way's frames, and what turns it on and off.
import { element, isSignedOut, number, part, postSigned, setText } from "./page.js";

const WAYS = [["a_to_b", "A", "B"], ["b_to_a", "B", "A"]];
const REASONS = {
  offline_side: (state) => `${sidesAway(state)} cannot be reached.`,
  replaying: () => "What is handed over has waited for more than a second.",
  bus_load: () => "A bus is as full as its gateway's file allows: frames wait.",
};
const FIGURES = ["Made", "Waiting", "Sent", "Accepted", "In doubt", "Not sent", "Age on the bus"];

// What is shown; its `sides`: dongle id -> A or B; its `state`: what the server last told.
let group = null;
let operates = false;

export const mayOperate = (role) => { operates = role !== "viewer"; };

// Which side of the group that is shown a dongle is; "" where no group is.
export const sideOf = (dongle) => group?.sides.get(dongle) ?? "";

export const groupDetails = ({ dongle_a_id: a, dongle_b_id: b }, mode) => `${mode} · ${a} · ${b}`;

export function openGroup(state, signedOut) {
  const sides = new Map([[state.dongle_a_id, "A"], [state.dongle_b_id, "B"]]);
  group = { id: state.group_id, state, sides, signedOut, live: false, asking: false, refusal: "" };
  const names = { A: state.dongle_a_id, B: state.dongle_b_id };
  part("ways").replaceChildren(...WAYS.map(([way, from, to]) => wayCard(way, from, to, names)));
  part("group-panel").hidden = false;
  drawGroup(false);
}

export function forgetGroup() {
  group = null;
  part("group-panel").hidden = true;
}

function wayCard(way, from, to, names) {
  const card = element("section", "way");
  card.dataset.way = way;
  const list = element("dl", "books");
  for (const figure of FIGURES) {
    const pair = element("div");
    pair.append(element("dt", "", figure), element("dd"));
    list.append(pair);
  }
  card.append(element("h3", "", `${from} to ${to}`), element("p", "quiet", `${names[from]} → ${names[to]}`), element("p"), list);
  return card;
}

// `live`: whether what the server last told is true now. `told`: a newer `group_state`.
export function drawGroup(live, told) {
  if (group === null) return;
  group.live = live;
  group.state = told ?? group.state;
  const { state } = group;
  const mode = live ? state.mode : "unknown";
  setText(part("group-mode"), state.dry_run && live ? `${mode}, dry run` : mode);
  part("group-mode").className = `pill ${mode}`;
  const why = live ? reasonOf(state) : "";
  setText(part("group-reason"), why);
  part("group-reason").hidden = why === "";
  setText(part("group-refusal"), group.refusal);
  part("group-refusal").hidden = group.refusal === "";
  drawButtons(state);
  for (const card of part("ways").children) drawWay(card, state, card.dataset.way);
}

function reasonOf(state) {
  const parts = [];
  if (state.reason) parts.push(REASONS[state.reason]?.(state) ?? `${state.reason}.`);
  if (state.dry_run) parts.push("Nothing is put on a bus: what would have been sent is counted as dry_run.");
  if (state.buffer_pressure) parts.push("More frames wait than there is room for: the oldest are not sent.");
  return parts.join(" ");
}

function sidesAway({ offline_side: away, dongle_a_id: a, dongle_b_id: b }) {
  return { A: `Side A (${a})`, B: `Side B (${b})`, AB: "Both sides" }[away] ?? "A side";
}

// A group that was stopped is active to its operator: it can be ended, or activated again.
function drawButtons(state) {
  const off = state.mode === "inactive";
  const stopped = !off && state.reason !== null && !(state.reason in REASONS);
  for (const id of ["group-activate", "group-dry-run"]) {
    part(id).hidden = !operates || !(off || stopped);
    part(id).disabled = group.asking;
  }
  // Whoever wants it to end need not wait for another answer.
  part("group-deactivate").hidden = !operates || off;
  setText(part("group-activate"), stopped ? "Activate again" : "Activate");
}

function drawWay(card, state, way) {
  const opened = state.directions[way];
  const line = card.querySelectorAll("p")[1];
  setText(line, opened === "open" ? "open" : `closed: ${opened}`);
  line.className = opened === "open" ? "good" : "";
  const latency = state[`latency_ms_${way}`];
  const texts = [
    number.format(state[`made_frames_${way}`]),
    number.format(state[`buffered_frames_${way}`] + state[`missing_frames_${way}`]), number.format(state[`sent_${way}`]),
    number.format(state[`accepted_${way}`]),
    number.format(state[`in_doubt_${way}`] + (state[`counted_${way}`].in_doubt ?? 0)),
    reasonsText(state[`not_sent_${way}`], state[`counted_${way}`]),
    latency === null ? "none yet" : `p50 ${latency.p50.toFixed(1)} ms, p99 ${latency.p99.toFixed(1)} ms`,
  ];
  card.querySelectorAll("dd").forEach((cell, index) => setText(cell, texts[index]));
}

// `unsettled`: what its gateway has not been told of yet, or has not said that it was.
function reasonsText(settled, unsettled) {
  const counts = { ...settled };
  for (const [reason, frames] of Object.entries(unsettled)) {
    if (reason !== "in_doubt") counts[reason] = (counts[reason] ?? 0) + frames;
  }
  const words = Object.entries(counts).filter(([, frames]) => frames > 0);
  const all = words.reduce((sum, [, frames]) => sum + frames, 0);
  const told = words.map(([reason, frames]) => `${reason} ${number.format(frames)}`).join(", ");
  return told ? `${number.format(all)} (${told})` : "0";
}

function question() {
  const { state } = group;
  const ways = WAYS.map(([way, from, to]) => `${from} to ${to}: ${state.directions[way] === "open" ? "open" : "closed"}`);
  return `Relay between ${state.dongle_a_id} and ${state.dongle_b_id}? ` +
    `What others send on one bus is put on the other.\n\n${ways.join("\n")}`;
}

async function change(path, body) {
  const asked = group;
  const show = (asking, refusal) => {
    Object.assign(asked, { asking, refusal });
    if (group === asked) drawGroup(asked.live);
  };
  show(true, "");
  try {
    await postSigned(`/groups/${encodeURIComponent(asked.id)}/${path}`, body);
    show(false, "");
  } catch (error) {
    if (isSignedOut(error)) return asked.signedOut();
    show(false, error.message);
  }
}

part("group-activate").addEventListener("click", () => { if (confirm(question())) change("activate", {}); });
part("group-dry-run").addEventListener("click", () => change("activate", { dry_run: true }));
part("group-deactivate").addEventListener("click", () => change("deactivate"));
