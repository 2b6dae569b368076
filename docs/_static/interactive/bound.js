// One tap of a merged kernel is moved: the difference that this makes, beside the bound on what rounding can make.
"use strict";

interactive.figure("bound", (data, ui) => {
  const half = (data.precisions.float32.length - 1) / 2;
  const size = ui.slider("Move a tap by", { min: 0, max: data.steps.length - 1, value: 17, show: (i) => interactive.short(data.steps[i]) });
  const tap = ui.slider("Tap", { min: -half, max: half, value: 0 });
  const precision = ui.choice("Computed in", Object.keys(data.precisions));
  const draw = ui.chart(280, (chart) => {
    const row = data.precisions[precision.value][half + Number(tap.value)], log = (v) => Math.log10(Math.max(v, 1e-17));
    chart.left = 62;
    chart.scale(-12, -0.9, -17, 0);
    const ticks = (values) => values.map((v) => [v, `1e${v}`]);
    const points = row.map(([apart, bound], i) => [log(data.steps[i]), log(apart), log(bound)]).slice(1);
    chart.line(points.map(([x, , bound]) => [x, bound]), "b");
    chart.line(points.map(([x, apart]) => [x, apart]), "a");
    const [apart, bound] = row[size.value], x = Math.max(log(data.steps[size.value]), -12);
    chart.line([[x, log(apart)], [x, log(bound)]], "faint");
    chart.dot(x, log(bound), "b", 4);
    chart.dot(x, log(apart), "a", 5);
    chart.text(chart.x(-11.8), chart.y(log(row[1][1])) - 7, "bound", { class: "of-b" });
    chart.text(chart.x(-11.8), chart.y(log(row[1][0])) - 7, "difference", { class: "of-a" });
    chart.axis("x", ticks([-12, -9, -6, -3]), "the tap is moved by");
    chart.axis("y", ticks([-16, -12, -8, -4, 0]), "output");
  });
  return () => {
    draw();
    const [apart, bound] = data.precisions[precision.value][half + Number(tap.value)][size.value], used = apart / bound;
    const share = used > 1 ? `${interactive.short(used)} times the bound` : `${interactive.short(100 * used)} % of the bound`;
    const verdict = used > 1
      ? "Rounding cannot explain this: verify reports a fault."
      : "Rounding can explain this much.";
    return [`The outputs differ by ${interactive.short(apart)}; the bound there is ${interactive.short(bound)}: ${share}. ${verdict}`];
  };
});
