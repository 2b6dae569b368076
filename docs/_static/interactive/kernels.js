// Three branch kernels and the identity add up to one kernel, and so do their outputs.
"use strict";

// A kernel between zeros, up to `size` taps: its centre stays.
interactive.pad = (kernel, size) => {
  const zeros = Array((size - kernel.length) / 2).fill(0);
  return [...zeros, ...kernel, ...zeros];
};

// The sum over taps at every place of a signal; beyond its ends are zeros.
interactive.filter = (signal, kernel) => signal.map((_, i) =>
  kernel.reduce((sum, w, k) => sum + w * (signal[i + k - (kernel.length - 1) / 2] ?? 0), 0));

interactive.sum = (rows) => rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0));

interactive.figure("kernels", (data, ui) => {
  const size = data.kernels[0].length, half = (size - 1) / 2;
  const strengths = data.kernels.map((kernel) =>
    ui.slider(`${kernel.length} taps, times`, { min: -2, max: 2, step: 0.1, value: 1, show: (v) => v.toFixed(1) }));
  const tap = ui.slider("Show tap", { min: -half, max: half, value: 0 });
  const identity = ui.check("add the input itself (identity)", true);
  let parts, merged, outputs, sum, direct;

  const drawKernels = ui.chart(380, (chart) => {
    const rows = [...parts, merged], tall = (chart.bottom - chart.top) / rows.length, at = half + Number(tap.value);
    const most = Math.max(1, ...rows.flat().map(Math.abs));
    chart.left = 78;
    rows.forEach((kernel, i) => {
      const centre = chart.top + (i + 0.5) * tall;
      chart.scale(-half - 0.7, half + 0.7, 0, 1);
      chart.y = (v) => centre - (v / most) * tall * 0.48;
      chart.line([[-half - 0.5, 0], [half + 0.5, 0]], "faint");
      kernel.forEach((w, k) => {
        const kind = `${i === rows.length - 1 ? "b" : "a"}${k === at ? " chosen" : ""}`;
        if (w) chart.bar(k - half - 0.36, 0, k - half + 0.36, w, kind);
        else chart.dot(k - half, 0, k === at ? "chosen" : "faint", 2);
      });
      const name = i < data.kernels.length ? `${data.kernels[i].length} taps` : i < rows.length - 1 ? "identity" : "merged";
      chart.text(8, centre + 4, `${i === rows.length - 1 ? "=" : i ? "+" : " "} ${name}`);
    });
    chart.axis("x", [-10, -5, 0, 5, 10].map((v) => [v, v]), "tap, counted from the centre");
  });
  const drawOutputs = ui.chart(190, (chart) => {
    const all = [...outputs, sum].flat(), low = Math.min(...all), high = Math.max(...all);
    chart.left = 78;
    chart.scale(0, data.signal.length - 1, low, high);
    for (const row of outputs) chart.line(row.map((v, i) => [i, v]), "faint");
    chart.line(sum.map((v, i) => [i, v]), "a");
    direct.forEach((v, i) => chart.dot(i, v, "b", 2.5));
    chart.text(8, chart.top + 16, "outputs");
    chart.axis("x", [0, 10, 20, 30, 40].map((v) => [v, v]),
      chart.width < 500 ? "line: sum of outputs; dots: merged kernel's" : "line: the sum of the outputs (grey); dots: the output of the merged kernel");
  });

  return () => {
    parts = data.kernels.map((kernel, i) => interactive.pad(kernel.map((w) => w * strengths[i].value), size));
    parts.push(interactive.pad([identity.checked ? 1 : 0], size));
    merged = interactive.sum(parts);
    outputs = parts.map((kernel) => interactive.filter(data.signal, kernel));
    [sum, direct] = [interactive.sum(outputs), interactive.filter(data.signal, merged)];
    drawKernels();
    drawOutputs();
    const at = half + Number(tap.value), terms = parts.map((kernel) => kernel[at].toFixed(3)).join(" + ").replaceAll("+ -", "− ").replace(/^-/, "−");
    const apart = Math.max(...sum.map((v, i) => Math.abs(v - direct[i])));
    return [
      `Tap ${tap.value}: ${terms} = ${merged[at].toFixed(3).replace("-", "−")}.`,
      `The sum of the outputs and the output of the merged kernel are at most ${interactive.short(apart)} apart: rounding in float64.`,
    ];
  };
});
