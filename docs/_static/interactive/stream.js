// Threshold and smoothing turn a stream's probabilities into events, by the rule of minirep.stream.EventTracker.
"use strict";

// For each window: [moment, the mean probabilities of the last `smooth` windows].
interactive.smoothed = ({ moments, probabilities }, smooth) => moments.map((_, i) => {
  const from = Math.max(0, i + 1 - smooth), count = i + 1 - from;
  const sum = probabilities[i].map((_, k) => {
    let total = 0;
    for (let j = from; j <= i; j++) total += probabilities[j][k];
    return total / count;
  });
  let moment = 0;
  for (let j = from; j <= i; j++) moment += moments[j];
  return [moment / count, sum];
});

// An event starts where a label reaches the threshold. It ends where that label falls below `release` times the
// threshold, or another label reaches the threshold.
interactive.events = (data, threshold, smooth) => {
  const events = [];
  let current = null, last = 0;
  const finish = (end) => {
    if (current) events.push({ ...current, end });
    current = null;
  };
  interactive.smoothed(data, smooth).forEach(([moment, p], i) => {
    const leader = p.indexOf(Math.max(...p)), reached = p[leader] >= threshold;
    if (current && (p[current.index] < data.release * threshold || (reached && leader !== current.index))) {
      finish(last + data.hop / 2);
    }
    if (!current && reached && !data.ignored.includes(data.labels[leader])) {
      const start = i ? Math.max(0, moment - data.hop / 2) : 0;
      current = { index: leader, label: data.labels[leader], start, confidence: p[leader] };
    }
    if (current) [last, current.confidence] = [moment, Math.max(current.confidence, p[current.index])];
  });
  finish(data.seconds);
  return events;
};

interactive.figure("stream", (data, ui) => {
  const threshold = ui.slider("Threshold", { min: 0.05, max: 1, step: 0.05, value: data.threshold, show: (v) => v.toFixed(2) });
  const smooth = ui.slider("Windows averaged", { min: 1, max: 10, value: data.smooth });
  const told = new Set(data.words.map(([, , word]) => word));
  let events;
  const draw = ui.chart(300, (chart) => {
    const level = +threshold.value, narrow = chart.width < 500;
    chart.bottom -= 52;
    chart.scale(0, data.seconds, 0, 1);
    for (const value of [0, 0.5, 1]) chart.line([[0, value], [data.seconds, value]], "faint");
    const means = interactive.smoothed(data, +smooth.value);
    data.labels.forEach((label, k) => {
      if (data.ignored.includes(label)) return;
      const hue = `stroke: hsl(${(k * 137) % 360} 55% var(--lightness))`;
      chart.line(means.map(([moment, p]) => [moment, p[k]]), "curve", hue);
    });
    chart.line([[0, level], [data.seconds, level]], "b");
    chart.line([[0, level * data.release], [data.seconds, level * data.release]], "b dashed");
    chart.axis("y", [0, 0.5, 1].map((v) => [v, v]), "probability");
    const row = (top, name, spans, kind) => {
      if (!narrow) chart.text(0, top + 13, name, { class: "small" });
      for (const [start, end, word] of spans) {
        const [x, width] = [chart.x(start), chart.x(end) - chart.x(start)];
        chart.add("rect", { x, y: top, width: Math.max(width, 2), height: 18, rx: 3, class: kind(word) });
        chart.text(x + width / 2, top + 13, word, { "text-anchor": "middle", class: narrow ? "on tiny" : "on" });
      }
    };
    const y = chart.bottom + 6;
    row(y, "spoken", data.words, () => "box");
    row(y + 24, "events", events.map((e) => [e.start, e.end, e.label]), (word) => (told.has(word) ? "box a" : "box b"));
    chart.bottom += 52;
    chart.axis("x", Array.from({ length: Math.floor(data.seconds / 2) + 1 }, (_, i) => [2 * i, 2 * i]), "seconds");
  });
  return () => {
    events = interactive.events(data, +threshold.value, +smooth.value);
    draw();
    const fits = (event, [start, end, word]) => event.label === word && event.start < end && event.end > start;
    const found = data.words.filter((word) => events.some((event) => fits(event, word))).length;
    const wrong = events.filter((event) => !data.words.some((word) => fits(event, word))).length;
    const latency = data.window / 2 + (smooth.value * data.hop) / 2;
    const list = events.map((e) => `${e.label} ${e.start.toFixed(2)} to ${e.end.toFixed(2)} s (${(100 * e.confidence).toFixed(0)} %)`);
    return [
      `${events.length} events: ${found} of ${data.words.length} words found, ${wrong} false alarm${wrong === 1 ? "" : "s"}. Latency: about ${latency.toFixed(2)} s.`,
      list.join(", "),
    ];
  };
});
