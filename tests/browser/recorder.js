// Run by the tests in the console page: an EventSource of the browser's own on one stream, and what it saw.
window.followStream = (url) => {
  const seen = { events: [], frames: 0, opened: 0, errors: 0 };
  const source = new EventSource(url);
  source.onopen = () => { seen.opened += 1; };
  source.onerror = () => { seen.errors += 1; };
  for (const name of ["presence", "can_frame", "gap", "log", "stream_reset"]) {
    source.addEventListener(name, (event) => {
      const data = JSON.parse(event.data);
      if (name === "can_frame") seen.frames += data.count;
      seen.events.push({ id: event.lastEventId, event: name, data });
    });
  }
  window.seen = seen;
};
