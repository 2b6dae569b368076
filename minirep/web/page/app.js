// The page of `minirep web`: takes sound in, posts it to minirep, and draws what comes back.
"use strict";

const $ = (id) => document.getElementById(id);
const GUTTER = 58; // pixels left of the pictures, for their scales
const LEAST = 0.1; // seconds of sound in a request from the microphone
const MOST = 400; // blocks of the microphone's in one request
const BARS = 12; // classes shown
const EVENTS = 200; // kept in the list
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const SHADES = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]]; // from dark to bright
const COLOURS = Array.from({ length: 256 }, (_, i) => {
  const at = (i / 255) * (SHADES.length - 1), low = Math.min(Math.floor(at), SHADES.length - 2);
  return [...SHADES[low].map((c, k) => Math.round(c + (at - low) * (SHADES[low + 1][k] - c))), 255];
});

let facts; // about the model
let span = 6; // seconds shown
let session = ""; // the server's name for this page's sound
let source = null; // what delivers sound now: {stop()}
let rate = 1, count = 0; // of the sound: samples a second, samples so far
let wave, mel; // what is shown of it: `Columns`
let last = null; // the last answer that had a window
let events = [];
let stage = null, wanted = null, asking = false; // the stage shown; its channel, null for the most active
let level = -Infinity; // dBFS

// --- talking to minirep -----------------------------------------------------------------------------------------------

async function post(path, body) {
  const headers = { "Content-Type": "application/octet-stream" };
  const answer = await fetch(path, { method: "POST", body, headers }).catch(() => null);
  if (answer?.ok) return answer;
  const refusal = await answer?.json().catch(() => null);
  throw new Error(refusal?.error ?? "minirep does not answer: has it been ended?");
}

const ask = async (path, body) => (await post(path, body)).json();
const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const feed = (body, late = false) => ask(`feed?session=${session}&late=${+late}&compare=${+$("compare").checked}`, body);

async function begin(samplesASecond) {
  session = (await ask(`start?rate=${samplesASecond}&old=${session}`)).session;
  rate = samplesASecond;
}

function clear() {
  [count, wave, mel, last, events] = [0, new Columns(), new Columns(), null, []];
  $("inside").hidden = true;
  $("events").replaceChildren();
  $("stagediff").value = $("word").textContent = "–";
  $("confidence").textContent = "";
  showClasses();
  showForms();
}

function show(answer) {
  for (const window of answer.windows) {
    const values = bytes(window.log_mel), bands = facts.recipe.bands;
    for (let i = 0; i * bands < values.length; i++) mel.put(window.first + i, values.subarray(i * bands, (i + 1) * bands));
  }
  answer.events.forEach(showEvent);
  if (!answer.windows.length) return;
  last = answer;
  const [label, p] = Object.values(answer.heard)[0] ?? ["–", 0];
  $("word").textContent = label;
  $("confidence").textContent = percent(p);
  if (answer.load > 1) say(`A second of sound takes this computer ${answer.load.toFixed(1)} s. Windows skipped: ${answer.skipped}.`);
  showClasses();
  showForms();
  showStage();
}

// --- sound in ---------------------------------------------------------------------------------------------------------

async function listen(run) {
  if (!navigator.mediaDevices) throw new Error("Browsers give the microphone only to https and to this computer's own pages.");
  const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const media = await navigator.mediaDevices.getUserMedia({ audio });
  const context = new AudioContext(), queue = [];
  run.stop = () => (media.getTracks().forEach((track) => track.stop()), context.close());
  if (source !== run) return run.stop(); // something else began while the browser asked
  await context.audioWorklet.addModule("worklet.js");
  await begin(context.sampleRate);
  const tap = new AudioWorkletNode(context, "tap", { channelCount: 1, channelCountMode: "explicit" });
  context.createMediaStreamSource(media).connect(tap).connect(context.destination); // the tap's own output is silence
  const waiting = () => queue.reduce((sum, block) => sum + block.length, 0) / context.sampleRate; // seconds
  let busy = false;
  tap.port.onmessage = async ({ data }) => {
    if (source !== run) return;
    hear(data);
    queue.push(data);
    if (busy) return;
    busy = true;
    try {
      while (source === run && waiting() >= LEAST) {
        const late = waiting() > 1, answer = await feed(new Blob(queue.splice(0, MOST)), late);
        if (source === run) show(answer);
      }
    } catch (error) {
      if (source === run) await fail(error);
    }
    busy = false;
  };
  media.getTracks()[0].onended = () => source === run && fail(new Error("The microphone has gone."));
  say(`Listening to the microphone at ${rate} Hz. The first window takes ${facts.window.toFixed(2)} s.`);
}

