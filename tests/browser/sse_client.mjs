// Follows one console stream with the npm package `eventsource` and says what it sees, one JSON object a line.
// Usage: SSE_TOKEN=TOKEN node sse_client.mjs URL
import { EventSource } from "eventsource";

const EVENTS = ["presence", "can_frame", "gap", "log", "stream_reset"];
let frames = 0;

function tell(kind, record) {
  process.stdout.write(`${JSON.stringify({ kind, ...record })}\n`);
}

// EventSource does not show comments, so the bytes are looked at on their way to it.
function commentTeller() {
  const decoder = new TextDecoder();
  let line = "";
  return new TransformStream({
    transform(chunk, controller) {
      const lines = (line + decoder.decode(chunk, { stream: true })).split("\n");
      line = lines.pop();
      for (const text of lines) if (text.startsWith(":")) tell("comment", { text: text.slice(1).trim() });
      controller.enqueue(chunk);
    },
  });
}

async function fetchWithToken(url, init) {
  tell("request", { last_event_id: init.headers["Last-Event-ID"] ?? null });
  const headers = { ...init.headers, Authorization: `Bearer ${process.env.SSE_TOKEN}` };
  const response = await fetch(url, { ...init, headers });
  const { status, redirected } = response;
  const body = response.body.pipeThrough(commentTeller());
  return { status, redirected, url: response.url, headers: response.headers, body };
}

const source = new EventSource(process.argv[2], { fetch: fetchWithToken });
source.onopen = () => tell("open");
source.onerror = (event) => tell("error", { status: event.code ?? null, closed: source.readyState === source.CLOSED });
for (const name of EVENTS) {
  source.addEventListener(name, (event) => {
    const data = JSON.parse(event.data);
    if (name === "can_frame") frames += data.count;
    tell("event", { id: event.lastEventId || null, event: name, frames, data });
  });
}
