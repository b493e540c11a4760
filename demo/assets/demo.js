// The page's side of demo/tab.py: camera pictures go out over a WebSocket, annotated ones come back.
// No library, nothing from other hosts. `window.demo` is what the controls (and tests) talk to.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const token = () =>
    Array.from(crypto.getRandomValues(new Uint8Array(18)), (b) => b.toString(16).padStart(2, "0")).join("");
  const seconds = () => performance.now() / 1000;
  // Kept while the tab is open, so that a page that is loaded again finds its video.
  const TAB = sessionStorage.getItem("tab") || token();
  sessionStorage.setItem("tab", TAB);
  // Pictures sent that the server has not taken yet; more would only queue up in the network.
  const MAX_IN_FLIGHT = 4;
  // Long side in pixels and JPEG quality, best first; a slow line walks down, a quick one up.
  const LEVELS = [[640, 0.75], [640, 0.55], [640, 0.35], [480, 0.35], [320, 0.35]];

  const demo = {
    tab: TAB, video: "", choices: {}, mirror: true, facing: "user",
    // For measuring and tests: called with each picture that was drawn.
    onPicture: null,
    pictures: 0, status: null, styles: {},
  };
  window.demo = demo;

  // ---------------------------------------------------------------- the line
  let line = null, wanted = null, active = false, retry_ms = 500, busyUntil = 0;

  function connect() {
    const address = new URL("line?tab=" + TAB, document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    line = new WebSocket(address);
    line.binaryType = "arraybuffer";
    line.onopen = () => { retry_ms = 500; };
    line.onclose = () => {
      active = false;
      inFlight.length = 0;
      if (wanted) note(wanted.stage, "The connection to the server was lost; trying again…", "bad");
      setTimeout(connect, retry_ms);
      retry_ms = Math.min(retry_ms * 1.6, 5000);
    };
    line.onmessage = (message) =>
      typeof message.data === "string" ? heard(JSON.parse(message.data)) : received(message.data);
  }

  function say(what) {
    if (line && line.readyState === WebSocket.OPEN) line.send(JSON.stringify(what));
  }

  function heard(event) {
    const stage = wanted ? wanted.stage : "live";
    switch (event.event) {
      case "hello":
        if (wanted) begin();
        else if (event.work && !demo.video) findWork();
        break;
      case "started":
        if (!wanted) break;
        active = true;
        demo.styles = event.styles || {};
        shownAny = false;
        inFlight.length = 0;
        note(stage, "Getting ready…");
        break;
      case "got": {
        inFlight.shift();
        break;
      }
      case "status":
        // One may be on its way when Stop is pressed.
        if (wanted && active) showStatus(stage, event);
        break;
      case "ended":
        active = false;
        if (event.reason && wanted) {
          // A page in the background stops sending; it goes on when somebody looks at it again.
          const asleep = document.hidden && wanted.stage === "live";
          if (!asleep) finish(stage);
          note(stage, sentence(event.reason), "bad");
        }
        break;
      case "error":
        if (!active && wanted) {
          finish(stage);
          note(stage, sentence(event.message), "bad");
        } else {
          note(stage, sentence(event.message), "bad");
        }
        break;
    }
  }

  // An address keeps its small letters.
  const sentence = (text) =>
    (/^[a-z]+:\/\//.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1)) + (/[.!?…]$/.test(text) ? "" : ".");

  // ---------------------------------------------------------------- pictures that come back
  let latest = null, drawing = false, shownAny = false, delay_s = 0;

  function received(data) {
    latest = data;
    if (!drawing) draw();
  }

  const readText = new TextDecoder();

  async function draw() {
    drawing = true;
    while (latest) {
      const data = latest;
      latest = null;
      try {
        const view = new DataView(data), time_s = view.getFloat64(0, true), length = view.getUint32(8, true);
        const people = JSON.parse(readText.decode(new Uint8Array(data, 12, length)));
        const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 12 + length)], { type: "image/jpeg" }));
        if (wanted && active) {
          const canvas = $(wanted.stage + "-view");
          if (!shownAny) {
            shownAny = true;
            note(wanted.stage, "");
          }
          show(canvas, bitmap, bitmap.width, bitmap.height);
          demo.pictures++;
          if (wanted.stage === "live" && !wanted.sample) delay_s += 0.1 * (seconds() - time_s - delay_s);
          if (demo.onPicture) demo.onPicture(canvas, time_s);
          window.drawPeople(canvas.getContext("2d"), people, demo.styles, ratio);
        }
        bitmap.close();
      } catch (error) {
        console.warn("a picture could not be shown", error);
      }
      say({ do: "shown" });
    }
    drawing = false;
  }

  let ratio = 1;

  // The stage takes the picture's shape and the canvas the screen's pixels.
  function show(canvas, picture, width, height) {
    const stage = canvas.parentElement;
    stage.style.setProperty("--aspect", `${width} / ${height}`);
    stage.classList.add("playing");
    ratio = window.fitCanvas(canvas, [width, height]);
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  }

  // ---------------------------------------------------------------- the camera
  const inFlight = [];
  let camera = null, encoding = false;
  let level = 0, frames = 0, crowded = 0, calm = 0, rest = 1;
  const eye = document.createElement("video");
  eye.muted = true;
  eye.playsInline = true;
  const sheet = document.createElement("canvas");

  // Camera frames that found the line full say how much too thick the pictures are; counted two seconds at a time.
  function adapt(full) {
    frames++;
    if (full) crowded++;
    if (frames < 60) return;
    if (crowded > 15 && level < LEVELS.length - 1) {
      level++;
      calm = -rest;
      rest = Math.min(rest * 2, 30);
    } else if (crowded > 3) {
      calm = 0;
    } else if (++calm >= 5 && level > 0) {
      // One step back up after ten seconds without a crowd; where that fails, the next try comes later.
      level--;
      calm = 0;
    }
    frames = crowded = 0;
  }

  async function openCamera() {
    if (!navigator.mediaDevices || !navigator.mediaDevices.getUserMedia) {
      throw new Error("The browser gives the camera only to pages at https:// or localhost. " +
        "Open this page in one of these ways (see --tls-cert in python -m demo --help).");
    }
    const video = { facingMode: demo.facing, width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    camera = stream;
    eye.srcObject = stream;
    stream.getVideoTracks()[0].onended = () => {
      if (camera === stream) { stop(); note("live", "The camera was taken away or switched off.", "bad"); }
    };
    await eye.play();
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
    $("live-turn").hidden = cameras.length < 2;
    watchEye(stream);
  }

  function closeCamera() {
    if (camera) camera.getTracks().forEach((track) => track.stop());
    camera = null;
    eye.srcObject = null;
  }

  // Until the first picture comes back with labels, the page shows the camera's own.
  function showOwn() {
    if (shownAny && active || !wanted || !eye.videoWidth) return;
    const canvas = $("live-view"), pen = canvas.getContext("2d");
    if (demo.mirror && demo.facing === "user") pen.setTransform(-1, 0, 0, 1, canvas.width, 0);
    show(canvas, eye, eye.videoWidth, eye.videoHeight);
    pen.resetTransform();
    demo.ownPictures = (demo.ownPictures || 0) + 1;
  }

  function watchEye(stream) {
    const next = (now) => {
      if (camera !== stream) return;
      showOwn();
      sendPicture(now / 1000);
      again();
    };
    const again = eye.requestVideoFrameCallback
      ? () => eye.requestVideoFrameCallback(next)
      : () => setTimeout(() => next(performance.now()), 33);
    again();
  }

  function sendPicture(time_s) {
    if (!active) return;
    const full = inFlight.length >= MAX_IN_FLIGHT || line.bufferedAmount > 65536;
    adapt(full);
    if (full || encoding) return;
    const w = eye.videoWidth, h = eye.videoHeight;
    if (!w || !h) return;
    const [side, quality] = LEVELS[level];
    const scale = Math.min(1, side / Math.max(w, h));
    sheet.width = Math.round(w * scale);
    sheet.height = Math.round(h * scale);
    const pen = sheet.getContext("2d");
    if (demo.mirror && demo.facing === "user") pen.setTransform(-1, 0, 0, 1, sheet.width, 0);
    pen.drawImage(eye, 0, 0, sheet.width, sheet.height);
    encoding = true;
    sheet.toBlob(async (blob) => {
      try {
        if (!blob || !active || line.readyState !== WebSocket.OPEN) return;
        const message = new Uint8Array(8 + blob.size);
        new DataView(message.buffer).setFloat64(0, time_s, true);
        message.set(new Uint8Array(await blob.arrayBuffer()), 8);
        inFlight.push(time_s);
        line.send(message);
      } finally {
        encoding = false;
      }
    }, "image/jpeg", quality);
  }

  // ---------------------------------------------------------------- start and stop
  function begin() {
    active = false;
    const what = { choices: demo.choices };
    if (wanted.url) say({ do: "watch", url: wanted.url, ...what });
    else if (wanted.sample) say({ do: "sample", ...what });
    else say({ do: "start", ...what });
  }

  function finish(stage) {
    wanted = null;
    active = false;
    closeCamera();
    shownAny = false;
    buttons(stage, false);
    $(stage + "-stage").classList.remove("playing");
    $(stage + "-people").replaceChildren();
    $(stage + "-status").textContent = $(stage + "-words").textContent = "";
    $(stage + "-more").hidden = $(stage + "-hatched").hidden = true;
  }

  function startSample() {
    if (wanted) stop();
    wanted = { stage: "live", sample: true };
    buttons("live", true);
    note("live", "Asking the server for a place…");
    begin();
  }

  async function start() {
    if (wanted) stop();
    wanted = { stage: "live" };
    buttons("live", true);
    note("live", "Please allow the camera…");
    try {
      await openCamera();
    } catch (error) {
      finish("live");
      const words = {
        NotAllowedError: "The camera was not allowed. Allow it beside the address bar, then press Start again.",
        NotFoundError: "This device has no camera. Try the Video tab.",
        NotReadableError: "The camera is in use by another program. Close that, then press Start again.",
      };
      note("live", words[error.name] || error.message || String(error), "bad");
      return;
    }
    note("live", "Asking the server for a place…");
    begin();
  }

  function watch() {
    const url = $("net-url").value.trim();
    if (!url) { note("net", "Type the camera's address first.", "bad"); return; }
    if (wanted) stop();
    wanted = { stage: "net", url };
    buttons("net", true);
    note("net", "Connecting to the camera…");
    begin();
  }

  function stop() {
    if (!wanted) return;
    const stage = wanted.stage;
    say({ do: "stop" });
    finish(stage);
    note(stage, "Stopped.");
  }

  function buttons(stage, running) {
    const start_ = $(stage + "-start"), stop_ = $(stage + "-stop");
    if (start_) start_.hidden = running;
    if (stop_) stop_.hidden = !running;
    if (stage !== "live") return;
    const own = running && wanted && !wanted.sample;
    $("live-sample").hidden = running;
    $("live-mirror-label").hidden = !own;
    if (!own) $("live-turn").hidden = true;
    showClip(!running && !stopped);
    stopped = true;
  }

  // ---------------------------------------------------------------- the clip of the first screen
  let stopped = false, clip = null;

  function showClip(visible) {
    $("live-stage").classList.toggle("example", visible);
    if (!visible) $("live-words").textContent = "";
    if (!visible) $("live-hatched").hidden = true;
    const film = $("clip");
    if (!visible) film.pause();
  }

  async function loadClip() {
    const film = $("clip");
    if (!film || film.dataset.loaded) return;
    film.dataset.loaded = "yes";
    film.muted = true;
    const answer = await fetch(new URL("clip.json", document.baseURI));
    if (!answer.ok) return;
    clip = await answer.json();
    if (wanted) return;
    $("live-stage").classList.add("example");
    $("live-words").textContent = "An example: the bundled clip with the labels that the bundled model gave it.";
    $("live-hatched").hidden = false;
    const paint = () => {
      if (!$("live-stage").classList.contains("example")) return;
      const canvas = $("clip-view"), pen = canvas.getContext("2d");
      const scale = window.fitCanvas(canvas, [640, 360]);
      pen.clearRect(0, 0, canvas.width, canvas.height);
      let at = clip.pictures.findIndex(([time_s]) => time_s > film.currentTime + 0.04) - 1;
      if (at < 0) at = at === -2 ? clip.pictures.length - 1 : 0;
      window.drawPeople(pen, clip.pictures[at][1], clip.styles, scale);
    };
    const often = film.requestVideoFrameCallback
      ? () => { paint(); film.requestVideoFrameCallback(often); }
      : () => { paint(); setTimeout(often, 80); };
    film.addEventListener("seeked", paint);
    film.addEventListener("loadeddata", paint);
    new ResizeObserver(paint).observe($("live-stage"));
    often();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) film.currentTime = 4;
    else film.play().catch(() => {});
  }

  function note(stage, text, mood) {
    const box = $(stage + "-note");
    if (!box) return;
    box.textContent = text;
    box.hidden = !text;
    box.classList.toggle("bad", mood === "bad");
  }

  // ---------------------------------------------------------------- the status line
  const one = (x) => x.toFixed(1);

  function showStatus(stage, s) {
    demo.status = s;
    if (!s.online || (s.message && !shownAny)) note(stage, sentence(s.message), s.online ? "" : "bad");
    else if (shownAny) note(stage, "");
    $(stage + "-words").textContent = inWords(stage, s);
    const parts = [[s.engine, s.detector].filter(Boolean).join(" + ") || "loading"];
    parts.push(`camera ${one(s.camera_fps)} fps, shown ${one(s.shown_fps)}`);
    if (stage === "live" && shownAny && wanted && !wanted.sample) {
      parts.push(delay_s < 1 ? `picture ${Math.round(delay_s * 1000)} ms behind` : `picture ${one(delay_s)} s behind`);
    }
    parts.push(s.compute_s
      ? `labels ${one(s.look_ahead_s + s.compute_s)} s behind (${one(s.look_ahead_s)} look-ahead + ${one(s.compute_s)} compute)`
      : `labels after ${one(s.look_ahead_s)} s of video`);
    if (s.clips_per_s) parts.push(`${one(s.clips_per_s)} answers/s`);
    parts.push(`${s.visitors} of ${s.seats} places taken`);
    $(stage + "-status").textContent = parts.join(" · ");
    $(stage + "-more").hidden = false;
    let hatched = false;
    const people = s.people.map((person) => {
      const item = document.createElement("li");
      const name = document.createElement("b");
      name.textContent = person.id >= 0 ? `Person ${person.id}` : "Person";
      item.append(name);
      person.actions.forEach(([action, score], i) => {
        const [colour, proven] = demo.styles[action] || ["#7f7f7f", true];
        const mark = document.createElement("i");
        mark.className = "swatch" + (proven ? "" : " unproven");
        mark.style.setProperty("--colour", colour);
        hatched = hatched || !proven;
        item.append(i ? ", " : " ", mark, `${action} ${score.toFixed(2)}`);
      });
      if (!person.actions.length) item.append(" " + (person.waiting ? "watching…" : "nothing over the threshold"));
      return item;
    });
    $(stage + "-people").replaceChildren(...people);
    $(stage + "-hatched").hidden = !hatched;
  }

  function inWords(stage, s) {
    if (s.untrained) return "Live, but the model is untrained: its labels are random.";
    if (!s.online) return "No pictures from the camera now.";
    if (!s.clips_per_s && !s.people.some((person) => person.actions.length)) return shownAny ? "Live, the first labels are on their way…" : "Getting ready…";
    const late_s = s.display === "synced" ? 0 : s.look_ahead_s + s.compute_s;
    return late_s ? `Live, labels ${one(late_s)} s late.` : `Live, picture and labels in step, ${one(s.look_ahead_s + s.compute_s)} s late.`;
  }

  // ---------------------------------------------------------------- controls (called from Gradio)
  demo.choose = (model, display, person, recommended, action, actions) => {
    const before = demo.choices;
    demo.choices = { model, display, person, action: recommended ? null : action, actions: actions || [] };
    document.body.classList.toggle("recommended", Boolean(recommended));
    offerAgain();
    if (!wanted) return;
    // Another model or display is another pipeline; the rest changes while it runs.
    if (before.model !== model || before.display !== display) begin();
    else say({ do: "choose", choices: demo.choices });
  };

  // The film can be made again where it was made with other settings.
  function offerAgain() {
    const video = document.querySelector("#video-result video"), again = $("video-again");
    if (!video || !again || !video.dataset.made) return;
    const { model, person, action, actions } = demo.choices;
    again.hidden = JSON.stringify([model, person, action, actions]) === JSON.stringify(JSON.parse(video.dataset.made));
  }

  demo.showTab = (name) => { document.body.dataset.tab = name; };

  // ---------------------------------------------------------------- uploads
  let request = null;

  function upload(file) {
    const limit = Number($("video-drop").dataset.limit);
    if (request) request.abort();
    if (file.size > limit) {
      progress(`${file.name}: ${Math.round(file.size / 1e6)} MB, expected at most ${Math.round(limit / 1e6)} MB.`, null, true);
      return;
    }
    const mine = (request = new XMLHttpRequest());
    mine.open("POST", new URL("upload", document.baseURI));
    mine.setRequestHeader("x-tab", TAB);
    mine.setRequestHeader("x-file-name", encodeURIComponent(file.name));
    mine.responseType = "json";
    mine.upload.onprogress = (event) => progress(`Uploading ${file.name}…`, event.loaded / event.total);
    mine.onload = () => {
      const answer = mine.response || {};
      if (mine.status === 200) analyse(answer.key);
      else progress(sentence(answer.error || `The upload failed (${mine.status})`), null, true);
    };
    mine.onerror = () => progress("The upload broke off; is the server still there? Try again.", null, true);
    mine.onloadend = () => { if (request === mine) request = null; };
    progress(`Uploading ${file.name}…`, 0);
    mine.send(file);
  }

  function progress(text, fraction, bad) {
    const box = $("video-upload");
    box.hidden = !text;
    box.classList.toggle("bad", Boolean(bad));
    box.querySelector("span").textContent = text || "";
    const bar = box.querySelector("progress");
    bar.hidden = fraction === null || fraction === undefined;
    if (!bar.hidden) bar.value = fraction;
  }

  // A page that was loaded again goes on with the video that it waited for.
  function findWork() {
    // Gradio makes what is in a tab when it is opened.
    const tab = Array.from(document.querySelectorAll("button[role=tab]")).find((one) => one.textContent.trim() === "Video");
    if (tab && !$("video-go")) tab.click();
    if (!$("video-go") || !demo.choices.model) { setTimeout(findWork, 200); return; }
    analyse("mine");
  }

  function analyse(key) {
    progress("");
    demo.video = key;
    // Gradio's own button: its handler starts the work and shows how far it is.
    $("video-go").click();
  }

  // ---------------------------------------------------------------- wiring
  // Listeners sit on the document, because Gradio puts the elements in later and may put them in again.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (!button) return;
    switch (button.dataset.do) {
      case "start": start(); break;
      case "watch": watch(); break;
      case "stop": stop(); break;
      case "turn":
        demo.facing = demo.facing === "user" ? "environment" : "user";
        if (wanted && wanted.stage === "live") start();
        break;
      case "live-sample": startSample(); break;
      case "sample": analyse("sample:" + button.dataset.name); break;
      case "choose-file": $("video-file").click(); break;
      case "again": {
        const video = document.querySelector("#video-result video");
        if (video) analyse("again:" + video.dataset.key);
        break;
      }
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.id === "live-mirror") demo.mirror = event.target.checked;
    if (event.target.id === "video-file" && event.target.files.length) {
      upload(event.target.files[0]);
      event.target.value = "";
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.id === "net-url" && event.key === "Enter") watch();
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const drop = event.target.closest && event.target.closest("#video-drop");
      if (!drop) return;
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && wanted && !active && line.readyState === WebSocket.OPEN) begin();
  });

  // A click on a span of the timeline takes the video there.
  const hooked = new WeakSet();
  setInterval(() => {
    offerAgain();
    // Plotly and Gradio put the same styles in several times, under the same names.
    const names = new Set();
    for (const style of document.querySelectorAll("style[id]")) {
      if (names.has(style.id)) style.removeAttribute("id");
      else names.add(style.id);
    }
    const plot = document.querySelector("#video-timeline .js-plotly-plot");
    if (!plot || !plot.on || hooked.has(plot)) return;
    hooked.add(plot);
    plot.on("plotly_click", (event) => {
      const video = document.querySelector("#video-result video");
      const point = event.points && event.points[0];
      if (!video || !point) return;
      video.currentTime = Number(point.base);
      video.scrollIntoView({ block: "center", behavior: "smooth" });
    });
  }, 500);

  const untilClip = setInterval(() => {
    if (!$("clip")) return;
    clearInterval(untilClip);
    loadClip();
  }, 50);
  connect();
})();