// A file's [rate, samples]: by minirep, as everywhere; a format that it does not read here, by the browser.
async function decode(file) {
  const content = await file.arrayBuffer(), context = new AudioContext();
  try {
    const values = new Float32Array(await (await post("decode", content)).arrayBuffer());
    return [values[0], values.subarray(1), ""];
  } catch (refusal) {
    const sound = await context.decodeAudioData(content).catch(() => Promise.reject(refusal));
    const mono = new Float32Array(sound.length), channels = sound.numberOfChannels;
    for (let c = 0; c < channels; c++) sound.getChannelData(c).forEach((x, i) => (mono[i] += x / channels));
    return [sound.sampleRate, mono, ` Decoded by the browser, as minirep refused it: ${refusal.message}`];
  } finally {
    context.close();
  }
}

async function play(run, file) {
  say(`Reading ${file.name} ...`);
  const [samplesASecond, samples, note] = await decode(file);
  if (source !== run) return;
  await begin(samplesASecond);
  const aloud = $("aloud").checked && new AudioContext();
  if (aloud) {
    const buffer = aloud.createBuffer(1, samples.length, rate), node = aloud.createBufferSource();
    buffer.copyToChannel(samples, 0);
    node.buffer = buffer;
    node.connect(aloud.destination);
    node.start();
    run.stop = () => aloud.close();
  }
  say(`${file.name}: ${(samples.length / rate).toFixed(2)} s at ${rate} Hz.${note}`);
  const step = Math.max(1, Math.floor((aloud ? LEAST : facts.hop) * rate));
  for (let at = 0; at < samples.length && source === run; at += step) {
    const block = samples.slice(at, at + step);
    while (aloud && source === run && aloud.currentTime < at / rate) await new Promise(requestAnimationFrame);
    hear(block);
    const answer = await feed(block);
    if (source === run) show(answer);
  }
  if (source === run) await stop();
}

// One thing at a time: whatever delivers sound is stopped before the next begins.
async function stop() {
  await release();
  if (session) show(await ask(`close?session=${session}&compare=${+$("compare").checked}`));
}

async function release() {
  const old = source;
  source = null;
  level = -Infinity;
  buttons();
  await old?.stop();
}

async function start(what, ...given) {
  const run = { stop() {} };
  if (source) await stop().catch(() => {});
  source = run;
  buttons();
  clear(); // so that nothing old is left if the new sound is refused
  $("error").hidden = true;
  await what(run, ...given).catch((error) => source === run && fail(error));
}

async function fail(error) {
  const denied = error.name === "NotAllowedError" || error.name === "NotFoundError";
  $("error").textContent = denied ? "The browser gives no microphone: there is none, or it was not allowed." : error.message;
  $("error").hidden = false;
  say("");
  await release();
}

function hear(samples) {
  let peak = 0;
  for (const x of samples) {
    const i = Math.floor(count++ / (rate * step())), column = wave.at(i) ?? wave.put(i, [x, x]);
    if (x < column[0]) column[0] = x;
    if (x > column[1]) column[1] = x;
    peak = Math.max(peak, x, -x);
  }
  level = Math.max(20 * Math.log10(peak), level - 1.5); // it falls slowly enough to be read
}

// --- what is shown ----------------------------------------------------------------------------------------------------

const step = () => facts.recipe.hop / facts.recipe.rate; // seconds from one frame to the next, and of one column
const percent = (p) => `${(100 * p).toFixed(1)} %`;
const say = (text) => ($("status").textContent = text);
const buttons = () => ($("listen").disabled = !($("stop").disabled = !source));

