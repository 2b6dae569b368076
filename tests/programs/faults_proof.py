"""Faults for `mutants.py` in what proves: bounds, verify, double-doubles, and in streams, batches and long kernels.

`FAULTS` is {name: (file, function, expression, what replaces it)}; `TESTS` names the test files that catch the faults
of a file.
"""

TESTS = {
    "proof/bounds.py": ("test_bounds.py",),
    "proof/verify.py": ("test_verify_merged.py", "test_verify_faults.py", "test_verify.py"),
    "cli/verify.py": ("test_verify_merged.py", "test_verify_faults.py"),
    "exact.py": ("test_rounding.py", "test_verify_merged.py"),
    "tree.py": ("test_rounding.py",),
    "stream.py": ("test_stream_laws.py",),
    "classify.py": ("test_stream_laws.py", "test_batches.py"),
    "ops.py": ("test_batches.py",),
    "network.py": ("test_batches.py",),
}

# (file, function or class.method): {name of the fault: (an expression, what replaces it)}
PLACES = {
    ("proof/bounds.py", "gamma"): {
        "bounds: gamma without its denominator": ("error / (1 - error)", "error"),
        "bounds: gamma: unit roundoff twice as large": ("float(info.eps) / 2", "float(info.eps)"),
        "bounds: gamma: half the unit roundoff": ("float(info.eps) / 2", "float(info.eps) / 4"),
        "bounds: gamma: steepness ignored": (" + 4 * float(info.tiny) * steepness", ""),
    },
    ("proof/bounds.py", "_summand"): {
        "bounds: summand: value error left out of sizes": (
            "largest = np.abs(value) + known.value_error",
            "largest = np.abs(value)",
        ),
        "bounds: summand: errors swapped": (
            "[largest, known.value_error, known.error]",
            "[largest, known.error, known.value_error]",
        ),
        "bounds: summand: constants left out": ("sizes[:n] += constant", "sizes[:n] += 0 * constant"),
        "bounds: summand: constants in the errors too": ("sizes[:n] += constant", "sizes += constant"),
        "bounds: summand: constants not counted": (" + PER_CONSTANTS", ""),
        "bounds: summand: taps not counted": ("weight[..., 0].size", "1"),
        "bounds: summand: output channels counted": ("weight[..., 0].size", "weight.size"),
        "bounds: summand: ROUNDINGS left out": ("terms + ROUNDINGS", "terms"),
        "bounds: summand: only the last conv counted": ("roundings += terms", "roundings = terms"),
        "bounds: summand: relu in the middle": ("replace(conv, relu=False)", "conv"),
        "bounds: summand: reach without terms": ("terms * growth", "growth"),
        "bounds: summand: reach ignores constants": (" + constant.max()", ""),
        "bounds: summand: reach not carried": ("reach * (", "1.0 * ("),
        "bounds: summand: variance does not overflow": (", variance), steepness", ", 0.0), steepness"),
        "bounds: summand: reach ignores the input": ("1 + np.max(largest + known.error), 0", "1, 0"),
        "bounds: summand: steepness of last only": ("steepness + steep", "steep"),
    },
    ("proof/bounds.py", "absolute"): {
        "bounds: absolute: scale's sign kept": ("np.abs(conv.bn.scale)", "conv.bn.scale"),
        "bounds: absolute: eps left out": ("conv.bn.variance + conv.bn.eps", "conv.bn.variance"),
        "bounds: absolute: no root": ("/ np.sqrt(", "/ ("),
        "bounds: absolute: mean not counted": ("bias + np.abs(conv.bn.mean)", "bias"),
        "bounds: absolute: shift not counted": (" + np.abs(conv.bn.shift), scale", ", scale"),
        "bounds: absolute: bias's sign kept": ("np.abs(conv.bias)", "conv.bias"),
        "bounds: absolute: weight not scaled": ("np.abs(conv.weight) * scale", "np.abs(conv.weight)"),
        "bounds: absolute: weight's sign kept": ("return np.abs(conv.weight), bias", "return conv.weight, bias"),
    },
    ("proof/bounds.py", "_extremes"): {
        "bounds: extremes: bias ignored": ("(conv.weight, conv.bias,", "(conv.weight,"),
        "bounds: extremes: mean ignored": (", conv.bn and conv.bn.mean)", ")"),
        "bounds: extremes: scale ignored": (" * (1 + absolute(conv)[2].max())", ""),
        "bounds: extremes: largest variance for the smallest": ("1 / variance.min()", "1 / variance.max()"),
    },
    ("proof/bounds.py", "identity"): {
        "bounds: identity not counted": ("sizes, 1, 1 +", "sizes, 0, 1 +"),
        "bounds: identity: value error left out": ("np.abs(known.value) + known.value_error", "np.abs(known.value)"),
    },
    ("proof/bounds.py", "add"): {
        "bounds: add: roundings of the largest part": (
            "sum(part.roundings for part in parts)",
            "max(part.roundings for part in parts)",
        ),
        "bounds: add: carried error once more": ("(terms + carried) + carried", "(terms + carried) + 2 * carried"),
        "bounds: add: carried error lost": ("(terms + carried) + carried", "(terms + carried)"),
        "bounds: add: no rounding of the carried error": ("(terms + carried) + carried", "terms + carried"),
        "bounds: add: underflow left out": (" + 4 * reach * float(info.tiny)", ""),
        "bounds: add: underflow a hundred times": ("4 * reach", "400 * reach"),
        "bounds: add: overflow ignored": ("if not reach * SLACK < info.max", "if False"),
        "bounds: add: reach of the largest part": (
            "sum(part.reach for part in parts)",
            "max(part.reach for part in parts)",
        ),
        "bounds: add: knife edge ignored": ("if relu and np.isfinite(own).all()", "if False"),
        "bounds: add: off where it may be on": ("np.maximum(value + own + e, 0)", "np.maximum(value, 0)"),
        "bounds: add: off where rounding may turn it on": ("value + own + e", "value + own"),
        "bounds: add: no relu on the value": ("ops.relu(value) if relu", "value if relu"),
    },
    ("proof/bounds.py", "through_stem"): {
        "bounds: stem: axes of the padding": ("(kt // 2, kf // 2)", "(kf // 2, kt // 2)"),
        "bounds: stem: every second place for the largest": ("ops.max_pool)", "lambda a: a[:, ::2, ::2])"),
    },
    ("proof/bounds.py", "through_pointwise"): {
        "bounds: pointwise: strides swapped": (":: stride[0], :: stride[1]", ":: stride[1], :: stride[0]"),
    },
    ("proof/bounds.py", "through_depthwise"): {
        "bounds: depthwise: identity not counted": (" + [identity(known)] * layer.identity", ""),
        "bounds: depthwise: axes swapped": ('{"time": 1, "frequency": 2}', '{"time": 2, "frequency": 1}'),
        "bounds: depthwise: one branch": ("for branch in layer.branches", "for branch in layer.branches[:1]"),
    },
    ("proof/bounds.py", "_activated"): {
        "bounds: activated: relu ignored": ("if conv.relu else part", "if False else part"),
        "bounds: activated: without its rounding": ("relu=True)", "relu=False)"),
    },
    ("proof/bounds.py", "through_expand_project"): {
        "bounds: expand_project: collapse never": ("conv.relu and i", "i"),
        "bounds: expand_project: relu ignored": ("if conv.relu and", "if False and"),
        "bounds: expand_project: residual left out": ("ops.matmul), residual]", "ops.matmul)]"),
    },
    ("proof/bounds.py", "through_block"): {
        "bounds: block: entry's relu": ("node.entry.relu", "True"),
        "bounds: block: layers from the entry": ("through_depthwise(y, layer)", "through_depthwise(entered, layer)"),
        "bounds: block: shortcut's stride": (
            "through_pointwise(known, node.shortcut, node.stride)",
            "through_pointwise(known, node.shortcut, node.stride[::-1])",
        ),
        "bounds: block: shortcut's relu": (
            "_activated(known, node.shortcut, through_pointwise(known, node.shortcut, node.stride))",
            "through_pointwise(known, node.shortcut, node.stride)",
        ),
        "bounds: block: paths' sum not rounded": ("ends[0] if len(ends) == 1 else", "ends[0] if True else"),
    },
    ("proof/bounds.py", "through_head"): {
        "bounds: head: pooling not counted": ("part.roundings + window[0] * window[1]", "part.roundings"),
        "bounds: head: sides of the window": (
            "min(pool[0], known.value.shape[1]), min(pool[1], known.value.shape[2])",
            "min(pool[1], known.value.shape[1]), min(pool[0], known.value.shape[2])",
        ),
        "bounds: head: bias not counted": ("Conv(linear.weight, linear.bias)", "Conv(linear.weight)"),
    },
    ("proof/bounds.py", "through_stages"): {
        "bounds: stages: error starts anew": (
            "known = through_block(known, node)",
            "known = through_block(start(known.value, dtype), node)",
        ),
    },
    ("proof/bounds.py", "probabilities"): {
        "bounds: probabilities: whole error": ("known.error.max(-1) / 2", "known.error.max(-1)"),
        "bounds: probabilities: least error": ("known.error.max(-1) / 2", "known.error.min(-1) / 2"),
        "bounds: probabilities: no exponentials": ("t * f + 70", "t * f + 6"),
        "bounds: probabilities: classes not counted": ("classes + t * f + 70", "t * f + 70"),
        "bounds: probabilities: positions not counted": ("gamma(classes + t * f + 70", "gamma(classes + 70"),
        "bounds: probabilities: spread's rounding": (" * np.exp(gamma(2, known.dtype) * spread)", ""),
        "bounds: probabilities: spread without errors": (" + 2 * (known.value_error + known.error).max(-1)", ""),
        "bounds: probabilities: worst position only": (
            "per_position.mean(axis=(1, 2))",
            "per_position.max(axis=(1, 2))",
        ),
        "bounds: probabilities: first position only": ("per_position.mean(axis=(1, 2))", "per_position[:, 0, 0]"),
        "bounds: probabilities: infinite error": ("np.ones((n, 1))", "np.zeros((n, 1))"),
        "bounds: probabilities: more than one": ("+ tiny, 1.0)", "+ tiny, 9.0)"),
    },
    ("proof/bounds.py", "_weights"): {
        "bounds: weights: terms not counted": ("gamma(n * terms + folded", "gamma(n + folded"),
        "bounds: weights: constants as products": ("for n in (1, PER_CONSTANTS)", "for n in (1, 1)"),
        "bounds: weights: folds not counted": (" + folded * ROUNDINGS", ""),
        "bounds: weights: one fold": ("folded * ROUNDINGS", "ROUNDINGS"),
        "bounds: weights: underflow left out": ("tiny = 4 * reach * float(info.tiny)", "tiny = 0.0"),
        "bounds: weights: overflow ignored": (" if max(reach, *variances) * SLACK < info.max else np.inf", ""),
        "bounds: weights: steepness ignored": ("dtype, sum(steep))", "dtype)"),
        "bounds: weights: growth of the largest only": ("(prod if folded > 1 else max)(growths)", "max(growths)"),
    },
    ("proof/bounds.py", "merged_weights"): {
        "bounds: merged: identity not counted": ("len(convs) + stored.identity", "len(convs)"),
        "bounds: merged: collapse counts the inputs": ("c.weight.shape[1] for c", "c.weight.shape[0] for c"),
        "bounds: merged: heads may differ": ("map_arrays(sizes.heads, np.zeros_like)", "sizes.heads"),
    },
    ("proof/bounds.py", "merged_branches"): {
        "bounds: merged: a branch too many": ("len(layer.branches))", "len(layer.branches) + 1)"),
    },
    ("proof/bounds.py", "_collapsed"): {
        "bounds: merged: collapse where there is none": ("if chains[-1] and chains[-1][-1].relu", "if False"),
        "bounds: merged: never a collapse": ("if chains[-1] and chains[-1][-1].relu", "if chains[-1]"),
    },
    ("proof/verify.py", "difference"): {
        "verify: difference: signed": ("np.abs(a.astype(np.float64) - b)", "(a.astype(np.float64) - b)"),
        "verify: difference: infinite bounds promise something": (
            "np.isfinite(apart) & np.isfinite(bound)",
            "np.isfinite(apart)",
        ),
        "verify: difference: NaN passes": ("np.isfinite(apart) & np.isfinite(bound)", "np.isfinite(bound)"),
        "verify: difference: shapes are broadcast": ("if a.shape != b.shape:", "if False:"),
        "verify: difference: place of the largest difference": (
            "np.unravel_index(np.argmax(used), used.shape))",
            "np.unravel_index(np.argmax(apart), used.shape))",
        ),
    },
    ("proof/verify.py", "Difference.within"): {
        "verify: within: up to twice the bound": ("self.used <= 1", "self.used <= 2"),
    },
    ("proof/verify.py", "probe"): {
        "verify: probe: ten times as large no more": ("[1.0, 10.0, 100.0]", "[0.0, 0.0, 0.0]"),
    },
    ("proof/verify.py", "parts"): {
        "verify: parts: no shortcut": ('("entry", "shortcut")', '("entry",)'),
        "verify: parts: stride of the stored form": (
            "ops.pointwise(x, getattr(b, name), b.stride)",
            "ops.pointwise(x, getattr(b, name), block.stride)",
        ),
        "verify: parts: the first layer only": (
            "for j, layer in enumerate(path)",
            "for j, layer in enumerate(path[:1])",
        ),
        "verify: parts: the first path only": ("enumerate(block.paths)", "enumerate(block.paths[:1])"),
        "verify: parts: axes all along time": (
            'if layer.axis == "time" else (3, length, c)',
            "if True else (3, length, c)",
        ),
    },
    ("proof/verify.py", "unchanged"): {
        "verify: unchanged: arrays alone": ("describe(old) == describe(new) and ", "olds.keys() == news.keys() and "),
        "verify: unchanged: fields alone": (" and all(a is news[name] for name, a in olds.items())", ""),
    },
    ("proof/verify.py", "check_steps"): {
        "verify: steps: a hundredth of the bound": ("2 * part.bound", "0.01 * part.bound"),
        "verify: steps: a hundred thousand times the bound": ("2 * part.bound", "2e5 * part.bound"),
        "verify: steps: not all at once": (', (forms[0], ("fuse", fused))]', "]"),
        "verify: steps: only all at once": ("[*pairwise(forms), ", "["),
    },
    ("proof/verify.py", "check_block"): {
        "verify: block: each step on the stored form": ("step(forms[-1][1])", "step(block)"),
    },
    ("proof/verify.py", "check_stem"): {
        "verify: stem: fused stem not looked at": (
            "reparam.fold(stem))], fused)",
            "reparam.fold(stem))], reparam.fold(stem))",
        ),
    },
    ("proof/verify.py", "check_head"): {
        "verify: head: pool of the stored form": (
            "ops.logits(x, n.pool, n.heads[head])",
            "ops.logits(x, network.pool, n.heads[head])",
        ),
    },
    ("proof/verify.py", "check_network"): {
        "verify: head: not looked at": ("() if merged else check_head(network, fused, head)", "()"),
        "verify: network: merged blocks against themselves": ("other = fused.blocks[name]", "other = block"),
    },
    ("proof/verify.py", "Row.outside"): {
        "verify: row: every wrong step named": ("found.setdefault(s.part,", "found.setdefault(s.part + s.step,"),
        "verify: row: steps do not count": ("if not s.difference.within", "if False"),
        "verify: row: the whole does not count": ('["as a whole"] * bool(whole)', "[]"),
        "verify: row: rounding does not count": ("(self.fused, self.rounding)", "(self.fused,)"),
    },
    ("proof/verify.py", "check_probabilities"): {
        "verify: probabilities: logits' own error lost": (
            "error=logits.error + logits.value_error",
            "error=0 * logits.error + 9",
        ),
    },
    ("proof/verify.py", "check_backend"): {
        "verify: backend: each part on the exact input": ("known = bounds.start(y, network.dtype)", "pass"),
        "verify: backend: heads not looked at": ("network.heads.items()", "()"),
        "verify: backend: parts not looked at": ("rows.append(check_row(name, known, y))", "pass"),
    },
    ("proof/verify.py", "check_backends"): {
        "verify: backends: stored form not run": ("{} if is_fused(network) else", "{} if True else"),
    },
    ("proof/verify.py", "Report.outside"): {
        "verify: backends: do not decide": ("(self.rows | self.backends)", "(self.rows)"),
        "verify: merged: does not decide": ("(self.given.outside if self.given else [])", "[]"),
    },
    ("proof/verify.py", "check_stored"): {
        "verify: stored: biases not compared": ('("weight", "bias"),', '("weight",),'),
        "verify: stored: merged in the file's precision": (
            "map_arrays(layers[path], lambda a: a.astype(np.float64))",
            "map_arrays(layers[path], lambda a: a.astype(np.float16))",
        ),
        "verify: stored: ten times the bound": ("rounded + own)", "10 * rounded + own)"),
    },
    ("proof/verify.py", "describe"): {
        "verify: describe: types of arrays not told": ('f"{node.dtype} {node.shape}"', 'f"{node.shape}"'),
        "verify: describe: shapes not told": ('f"{node.dtype} {node.shape}"', 'f"{node.dtype}"'),
        "verify: describe: order of the heads": ("map(str, node)", "sorted(map(str, node))"),
        "verify: describe: number of parts": ('f"{len(node)} parts"', '"parts"'),
    },
    ("proof/verify.py", "differing"): {
        "verify: differing: everything below too": (" if n in above]", "]"),
    },
    ("proof/verify.py", "check_merged"): {
        "verify: merged: labels not compared": (
            '{"labels": merged.labels, "recipe"',
            '{"labels": model.labels, "recipe"',
        ),
        "verify: merged: recipe not compared": ('"recipe": merged.recipe}', '"recipe": model.recipe}'),
        "verify: merged: always half": ("half = all(", "half = True or all("),
        "verify: merged: never half": ("half = all(", "half = False and all("),
        "verify: merged: rounding twice": ("rounded[name] + own[name]", "2 * rounded[name] + own[name]"),
        "verify: merged: rounding left out": ("rounded[name] + own[name]", "own[name]"),
        "verify: merged: exact against the unrounded": ("== nearest[name]", "== expected"),
        "verify: merged: exact counts arrays": (
            "exact += int((arrays[name] == nearest[name]).sum())",
            "exact += arrays[name].size",
        ),
        "verify: merged: blocks of half files": ("if fields or half else", "if fields else"),
        "verify: merged: blocks not run": ("[] if fields or half else check_forms(network, theirs, log_mels)", "[]"),
    },
    ("proof/verify.py", "Merged.outside"): {
        "verify: merged: weights do not decide": ("self.fields + weights or", "self.fields or"),
        "verify: merged: fields do not decide": ("self.fields + weights", "weights"),
    },
    ("proof/verify.py", "at"): {
        "verify: at: taps and channels swapped": ('["tap", "channel"]', '["channel", "tap"]'),
    },
    ("proof/verify.py", "half_rounding"): {
        "verify: half: a whole ulp": (".astype(np.float64) / 2", ".astype(np.float64)"),
        "verify: half: a quarter of an ulp": (".astype(np.float64) / 2", ".astype(np.float64) / 4"),
    },
    ("proof/verify.py", "verify"): {
        "verify: eps not looked at": ("    check(model.network)\n", ""),
    },
    ("cli/verify.py", "run"): {
        "verify: command: status of success": ("return 0 if report.within else 1", "return 0"),
        "verify: command: file not named": ('MinirepError(f"{printable(path)}: {error}")', "MinirepError(str(error))"),
    },
    ("cli/verify.py", "in_file_terms"): {
        "verify: command: keys of anything like a path": ("NAMED.match(name)", "NAMED.search(name)"),
        "verify: command: branches of a merged kernel": ('path.partition(".branches.")[0]', "path"),
        "verify: command: no key above": ('path = path.rpartition(".")[0]', 'path = ""'),
    },
    ("exact.py", "two_sum"): {
        "two_sum: one correction only": ("(a - (s - other)) + (b - other)", "b - other"),
    },
    ("exact.py", "two_product"): {
        "two_product: low times low lost": (" + a_low * b_low", ""),
        "two_product: one cross term": (" + a_low * b_high", ""),
    },
    ("exact.py", "DoubleDouble.rounded"): {
        "rounded: upper half alone": ("np.where(exact, self.high, toward)", "self.high"),
        "rounded: odd numbers moved too": ("(self.low == 0) | odd | ", "(self.low == 0) | "),
        "rounded: to the wrong side": ("np.copysign(np.inf, self.low)", "np.copysign(np.inf, -self.low)"),
    },
    ("exact.py", "_add"): {
        "add: sum of the lower halves lost": ("_normal(s, e + t)", "_normal(s, e)"),
    },
    ("exact.py", "_subtract"): {
        "subtract: sign of the lower half": ("-b.low", "b.low"),
    },
    ("exact.py", "_multiply"): {
        "multiply: cross terms lost": ("e + (a.high * b.low + a.low * b.high)", "e"),
    },
    ("exact.py", "_divide"): {
        "divide: two digits": ("range(3)", "range(2)"),
    },
    ("exact.py", "_sqrt"): {
        "sqrt: no correction": ("_normal(root, correction)", "DoubleDouble(root)"),
        "sqrt: whole correction": ("2 * root,", "root,"),
    },
    ("exact.py", "DoubleDouble.__setitem__"): {
        "setitem: upper half alone": ("= value.high, value.low", "= value.high, 0.0"),
    },
    ("exact.py", "_matmul"): {
        "matmul: float64 everywhere": (
            "np.argwhere(open_.reshape(rows, -1))",
            "np.argwhere(np.zeros_like(open_.reshape(rows, -1)))",
        ),
        "matmul: bound a thousandth": ("(k + 4) * 2.0**-53", "(k + 4) * 2.0**-63"),
        "matmul: biases as weights": ("if len(a.shape) == 1:  #", "if False:  #"),
    },
    ("exact.py", "_sum_last"): {
        "sum_last: rest lost": ("if rest.shape[-1]:", "if False:"),
    },
    ("tree.py", "rounded_once"): {
        "rounded_once: in float32": ("dtype.itemsize > 4", "dtype.itemsize > 2"),
    },
    ("stream.py", "EventTracker.add"): {
        "tracker: first event not at 0": ("0.0 if first else max", "max"),
        "tracker: every event at 0": ("0.0 if first else", "0.0 if first or not self._last else"),
        "tracker: half a hop forgotten at the start": ("moment - self.hop / 2", "moment"),
        "tracker: goes on to the threshold": ("p[self._label] < self._release", "p[self._label] < self._threshold"),
        "tracker: ends at the release": ("p[self._label] < self._release", "p[self._label] <= self._release"),
        "tracker: a weak leader ends it": ("(reached and leader != self._label)", "(leader != self._label)"),
        "tracker: above the threshold": ("p[leader] >= self._threshold", "p[leader] > self._threshold"),
        "tracker: ignored labels end nothing": (
            "reached and leader != self._label",
            "reached and leader != self._label and self.labels[leader] not in self._ignored",
        ),
        "tracker: ignored labels are events": (
            "and reached and self.labels[leader] not in self._ignored",
            "and reached",
        ),
        "tracker: peak of the last window": ("max(self._peak, float(p[self._label]))", "float(p[self._label])"),
        "tracker: the last of equals leads": ("int(p.argmax())", "len(p) - 1 - int(p[::-1].argmax())"),
        "tracker: moment of the newest window": ("sum(m for m, _ in self._recent) / len(self._recent)", "moment"),
    },
    ("stream.py", "EventTracker.finish"): {
        "tracker: half a hop forgotten at the end": ("self._last + self.hop / 2", "self._last"),
    },
    ("stream.py", "Stream.close"): {
        "stream: the end is not heard": ("if last >= 0 and self._next - self._step < last:", "if False:"),
        "stream: the last window twice": ("self._next - self._step < last", "self._next - self._step <= last"),
        "stream: a short stream is not heard": ("elif last < 0 < settled:", "elif False:"),
    },
    ("stream.py", "Stream._classify_due"): {
        "stream: skipped windows are classified": ("self._next += (due - 1) * self._step", "pass"),
    },
    ("classify.py", "Prediction.top"): {
        "top: the last of equals first": ('np.argsort(-p, kind="stable")', 'np.argsort(p, kind="stable")[::-1]'),
    },
    ("classify.py", "Classifier.probabilities"): {
        "probabilities: batches of one": ("x[i : i + BATCH]", "x[i : i + 1]"),
        "probabilities: batches overlap": ("range(0, len(x), BATCH)", "range(0, len(x), BATCH - 1)"),
    },
    ("ops.py", "depthwise_conv"): {
        "depthwise: pieces of 32 share too much": ("min(length, stop + half)", "min(length, stop + min(half, BAND))"),
        "depthwise: reach of a piece back": ("max(0, start - half)", "max(0, start - min(half, BAND))"),
    },
    ("network.py", "as_input"): {
        "input: not cast": (".astype(network.dtype, copy=False)", ""),
    },
}
FAULTS = {name: (*at, *change) for at, faults in PLACES.items() for name, change in faults.items()}
