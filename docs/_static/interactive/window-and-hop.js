// Window length and hop against the log-mel spectrogram of a spoken word, computed as minirep.frontend computes it.
"use strict";

// The Fourier transform in place; re and im have 2^n numbers each.
interactive.fft = (re, im) => {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j], im[i], im[j]] = [re[j], re[i], im[j], im[i]];
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const c = Math.cos((-2 * Math.PI * k) / size), s = Math.sin((-2 * Math.PI * k) / size);
      for (let a = k; a < n; a += size) {
        const b = a + half, x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        [re[b], im[b], re[a], im[a]] = [re[a] - x, im[a] - y, re[a] + x, im[a] + y];
      }
    }
  }
};

interactive.toMel = (hertz) => 2595 * Math.log10(1 + hertz / 700);

// Triangular bands on the mel scale: for each, [first bin, weights].
interactive.melBands = (rate, size, count) => {
  const top = interactive.toMel(rate / 2);
  const points = Array.from({ length: count + 2 }, (_, i) => 700 * (10 ** ((top * i) / (count + 1) / 2595) - 1));
  return Array.from({ length: count }, (_, b) => {
    const [low, centre, high] = points.slice(b, b + 3), step = rate / size;
    const first = Math.ceil(low / step), weights = [];
    for (let bin = first; bin * step < high; bin++) {
      weights.push(Math.max(0, Math.min((bin * step - low) / (centre - low), (high - bin * step) / (high - centre))));
    }
    return [first, weights];
  });
};

// Rows of `mels` logarithms, one row a frame; window and hop in samples. Frame t is centred on sample t * hop.
interactive.logMel = (samples, { rate, fft, mels, floor }, window, hop) => {
  const frames = 1 + Math.floor(samples.length / hop), bands = interactive.melBands(rate, fft, mels);
  const before = fft / 2 - Math.floor((fft - window) / 2), rows = [];
  const hann = Float64Array.from({ length: window }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / window));
  for (let t = 0; t < frames; t++) {
    const re = new Float64Array(fft), im = new Float64Array(fft);
    for (let i = 0; i < window; i++) re[i] = hann[i] * (samples[t * hop - before + i] ?? 0); // silence beyond the ends
    interactive.fft(re, im);
    rows.push(bands.map(([first, weights]) => {
      let sum = 0;
      weights.forEach((w, i) => (sum += w * Math.hypot(re[first + i], im[first + i])));
      return Math.log(sum + floor);
    }));
  }
  return rows;
};

interactive.samplesOf = (base64) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)), view = new DataView(bytes.buffer);
  return Float64Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true) / 32767);
};

// The rows as a picture, low bands at the bottom: a data URL.
interactive.picture = (rows) => {
  const shades = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]]; // from dark to bright
  const values = rows.flat(), low = Math.min(...values), high = Math.max(...values), bands = rows[0].length;
  const canvas = element("canvas", { width: rows.length, height: bands }), context = canvas.getContext("2d");
  const image = context.createImageData(rows.length, bands);
  rows.forEach((row, t) => row.forEach((value, band) => {
    const at = ((value - low) / (high - low || 1)) * (shades.length - 1), i = Math.min(Math.floor(at), shades.length - 2);
    const colour = shades[i].map((c, k) => c + (at - i) * (shades[i + 1][k] - c));
    image.data.set([...colour, 255], 4 * ((bands - 1 - band) * rows.length + t));
  }));
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
};

interactive.figure("window-and-hop", (data, ui) => {
  const samples = interactive.samplesOf(data.samples), perMs = data.rate / 1000, ms = (v) => `${v} ms`;
  const window = ui.slider("Window", { min: 2, max: 64, value: 20, show: ms });
  const hop = ui.slider("Hop", { min: 2, max: 32, value: 10, show: ms });
  let rows;
  const draw = ui.chart(300, (chart) => {
    const seconds = samples.length / data.rate, top = interactive.toMel(data.rate / 2);
    chart.scale(0, seconds, 0, top);
    const { left, top: y, right, bottom } = chart;
    chart.add("image", {
      href: interactive.picture(rows), x: left, y, width: right - left, height: bottom - y,
      preserveAspectRatio: "none", class: "pixels",
    });
    chart.axis("x", [0, 0.2, 0.4, 0.6, 0.8].map((v) => [v, v]), "seconds");
    chart.axis("y", [0, 0.5, 1, 2, 4, 8].map((v) => [interactive.toMel(1000 * v), v]), "kHz, on the mel scale");
  });
  return () => {
    const [w, h] = [window.value * perMs, hop.value * perMs];
    rows = interactive.logMel(samples, data, w, h);
    draw();
    const apart = Math.round(2000 / window.value);
    const seen = h > w ? `${h - w} samples between two windows are in none` : `each sample is in about ${interactive.short(w / h)} of them`;
    return [
      `${rows.length} frames of ${data.mels} bands. Tones less than about ${apart} Hz apart merge; so do moments less than ${window.value} ms apart.`,
      `A window has ${w} samples, and the next one starts ${h} samples later: ${seen}.`,
    ];
  };
});