// The last columns of a picture that grows to the right: column i begins at i * step() seconds.
class Columns {
  values = [];
  first = 0;

  at = (i) => this.values[i - this.first];
  get end() {
    return this.first + this.values.length;
  }

  put(i, column) {
    while (this.end < i) this.values.push(column.map(() => 0)); // windows that were skipped
    this.values[i - this.first] = column;
    while (this.values.length * step() > span + 1) this.values.shift(), this.first++;
    return column;
  }
}

function element(tag, content = "", classes = "") {
  return Object.assign(document.createElement(tag), { textContent: content, className: classes });
}

// An event comes twice: when it starts, without an end, and when it has ended.
function showEvent(event) {
  const when = `${event.start.toFixed(2)} – ${event.end?.toFixed(2) ?? "..."} s, ${percent(event.confidence)}`;
  event.line = element("li");
  event.line.append(element("b", event.label), element("span", when));
  const begun = events.findIndex((e) => e.end === null && e.head === event.head);
  if (event.end !== null && begun >= 0) events.splice(begun, 1)[0].line.remove();
  if (events.push(event) > EVENTS) events.shift().line.remove();
  $("events").prepend(event.line);
}

// [label, probability, the other form's] of the classes of the head chosen, the most probable ones of many.
function classes() {
  const head = $("head").value, p = last?.windows.at(-1).probabilities[head], q = last?.other?.[head];
  const rows = facts.labels[head].map((label, i) => [label, p?.[i] ?? 0, q?.[i]]);
  return rows.length > BARS ? rows.sort((a, b) => b[1] - a[1]).slice(0, BARS) : rows;
}

function showClasses() {
  const rows = classes(), best = Math.max(...rows.map((row) => row[1]));
  $("classes").replaceChildren(...rows.map(([label, p]) => {
    const line = element("li", "", last && p === best ? "best" : ""), bar = element("span", "", "bar"), fill = element("i");
    fill.style.width = `${100 * p}%`;
    bar.append(fill);
    line.append(element("span", label, "name"), bar, element("span", last ? percent(p) : "–", "value"));
    line.title = label;
    return line;
  }));
}

function showForms() {
  const rows = classes().sort((a, b) => b[1] - a[1]).slice(0, 3);
  $("forms").replaceChildren(...rows.map(([label, p, q]) => {
    const row = element("tr");
    row.append(element("td", label), element("td", last ? p.toFixed(7) : "–"), element("td", q?.toFixed(7) ?? "–"));
    return row;
  }));
  $("difference").value = last?.difference?.toExponential(1) ?? "–";
}

async function showStage() {
  if (stage === null || last === null || asking) return;
  const before = [stage, wanted, last], channel = wanted === null ? "" : `&channel=${wanted}`;
  asking = true;
  try {
    const found = await ask(`stage?session=${session}&name=${stage}${channel}`);
    if (stage === before[0] && last !== null) drawStage(found);
    before[1] ??= found.channel;
  } catch (error) {
    $("error").textContent = error.message;
    $("error").hidden = false;
  }
  asking = false;
  if ([stage, wanted ?? before[1], last].some((now, i) => now !== before[i])) showStage(); // meanwhile something changed
}

function drawStage(found) {
  const [frames, bands, channels] = found.shape;
  $("inside").hidden = false;
  $("channel").max = channels - 1;
  $("channel").value = wanted ?? found.channel;
  $("channelno").value = `${found.channel} of 0 – ${channels - 1}`;
  found.images.forEach((image, i) => {
    const [ink, width, height] = paper($(`map${i}`)), name = facts.networks[i];
    ink.imageSmoothingEnabled = false;
    ink.drawImage(picture(bytes(image), frames, bands), 0, 0, width, height);
    $(`cap${i}`).textContent = `${name}: ${frames} × ${bands} values from ${found.low.toPrecision(3)} (dark) to ` +
      `${found.high.toPrecision(3)} (bright). Time runs to the right, frequency upwards.`;
    $(`map${i}`).ariaLabel = `Activations of ${stage}, channel ${found.channel}, ${name}`;
  });
  $("stagediff").value = `${found.difference.toExponential(1)} (largest value ${found.largest.toPrecision(3)})`;
}

