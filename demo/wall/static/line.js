// The line to demo/wall/line.py: says what is visible, gets states and pictures.
const text = new TextDecoder();

class Line {
  constructor() {
    this.state = [];
    this.styles = {};
    this.wanted = {};
    this.onState = new Set();
    this.onPicture = new Map();
    this.onLost = () => {};
    this.pictures = 0;
    this.retry_ms = 500;
    this.heard_ms = 0;
    document.addEventListener("visibilitychange", () => this.ask());
    // A line can be dead without being closed: what is told every second has not come for five.
    setInterval(() => {
      if (this.heard_ms && performance.now() - this.heard_ms > 5000 && !document.hidden) this.onLost("Nothing has come from the server for some seconds.");
    }, 1000);
  }

  connect() {
    const address = new URL("line", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = (this.socket = new WebSocket(address));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { this.retry_ms = 500; this.ask(); };
    socket.onclose = (event) => {
      if (event.code === 4401) { location.replace("login"); return; }
      this.onLost("The connection to the server was lost; trying again…");
      setTimeout(() => this.connect(), this.retry_ms);
      this.retry_ms = Math.min(this.retry_ms * 1.6, 5000);
    };
    socket.onmessage = (message) => (typeof message.data === "string" ? this.heard(JSON.parse(message.data)) : this.received(message.data));
  }

  heard(said) {
    this.heard_ms = performance.now();
    this.onLost("");
    this.state = said.state;
    Object.assign(this.styles, said.styles);
    for (const hear of this.onState) hear(said.state);
  }

  async received(data) {
    try {
      const length = new DataView(data).getUint32(0, true);
      const about = JSON.parse(text.decode(new Uint8Array(data, 4, length)));
      const show = this.onPicture.get(about.camera);
      if (show && !document.hidden) {
        const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
        show(bitmap, about, this.styles[about.camera] || {});
        bitmap.close();
        this.pictures++;
      }
    } catch (error) {
      console.warn("a picture could not be shown", error);
    }
    this.say({ shown: 1 });
  }

  // What is visible now: camera to [width in pixels of the screen, pictures a second].
  want(wanted) {
    const before = JSON.stringify(this.wanted);
    this.wanted = wanted;
    if (JSON.stringify(wanted) !== before) this.ask();
  }

  ask() { this.say({ want: document.hidden ? {} : this.wanted }); }

  say(what) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(what));
  }
}

export const line = new Line();
window.line = line;

// Draws a picture with its people on a canvas that is as sharp as the screen.
export function paint(canvas, bitmap, about, styles) {
  canvas.parentElement.style.setProperty("--aspect", `${bitmap.width} / ${bitmap.height}`);
  const ratio = window.fitCanvas(canvas, [bitmap.width, bitmap.height]);
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  window.drawPeople(pen, about.people, styles, ratio);
}

// JSON of an address; mistakes become errors with the server's own words.
export async function ask(address, body) {
  const more = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  const answer = await fetch(address, more);
  if (answer.status === 401) location.replace("login");
  const made = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error((made.errors || [made.detail || `HTTP ${answer.status}`]).map(String).join("\n"));
  return made;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
