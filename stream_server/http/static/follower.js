// Follows the console stream of a dongle or a group, and comes back to it by itself.
//
// Any answer but an event stream, such as a proxy's 502, closes an EventSource for good (WHATWG HTML, section 9.2.3), and
// it does not say which answer it was. So what is lost is asked for with HEAD, until a new EventSource can be opened.
import { ANSWER_MS, API, backoffMs, parseJson, retryAfterMs } from "./page.js";

const LOOK_MS = 1000;
// A healthy stream is never silent for this long (docs/sse.md, section 6): after a sleep nobody says that it is dead.
const SILENT_MS = 60000;
const OPENING_MS = 20000;

const REASONS = {
  404: "the server does not know it",
  429: "too many requests or streams",
  503: "the server is not ready",
};

export class Follower {
  #path;
  #takers;
  #say;
  #source = null;
  #open = false;
  #lastId = "";
  #heardAt = 0;
  #failures = 0;
  // When it is asked next, on the page's clock; the wait may have been asked for by the server.
  #due = Infinity;
  #told = false;
  #left = new AbortController();

  // `takers`: event name -> what takes its payload. `say(state, text)`: connecting, live, reconnecting, signed-out.
  constructor({ kind, id }, takers, say) {
    this.#path = `${API}/streams/${kind}s/${encodeURIComponent(id)}/console?history=60`;
    this.#takers = takers;
    this.#say = say;
    const { signal } = this.#left;
    for (const event of ["online", "pageshow"]) window.addEventListener(event, () => this.#hurry(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry(), { signal });
    const timer = setInterval(() => this.#look(), LOOK_MS);
    signal.addEventListener("abort", () => clearInterval(timer));
    say("connecting", "");
    this.#connect();
  }

  leave() {
    this.#left.abort();
    this.#source?.close();
  }

  #connect() {
    const source = new EventSource(this.#lastId ? `${this.#path}&last_event_id=${this.#lastId}` : this.#path);
    this.#source = source;
    this.#open = false;
    this.#heardAt = Date.now();
    source.onopen = () => {
      this.#open = true;
      this.#failures = 0;
      this.#heardAt = Date.now();
      this.#say("live", "");
    };
    source.onerror = () => this.#lose("no connection");
    for (const [name, take] of Object.entries(this.#takers)) {
      source.addEventListener(name, (event) => {
        this.#heardAt = Date.now();
        this.#lastId = event.lastEventId || this.#lastId;
        take(parseJson(event.data));
      });
    }
  }

  #lose(reason, waitMs = 0, told = false) {
    this.#source?.close();
    this.#source = null;
    this.#told = told;
    this.#due = performance.now() + Math.max(waitMs, backoffMs(this.#failures));
    this.#failures += 1;
    this.#say("reconnecting", reason);
  }

  #look() {
    if (this.#source === null) {
      if (performance.now() >= this.#due) this.#ask();
      return;
    }
    // The wall clock goes on while a computer sleeps; who sets it back only begins to wait anew.
    const silentMs = Date.now() - this.#heardAt;
    if (silentMs < 0) this.#heardAt = Date.now();
    if (silentMs > (this.#open ? SILENT_MS : OPENING_MS)) {
      this.#lose("nothing was heard");
      this.#hurry();
    }
  }

  // The network is back, or somebody looks: no wait but one that the server has asked for.
  #hurry() {
    if (this.#source?.readyState === EventSource.CLOSED) this.#lose("no connection");
    if (this.#source === null && this.#due !== Infinity && !this.#told) this.#due = 0;
    this.#look();
  }

  async #ask() {
    this.#due = Infinity;
    let answer;
    try {
      const signal = AbortSignal.timeout(ANSWER_MS);
      answer = await fetch(this.#path, { method: "HEAD", credentials: "same-origin", cache: "no-store", signal });
    } catch {
      answer = null;
    }
    if (this.#left.signal.aborted) return;
    if (answer === null) this.#lose("no answer");
    else if (isStream(answer)) this.#connect();
    else if (isSignedOut(answer)) this.#say("signed-out", "");
    else {
      const waitMs = retryAfterMs(answer);
      this.#lose(reasonOf(answer), waitMs, waitMs > 0);
    }
  }
}

const isOurs = (answer) => (answer.headers.get("Content-Type") ?? "").startsWith("application/json");
const reasonOf = (answer) => (isOurs(answer) && REASONS[answer.status]) || `HTTP ${answer.status}`;

// A proxy that lets no HEAD through has said nothing about the stream.
function isStream(answer) {
  const isEvents = (answer.headers.get("Content-Type") ?? "").startsWith("text/event-stream");
  return (answer.ok && isEvents) || answer.status === 405 || answer.status === 501;
}

// In our own words: a proxy may want a password of its own.
const isSignedOut = (answer) => answer.status === 401 && /stream-server/.test(answer.headers.get("WWW-Authenticate"));