function chooseStage(name) {
  [stage, wanted] = [name, null];
  const { shape, field } = facts.stages[name], { bands } = facts.recipe, window = facts.window.toFixed(2);
  const seconds = Math.min(field[0] * step(), facts.window).toFixed(2), reached = Math.min(field[1], bands);
  $("stagenote").replaceChildren(
    element("b", "Activations"), ` of ${name}: ${shape.join(" × ")} values (time × frequency × channels). The `, element("b", "receptive field"),
    ` of one value is ${field[0]} × ${field[1]} (frames × bands): at most ${seconds} s of the window's ${window} s, and ${reached} of its ${bands} bands.`,
  );
  showStage();
}

// --- drawing ----------------------------------------------------------------------------------------------------------

// A canvas as sharp as the screen: [its context, width, height], in CSS pixels.
function paper(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, ink = canvas.getContext("2d");
  [canvas.width, canvas.height] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)]; // and clear it
  ink.scale(devicePixelRatio, devicePixelRatio);
  ink.font = "14px system-ui, sans-serif";
  return [ink, width, height];
}

// Columns of bytes, one after the other, each from the lowest band up, as a picture.
function picture(values, columns, bands) {
  const canvas = new OffscreenCanvas(columns, bands), ink = canvas.getContext("2d"), image = ink.createImageData(columns, bands);
  values.forEach((value, i) => image.data.set(COLOURS[value], 4 * ((bands - 1 - (i % bands)) * columns + Math.floor(i / bands))));
  ink.putImageData(image, 0, 0);
  return canvas;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

// The axes of a picture: [its context, its height, the first second shown, seconds to pixels]. What follows is clipped to
// it. With reduced motion it does not scroll: it fills from left to right, then begins anew.
function axes(canvas, scale) {
  const [ink, width, height] = paper(canvas), room = height - 22, now = count / rate;
  const from = calm.matches ? Math.floor(now / span) * span : Math.max(0, now - span);
  const x = (t) => GUTTER + ((t - from) / span) * (width - GUTTER);
  [ink.fillStyle, ink.textAlign, ink.textBaseline] = [colour("--soft"), "right", "middle"];
  for (const [name, share] of scale) ink.fillText(name, GUTTER - 8, Math.min(Math.max(share * room, 8), room - 8));
  ink.textAlign = "center";
  for (let t = Math.ceil(from); t < from + span; t++) if (x(t) > GUTTER + 4) ink.fillText(`${t} s`, x(t), height - 9);
  ink.beginPath();
  ink.rect(GUTTER, 0, width - GUTTER, room);
  ink.clip();
  ink.textAlign = "left";
  return [ink, room, from, x];
}

function drawWave() {
  const [ink, room, from, x] = axes($("wave"), [[1, 0], [0, 0.5], [-1, 1]]), y = (v) => ((1 - v) * room) / 2;
  for (const event of events.filter((e) => (e.end ?? Infinity) > from)) {
    ink.globalAlpha = 0.25;
    ink.fillStyle = colour("--event");
    ink.fillRect(x(event.start), 0, x(event.end ?? count / rate) - x(event.start), room);
    ink.globalAlpha = 1;
    ink.fillStyle = colour("--ink");
    ink.fillText(event.label, Math.max(x(event.start), GUTTER) + 4, 10);
  }
  ink.fillStyle = colour("--wave");
  wave.values.forEach(([low, high], i) => {
    const at = x((wave.first + i) * step());
    ink.fillRect(at, y(high) - 0.5, x(step()) - x(0) + 0.3, y(low) - y(high) + 1);
  });
}

function drawMel() {
  const { rate, bands } = facts.recipe, pitch = (hertz) => Math.log10(1 + hertz / 700); // the mel scale, but for a factor
  const marks = [100, 300, 1000, 3000, 10000].filter((hertz) => hertz < rate / 2).map((hertz) => {
    const band = ((bands + 1) * pitch(hertz)) / pitch(rate / 2) - 0.5;
    return [hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`, 1 - band / bands];
  });
  const [ink, room, , x] = axes($("mel"), marks), columns = mel.values.length;
  ink.fillStyle = colour("--line");
  ink.fillRect(0, 0, $("mel").clientWidth, room);
  if (columns) {
    const values = new Uint8Array(columns * bands);
    mel.values.forEach((column, i) => values.set(column, i * bands));
    ink.drawImage(picture(values, columns, bands), x(mel.first * step()), 0, x(columns * step()) - x(0), room);
  }
  if (last === null) return;
  for (const [style, thick] of [["#000000", 5], ["#ffffff", 2]]) {
    [ink.strokeStyle, ink.lineWidth] = [style, thick];
    ink.strokeRect(x(last.windows.at(-1).start) + 2, 2, x(facts.window) - x(0) - 4, room - 4);
  }
}

function drawLevel() {
  const shown = Math.max(-60, Math.min(0, level));
  $("fill").style.width = $("peak").style.left = `${(100 * (shown + 60)) / 60}%`;
  $("meter").classList.toggle("clipped", level >= -0.01);
  $("meter").ariaValueNow = Math.round(shown);
  $("decibel").textContent = level > -100 ? `${level.toFixed(0)} dBFS` : "–";
}

function draw() {
  drawLevel();
  drawWave();
  drawMel();
  if (source) requestAnimationFrame(draw);
  else setTimeout(() => requestAnimationFrame(draw), 250);
}

// --- the page ---------------------------------------------------------------------------------------------------------

async function main() {
  facts = await (await fetch("model")).json();
  span = Math.max(6, Math.ceil(2 * facts.window));
  for (const head of Object.keys(facts.labels)) $("head").append(new Option(head, head));
  $("head").hidden = $("head").options.length < 2;
  for (const name of Object.keys(facts.stages)) {
    const label = element("label"), radio = element("input");
    Object.assign(radio, { type: "radio", name: "stage", value: name, onchange: () => chooseStage(name) });
    label.append(radio, name, element("small", facts.stages[name].shape.join(" × ")));
    $("stages").append(label);
  }
  facts.networks.forEach((name, i) => ($(`form${i}`).textContent = name));
  $("formsnote").textContent = facts.branches
    ? "Merging (structural reparameterization) replaces the branches of each layer by one kernel. Both networks get the same window. They differ by rounding error alone."
    : "This model is stored merged. Its branches are gone, so there is no unmerged network to compare with. Instead, the same weights run in float64: the difference is the rounding error of float32. A model with branches is compared with its unmerged form.";
  const { recipe, window, hop, backend } = facts;
  $("model").textContent = `Recipe ${recipe.name}: ${recipe.rate} Hz, windows of ${window.toFixed(2)} s every ${hop} s. Backend ${backend}.`;
  $("listen").onclick = () => start(listen);
  $("stop").onclick = () => stop().then(() => say("Stopped. The last window can still be looked at."), fail);
  $("open").onclick = () => $("file").click();
  $("file").onchange = () => {
    if ($("file").files.length) start(play, $("file").files[0]);
    setTimeout(() => ($("file").value = "")); // so that the same file can be chosen again
  };
  $("channel").oninput = () => ((wanted = Number($("channel").value)), showStage());
  $("head").onchange = () => (showClasses(), showForms());
  addEventListener("dragover", (e) => (e.preventDefault(), document.body.classList.add("dragged")));
  addEventListener("dragleave", (e) => e.relatedTarget ?? document.body.classList.remove("dragged"));
  addEventListener("drop", (e) => {
    e.preventDefault();
    document.body.classList.remove("dragged");
    if (e.dataTransfer.files.length) start(play, e.dataTransfer.files[0]);
  });
  addEventListener("pagehide", () => session && navigator.sendBeacon(`leave?session=${session}`));
  clear();
  draw();
}

main().catch(fail);
