"""The faults that `mutants.py` plants, and the tests that have to catch them."""

COMPILED = (
    "test_fast.py::test_the_number_of_threads",
    "test_fast.py::test_the_quota_of_a_container",
    "test_fast.py::test_packing_only_moves_weights",
    "test_fast.py::test_softmax_of_what_is_no_number",
    "test_fast.py::test_softmax_of_any_logits",
    "test_fast.py::test_the_published_architecture",
    "test_fast.py::test_any_shape_equals_the_plain_backend",
    "test_fast.py::test_threads_as_far_as_there_is_work_for_them",
)

# {source file, or (source file, function): the tests that have to catch its faults, in the order in which they run}:
# whole files, or functions
TESTS = {
    "reparam.py": (
        "test_exact.py",
        "test_symbolic.py::test_folding_a_pointwise_convolution",
        "test_symbolic.py::test_collapsing_two_convolutions",
    ),
    "ops.py": (
        "test_exact.py",
        "test_batches.py",
        "test_laws.py::test_every_form_of_a_network_is_within_its_bound",
    ),
    "network.py": ("test_exact.py", "test_batches.py"),
    "architecture.py": ("test_exact.py",),
    "frontend.py": (
        "test_laws.py::test_views_spread_from_the_first_sample_to_the_last",
        "test_laws.py::test_a_view_is_the_log_mel_of_its_stretch",
    ),
    "files/modelfile.py": ("test_laws.py::test_a_model_file_round_trips_bit_for_bit",),
    "exact.py": (
        "test_rounding.py",
        "test_verify_merged.py::test_products_of_matrices_that_cancel_round_once",
        "test_verify_merged.py::test_a_bias_times_a_matrix_keeps_its_digits",
        "test_verify_merged.py::test_a_number_next_to_a_tie_stays_on_its_side",
        "test_verify_merged.py::test_putting_a_number_into_an_array_keeps_both_halves",
    ),
    "tree.py": ("test_rounding.py",),
    "proof/bounds.py": (
        "test_bounds.py::test_roundings_add_up",
        "test_bounds.py::test_one_product_and_a_bias",
        "test_bounds.py::test_batch_norm_and_an_input_that_is_off",
        "test_bounds.py::test_signs_do_not_matter",
        "test_bounds.py::test_more_inputs_and_a_stride",
        "test_bounds.py::test_the_stem",
        "test_bounds.py::test_branches_and_the_identity",
        "test_bounds.py::test_a_branch_sees_its_neighbours_along_its_axis",
        "test_bounds.py::test_a_branch_with_a_relu_of_its_own",
        "test_bounds.py::test_expand_and_project",
        "test_bounds.py::test_a_block_of_two_paths",
        "test_bounds.py::test_the_head",
        "test_bounds.py::test_probabilities",
        "test_bounds.py::test_neurons_on_a_knife_edge",
        "test_bounds.py::test_errors_add_up_from_block_to_block",
        "test_bounds.py::test_what_may_overflow_and_what_may_not",
        "test_bounds.py::test_underflow_adds_little_and_not_nothing",
        "test_bounds.py::test_a_variance_that_may_be_flushed",
        "test_bounds.py::test_bounds_of_merged_weights",
        "test_bounds.py::test_bounds_of_a_collapse",
        "test_bounds.py::test_the_largest_number_on_the_way",
        "test_precision.py::test_the_bound_by_hand_from_above",
        "test_precision.py::test_the_bound_is_reached_from_below",
        "test_precision.py::test_what_may_overflow_when_it_is_rounded_has_no_bound",
        "test_bounds.py",
    ),
    "proof/verify.py": (
        "test_verify_faults.py::test_a_fault_of_rounding_once_alone_is_named_fuse",
        "test_verify.py::test_a_fault_in_a_merged_kernel_is_found_and_its_block_named",
        "test_verify.py::test_a_network_is_within_its_bounds",
    ),
    ("proof/verify.py", "difference"): (
        "test_verify.py::test_differences_are_measured",
        "test_verify_merged.py::test_the_place_that_is_named_is_where_most_of_a_bound_is_used",
        "test_verify_faults.py::test_every_field_that_fuse_gets_wrong",
    ),
    ("proof/verify.py", "Difference.within"): (
        "test_verify.py::test_differences_are_measured",
        "test_verify_merged.py::test_the_place_that_is_named_is_where_most_of_a_bound_is_used",
        "test_verify_faults.py::test_every_field_that_fuse_gets_wrong",
    ),
    ("proof/verify.py", "parts"): (
        "test_verify_faults.py::test_every_field_that_fuse_gets_wrong",
        "test_verify_faults.py::test_every_array_that_fuse_gets_wrong",
    ),
    ("proof/verify.py", "head_part"): (
        "test_verify_faults.py::test_every_field_that_fuse_gets_wrong",
        "test_verify_faults.py::test_every_array_that_fuse_gets_wrong",
    ),
    ("proof/verify.py", "check_network"): (
        "test_verify_faults.py::test_a_fault_of_rounding_once_alone_is_named_fuse",
        "test_verify_faults.py::test_every_field_that_fuse_gets_wrong",
    ),
    ("proof/verify.py", "unchanged"): ("test_verify_faults.py::test_a_wrong_function_of_merging_is_named_by_its_step",),
    ("proof/verify.py", "Row.outside"): (
        "test_verify_faults.py::test_a_fault_of_rounding_once_alone_is_named_fuse",
        "test_verify_merged.py::test_a_function_that_differs_is_found_where_no_array_does",
        "test_verify.py::test_a_fault_in_a_merged_kernel_is_found_and_its_block_named",
        "test_verify_faults.py::test_compiled_weights_that_are_one_place_off",
    ),
    ("proof/verify.py", "check_probabilities"): ("test_verify_faults.py::test_a_compiled_head_that_is_wrong",),
    ("proof/verify.py", "check_backend"): (
        "test_verify_faults.py::test_each_part_of_a_backend_has_the_bound_of_itself_alone",
        "test_verify.py::test_a_fault_of_the_compiled_backend_is_found",
    ),
    ("proof/verify.py", "try_backend"): ("test_verify_faults.py::test_a_backend_that_is_wrong_for_some_inputs_only",),
    ("proof/verify.py", "check_backends"): (
        "test_verify_faults.py::test_each_part_of_a_backend_has_the_bound_of_itself_alone",
        "test_verify.py::test_a_fault_of_the_compiled_backend_is_found",
    ),
    ("proof/verify.py", "Report.outside"): (
        "test_verify.py::test_a_merged_file_of_another_network_is_told",
        "test_verify_faults.py::test_compiled_weights_that_are_one_place_off",
    ),
    ("proof/verify.py", "check_stored"): (
        "test_verify_faults.py::test_every_stored_kernel_that_is_off",
        "test_verify.py::test_stored_merged_kernels_are_compared_with_those_the_branches_give",
    ),
    ("proof/verify.py", "at"): (
        "test_verify_faults.py::test_every_stored_kernel_that_is_off",
        "test_verify.py::test_stored_merged_kernels_are_compared_with_those_the_branches_give",
    ),
    ("proof/verify.py", "describe"): (
        "test_verify_merged.py::test_heads_whose_names_are_paths_hide_nothing",
        "test_verify_merged.py::test_merging_twice_or_without_its_eps",
        "test_verify_merged.py::test_labels_and_recipe_are_compared",
        "test_verify_merged.py::test_the_file_of_another_network",
        "test_verify_merged.py::test_every_field_of_a_merged_tree_is_compared",
    ),
    ("proof/verify.py", "differing"): (
        "test_verify_merged.py::test_merging_twice_or_without_its_eps",
        "test_verify_merged.py::test_labels_and_recipe_are_compared",
        "test_verify_merged.py::test_the_file_of_another_network",
        "test_verify_merged.py::test_every_field_of_a_merged_tree_is_compared",
    ),
    ("proof/verify.py", "check_merged"): (
        "test_verify_merged.py::test_a_function_that_differs_is_found_where_no_array_does",
        "test_verify_merged.py::test_right_files_in_half_precision",
        "test_verify_merged.py::test_half_precision_excuses_no_more_than_half_an_ulp_of_it",
        "test_verify_merged.py::test_labels_and_recipe_are_compared",
        "test_verify_merged.py::test_one_number_of_any_array_that_is_off",
    ),
    ("proof/verify.py", "Merged.outside"): (
        "test_verify_merged.py::test_merging_twice_or_without_its_eps",
        "test_verify_merged.py::test_labels_and_recipe_are_compared",
    ),
    ("proof/verify.py", "verify"): ("test_verify_faults.py::test_an_eps_for_which_no_bound_holds_is_refused",),
    "cli/verify.py": (
        "test_verify_faults.py::test_a_relu_on_a_branch_cannot_be_merged_and_the_file_is_named",
        "test_verify_faults.py::test_what_overflows_is_reported_and_no_traceback",
        "test_verify_merged.py::test_the_command_names_labels_and_recipe_without_a_key",
        "test_verify_merged.py::test_the_command_names_the_array_the_place_and_the_key",
        "test_verify_merged.py::test_a_merged_array_names_every_convolution_that_it_is_made_of",
        "test_verify_merged.py::test_a_checkpoint_of_merged_kernels_alone_names_them",
    ),
    "proof/prove.py": (
        "test_prove.py::test_the_bound_of_small_cases_by_hand",
        "test_prove.py::test_the_bound_is_that_of_the_larger_form",
        "test_prove.py::test_what_underflows_may_be_lost",
        "test_prove.py::test_a_maximum_keeps_the_larger_size_and_the_longer_way",
        "test_prove.py::test_a_difference_is_wrong_beyond_its_bound",
        "test_prove.py::test_where_a_sum_might_overflow_nothing_is_proved",
        "test_prove.py::test_what_overflows_has_no_bound_and_is_not_equal",
        "test_prove.py::test_nothing_that_is_handed_in_is_written_to",
        "test_prove.py::test_padding_scaling_sums_and_chains",
        "test_prove.py::test_functions_of_plain_operations",
        "test_prove.py::test_other_shapes_are_a_difference",
        "test_prove.py::test_an_input_that_hides_a_fault_is_one_reason_for_random_ones",
        "test_prove.py::test_a_tap_whose_term_switches_its_relu_off_is_narrowed_down",
        "test_prove.py::test_a_proof_prints_as_a_few_lines",
        "test_prove.py::test_the_coarsest_type_decides",
        "test_prove.py::test_misuse_is_one_line",
        "test_prove.py::test_a_convolution_is_what_its_definition_says",
        "test_prove.py::test_zeros_in_the_middle_differ_along_the_edges_alone",
        "test_prove.py::test_floats_are_within_the_bound_of_the_exact_numbers",
        "test_prove.py::test_the_share_of_the_bound_is_the_largest_of_all_inputs",
        "test_prove.py::test_a_network_of_minirep",
        "test_prove.py::test_a_fault_in_a_merged_bias_is_found_without_any_input",
    ),
    "stream.py": ("test_stream_laws.py",),
    ("stream.py", "Stream._classify_due"): ("test_stream.py",),
    ("stream.py", "Stream.close"): ("test_stream_laws.py", "test_stream.py"),
    ("stream.py", "SlidingLogMel.current"): (
        "test_stream.py::test_windows_are_those_of_the_whole_recording",
        "test_stream_laws.py::test_laws_of_the_gate",
    ),
    ("stream.py", "Stream.feed"): ("test_stream.py::test_known_events_are_found_where_they_are",),
    ("stream.py", "Stream._track"): ("test_stream_laws.py::test_the_gate_is_in_decibels_of_the_mean_square",),
    ("cli/hook.py", "Hook._run"): ("test_events.py::test_what_a_command_leaves_behind_is_killed",),
    ("cli/hook.py", "Hook.add"): ("test_events.py::test_a_slow_command_does_not_hold_up_the_sound",),
    "cli/listen.py": ("test_events.py::test_clock_times_are_those_of_the_sound",),
    "cli/pool.py": ("test_cli.py::test_several_processes_print_the_same",),
    "audio/pcm.py": ("test_audio_streams.py::test_a_level_that_is_wrong_is_told_once",),
    "classify.py": ("test_stream_laws.py", "test_batches.py"),
    "cli/convert.py": (
        "test_cli.py::test_labels",
        "test_cli.py::test_bad_labels_write_nothing",
        "test_cli.py::test_labels_need_a_head_where_there_are_several",
        "test_cli.py::test_convert_keeps_branches_and_halves_sizes",
    ),
    "cli/classify.py": (
        "test_cli.py::test_nothing_to_classify",
        "test_cli.py::test_a_folder_with_one_bad_file_classifies_the_rest",
        "test_cli.py::test_json",
        "test_cli.py::test_csv",
        "test_cli.py::test_folders_are_searched_and_sorted",
        "test_cli.py::test_demo_counts_what_is_right",
    ),
    "cli/terminal.py": ("test_cli.py::test_json",),
    "cli/timeline.py": (
        "test_timeline.py::test_what_does_not_go_together",
        "test_timeline.py::test_damage_is_told_behind_what_was_heard_before",
        "test_timeline.py::test_options_that_need_one_recording_or_a_timeline",
    ),
    "cli/eval.py": (
        "test_eval.py::test_bad_rows_are_told_and_the_others_measured",
        "test_eval.py::test_outputs_that_cannot_be_or_must_not_be_written",
        "test_eval.py::test_it_goes_on_where_it_was_interrupted",
        "test_eval.py::test_predictions_hold_what_all_measures_need",
    ),
    "fast/plan.py": COMPILED,
    "fast/memory.py": COMPILED,
    "fast/compiled.py": (
        "test_fast.py::test_results_belong_to_the_caller",
        "test_fast.py::test_plans_are_kept_for_the_latest_shapes_alone",
        *COMPILED,
    ),
    "fast/threads.py": COMPILED,
    "fast/head.py": COMPILED,
    "fast/stem.py": COMPILED,
    "fast/depthwise.py": COMPILED,
    "fast/matmul.py": COMPILED,
    ("fast/memory.py", "pair_up"): ("test_precision.py::test_packed_words_hold_the_same_numbers",),
    "precision.py": (
        "test_precision.py::test_only_the_products_of_blocks_are_rounded",
        "test_precision.py::test_what_cannot_be_is_refused_by_name",
    ),
    ("exact.py", "round_bfloat16"): (
        "test_precision.py::test_rounding_finds_the_nearest_and_the_even",
        "test_precision.py::test_what_is_no_number_stays_none",
    ),
    ("ops.py", "products"): ("test_precision.py::test_a_pointwise_convolution_by_hand",),
    ("reparam.py", "collapse"): ("test_exact.py", "test_precision.py::test_what_cannot_be_is_refused_by_name"),
    ("files/modelfile.py", "_from_json"): (
        "test_precision.py::test_no_file_says_that_it_is_rounded",
        "test_laws.py::test_a_model_file_round_trips_bit_for_bit",
    ),
    ("files/modelfile.py", "contents"): ("test_precision.py::test_what_cannot_be_is_refused_by_name",),
    "proof/coarse.py": ("test_precision.py::test_verify_finds_a_backend_that_rounds_otherwise",),
    "files/onnxfile.py": (
        "test_export.py::test_an_exported_network_is_the_same_function",
        "test_export.py::test_any_architecture_is_within_its_bound",
        "test_export.py",
    ),
    ("files/onnxfile.py", "Graph.log_mel"): ("test_export.py::test_samples_in_give_the_front_end_to_the_last_bits",),
    ("files/onnxfile.py", "write_onnx"): ("test_export.py::test_the_model_is_found_in_the_file_again",),
    "files/safetensorsfile.py": (
        "test_export.py::test_a_damaged_safetensors_is_named",
        "test_export.py::test_a_header_is_bounded_before_it_is_read",
        "test_export.py::test_safetensors_come_back_bit_for_bit",
    ),
    ("proof/coarse.py", "check_rounding"): (
        "test_verify_faults.py::test_a_backend_that_cuts_off_where_it_should_round_to_bfloat16",
    ),
    "proof/exported.py": ("test_export.py::test_a_front_end_that_is_off_is_refused",),
    "web/server.py": ("test_web.py",),
    "web/bench.py": ("test_web.py",),
}

# {(file, function or class.method): {name of the fault: (an expression, what replaces it)}}
PLACES = {
    ("reparam.py", "fold"): {
        "epsilon left out when folding": ("conv.bn.variance + conv.bn.eps", "conv.bn.variance"),
        "no square root when folding": ("s = conv.bn.scale / sqrt(", "s = conv.bn.scale / ("),
        "sign of the mean": ("(bias - conv.bn.mean)", "(bias + conv.bn.mean)"),
        "mean not scaled": ("bias=(bias - conv.bn.mean) * s", "bias=bias * s - conv.bn.mean"),
        "shift lost": ("* s + conv.bn.shift", "* s"),
        "own bias lost when folding": ("if conv.bias is None else conv.bias\n", "\n"),
        "weights not scaled": ("weight=conv.weight * s", "weight=conv.weight"),
        "scale on the wrong axis": (
            "weight=conv.weight * s",
            "weight=(conv.weight.reshape(conv.weight.shape[-1], -1) * s[:, None]).reshape(conv.weight.shape)",
        ),
    },
    ("reparam.py", "fold_block"): {
        "shortcut not folded": (
            "lambda _, node: fold(node) if",
            "lambda name, node: replace(node, bn=None) if name == 'shortcut' and node else fold(node) if",
        ),
    },
    ("reparam.py", "fuse"): {
        "stem left as it is": ("rounded_once(fold, network.stem)", "replace(network.stem, bn=None)"),
    },
    ("reparam.py", "pad_kernel"): {
        "padding off by one": ("(extra, extra)", "(extra + 1, extra - 1)"),
        "padding at one end": ("(extra, extra)", "(0, 2 * extra)"),
    },
    ("reparam.py", "merge_branches"): {
        "bias of one branch dropped": ("branch.bias for branch in folded", "b.bias for b in folded[:1]"),
        "one branch dropped": ("size) for branch in folded", "size) for branch in folded[:2]"),
        "first branch's size for all": ("max(len(branch.weight) for branch in folded)", "len(folded[0].weight)"),
        "branches averaged": ("Conv(weight,", "Conv(weight / len(folded),"),
    },
    ("reparam.py", "absorb_identity"): {
        "identity added twice": ("= weight[len(weight) // 2] + 1", "= weight[len(weight) // 2] + 2"),
        "identity on the wrong tap": ("weight[len(weight) // 2] =", "weight[len(weight) // 2 - 1] ="),
        "identity on the first tap": ("weight[len(weight) // 2] = weight[len(weight) // 2]", "weight[0] = weight[0]"),
        "identity on one channel": (
            "weight[len(weight) // 2] = weight[len(weight) // 2]",
            "weight[len(weight) // 2, 0] = weight[len(weight) // 2, 0]",
        ),
        "identity forgotten": ("weight[len(weight) // 2] + 1", "weight[len(weight) // 2]"),
        "identity kept beside its tap": (", identity=False", ""),
        "identity in the input's own kernel": ("conv.weight.copy()", "conv.weight"),
    },
    ("reparam.py", "collapse"): {
        "bfloat16: rounded weights are merged": ("not second.bfloat16, ", "True, "),
        "collapse the wrong way round": (
            "first.weight @ second.weight",
            "(second.weight @ first.weight)[: len(first.weight), : second.weight.shape[1]]",
        ),
        "collapse loses the first bias": ("bias=first.bias @ second.weight + second.bias", "bias=second.bias"),
        "collapse loses the second bias": (
            "bias=first.bias @ second.weight + second.bias",
            "bias=first.bias @ second.weight",
        ),
    },
    ("reparam.py", "collapse_linear"): {
        "collapse across a ReLU": ("if merged[-1].relu", "if False"),
    },
    ("ops.py", "depthwise"): {
        "time and frequency swapped": ('"time": 1, "frequency": 2', '"time": 2, "frequency": 1'),
        "frequency taken for time": ('"time": 1, "frequency": 2', '"time": 1, "frequency": 1'),
        "depthwise: ReLU missing": ("return relu(y)", "return y"),
        "depthwise: identity missing": ("x if layer.identity else 0", "0"),
        "depthwise: identity always": ("x if layer.identity else 0", "x"),
    },
    ("ops.py", "band_matrices"): {
        "depthwise: convolution for correlation": ("= weight.T", "= weight[::-1].T"),
        "depthwise: one matrix for all channels": ("= weight.T", "= weight.T[:1]"),
    },
    ("ops.py", "depthwise_conv"): {
        "depthwise: off by one": (
            "first - start + half : last - start + half",
            "first - start + half - 1 : last - start + half - 1",
        ),
        "depthwise: first input in reach dropped": ("max(0, start - half)", "max(0, start - half + 1)"),
        "depthwise: last input in reach dropped": ("min(length, stop + half)", "min(length, stop + half - 1)"),
        "depthwise: pieces of 32 share too much": ("min(length, stop + half)", "min(length, stop + min(half, BAND))"),
        "depthwise: reach of a piece back": ("max(0, start - half)", "max(0, start - min(half, BAND))"),
    },
    ("ops.py", "epilogue"): {
        "ReLU of a convolution missing": ("if conv.relu else y", "if False else y"),
        "bias of a convolution missing": ("if conv.bias is not None", "if False"),
        "residual missing": ("if residual is not None", "if False"),
    },
    ("ops.py", "expand_project"): {
        "ReLU after the residual missing": ("relu(h)", "h"),
        "ReLU before the residual": (
            "epilogue(products(h, convs[-1]), convs[-1], rest[start:stop])",
            "relu(epilogue(products(h, convs[-1]), convs[-1])) + rest[start:stop]",
        ),
        "positions in tiles: one short": ("min(start + step, len(x))", "min(start + step, len(x) - 1)"),
    },
    ("ops.py", "batch_norm"): {
        "batch norm: epsilon left out": ("bn.variance + bn.eps", "bn.variance"),
        "batch norm: sign of the mean": ("(x - bn.mean)", "(x + bn.mean)"),
        "batch norm: shift missing": (" + bn.shift", ""),
    },
    ("ops.py", "stem"): {
        "stem: axes of the padding swapped": ("(kt // 2, kf // 2)", "(kf // 2, kt // 2)"),
        "stem: stride of one": ("(2, 2)", "(1, 1)"),
    },
    ("ops.py", "conv2d"): {
        "stem: taps transposed": ("weight.transpose(2, 0, 1, 3)", "weight.transpose(2, 1, 0, 3)"),
    },
    ("ops.py", "max_pool"): {
        "stem: pooling off by one": ("j : j + f : 2", "j + 1 : j + f + 1 : 2"),
        "stem: pooling of 2 x 3": ("for i in range(3)", "for i in range(2)"),
    },
    ("ops.py", "pointwise"): {
        "stride at the wrong places": (":: stride[0],", "stride[0] - 1 :: stride[0],"),
        "strides swapped": (":: stride[0], :: stride[1]", ":: stride[1], :: stride[0]"),
    },
    ("ops.py", "logits"): {
        "head: sum for mean": ("average_pool(x, window)", "average_pool(x, window) * window[0]"),
        "head: bias missing": (" + linear.bias", ""),
    },
    ("ops.py", "pool_window"): {
        "head: window one row short": ("min(pool[0], x.shape[1])", "max(1, min(pool[0], x.shape[1]) - 1)"),
        "head: sides of the window swapped": (
            "min(pool[0], x.shape[1]), min(pool[1], x.shape[2])",
            "min(pool[1], x.shape[1]), min(pool[0], x.shape[2])",
        ),
    },
    ("ops.py", "softmax"): {
        "softmax over the wrong axis": ("e.sum(axis=-1, keepdims=True)", "e.sum(axis=0, keepdims=True)"),
    },
    ("network.py", "Block.map_layers"): {
        "fused layers in the published order": (
            "change(layer) for layer in path",
            "replace(change(layer), axis=axis) for layer, axis in zip(path, ('time', 'frequency'))",
        ),
    },
    ("network.py", "block_forward"): {
        "a path of a block dropped": ("y if total is None else total + y", "y"),
        "shortcut without its stride": ("block.shortcut, block.stride", "block.shortcut, block.stride[::-1]"),
        "shortcut's convolution skipped": (
            "if block.shortcut is None",
            "if block.shortcut is None or x.shape == entered.shape",
        ),
        "layers of a path in parallel": ("ops.depthwise(y, layer)", "ops.depthwise(entered, layer)"),
    },
    ("network.py", "walk"): {
        "a stage skips its last block": (
            "block_forward(block, x, ops)",
            'block_forward(block, x, ops) if name.endswith(".0") else x',
        ),
    },
    ("architecture.py", "_block"): {
        "order of the axes ignored": ("for axis in arch.axes", "for axis in ('time', 'frequency')"),
        "the axes' kernels swapped": (
            '"time": arch.time_kernels[stage], "frequency": arch.freq_kernels[stage]',
            '"time": arch.freq_kernels[stage], "frequency": arch.time_kernels[stage]',
        ),
    },
    ("frontend.py", "view_starts"): {
        "view off by one": ("length - recipe.clip", "length - recipe.clip + 1"),
    },
    ("frontend.py", "log_mel_views"): {
        "view one sample longer": ("s + recipe.clip - 1", "s + recipe.clip"),
    },
    ("frontend.py", "pad_frames"): {
        "first frame repeated": ('mode="edge"', 'mode="reflect"'),
    },
    ("frontend.py", "hann"): {
        "symmetric window": ("/ length)", "/ (length - 1))"),
    },
    ("frontend.py", "centre_offset"): {
        "window off its frame's centre": ("(FFT_SIZE - recipe.window) // 2", "(FFT_SIZE - recipe.window) // 2 + 1"),
    },
    ("frontend.py", "log_mel_of_frames"): {
        "power instead of magnitude": ("magnitudes[:, bins] @", "magnitudes[:, bins] ** 2 @"),
    },
    ("files/modelfile.py", "_from_json"): {
        "model file: claims to be rounded": ("IN_MEMORY & set(children)", "set()"),
        "epsilon lost in a file": (
            "NODES[kind](**children)",
            'NODES[kind](**children | ({"eps": 0.0} if kind == "BatchNorm" else {}))',
        ),
    },
    ("proof/bounds.py", "gamma"): {
        "bounds: no rounding to bfloat16": ("+ coarse * BFLOAT16", ""),
        "bounds: half of bfloat16's unit roundoff": ("coarse * BFLOAT16", "coarse * BFLOAT16 / 2"),
        "bounds: twice bfloat16's unit roundoff": ("coarse * BFLOAT16", "coarse * BFLOAT16 * 2"),
        "bounds: gamma without its denominator": ("error / (1 - error)", "error"),
        "bounds: gamma: unit roundoff twice as large": ("float(info.eps) / 2", "float(info.eps)"),
        "bounds: gamma: half the unit roundoff": ("float(info.eps) / 2", "float(info.eps) / 4"),
        "bounds: gamma: steepness ignored": (" + 4 * float(info.tiny) * steepness", ""),
    },
    ("proof/bounds.py", "_summand"): {
        "bounds: rounded weights count as one rounding, others too": ("else 2", "else 1"),
        "bounds: bfloat16: only the last of a chain": ("coarse += 1", "coarse = 1"),
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
        "bounds: summand: relu in the middle": (", relu=False, bfloat16=False)", ", bfloat16=False)"),
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
        "bounds: add: underflow left out": (" + (4 + 4 * coarse) * reach * float(info.tiny)", ""),
        "bounds: add: underflow a hundred times": ("(4 + 4 * coarse)", "(400 + 4 * coarse)"),
        "bounds: add: overflow ignored": ("if not reach * SLACK", "if False and not reach * SLACK"),
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
            "ops.pool_window(pool, known.value)",
            "ops.pool_window(pool[::-1], known.value)",
        ),
        "bounds: head: bias not counted": ("Conv(linear.weight, linear.bias)", "Conv(linear.weight)"),
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
        "bounds: merged: identity not counted": ("len(layer.branches) + layer.identity", "len(layer.branches)"),
        "bounds: merged: collapse counts the inputs": ("c.weight.shape[1] for c", "c.weight.shape[0] for c"),
        "bounds: merged: heads may differ": ("map_arrays(node, np.zeros_like)", "node"),
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
            "(getattr(b, name), b.stride)",
            "(getattr(b, name), block.stride)",
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
        "verify: steps: a hundredth of the bound": ("bound = 2 *", "bound = 0.01 *"),
        "verify: steps: a hundred thousand times the bound": ("bound = 2 *", "bound = 2e5 *"),
        "verify: steps: not all at once": (', (forms[0], ("fuse", fused))]', "]"),
        "verify: steps: only all at once": ("[*pairwise(forms), ", "["),
        "verify: block: each step on the stored form": ("step(forms[-1][1])", "step(form)"),
    },
    ("proof/verify.py", "head_part"): {
        "verify: head: pool of the stored form": ("(n.pool, n.heads[head])", "(network.pool, n.heads[head])"),
    },
    ("proof/verify.py", "check_network"): {
        "verify: head: not looked at": ("steps=() if merged else steps(part)", "steps=()"),
        "verify: network: merged blocks against themselves": ("STEPS, fused.blocks[part.name])", "STEPS, block)"),
        "verify: stem: fused stem not looked at": ("[part], network, fold, fused", "[part], network, fold, network"),
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
        "verify: backend: each part on the exact input": (
            "known = bounds.start(y if",
            "known = known or bounds.start(y if",
        ),
        "verify: backend: heads not looked at": ("in network.heads", "in ()"),
        "verify: backend: parts not looked at": ("rows.append(check_row(name, known, y))", "pass"),
    },
    ("proof/verify.py", "check_backends"): {
        "verify: backends: stored form not run": ("{} if is_fused(network) else", "{} if True else"),
    },
    ("proof/verify.py", "try_backend"): {
        "verify: backends: sounds alone": ("inputs(log_mels).values()", "[log_mels]"),
        "verify: backends: the best input counts": ("max(rows", "min(rows"),
    },
    ("proof/verify.py", "Report.outside"): {
        "verify: backends: do not decide": ("(self.rows | self.backends)", "(self.rows)"),
        "verify: merged: does not decide": ("if given for what", "if False for what"),
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
        "verify: describe: one of two nodes of a name": ("if name in found", "if False"),
    },
    ("proof/verify.py", "differing"): {
        "verify: differing: everything below too": (" if n in above]", "]"),
    },
    ("proof/verify.py", "check_merged"): {
        "verify: merged: labels not compared": (
            '{"labels": m.labels, "recipe"',
            '{"labels": model.labels, "recipe"',
        ),
        "verify: merged: recipe not compared": ('"recipe": m.recipe}', '"recipe": model.recipe}'),
        "verify: half: a whole ulp": (".astype(np.float64) / 2", ".astype(np.float64)"),
        "verify: half: a quarter of an ulp": (".astype(np.float64) / 2", ".astype(np.float64) / 4"),
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
        "verify: command: one key of two that were collapsed": (r"(?<=\.expand_project)\..*", "never"),
    },
    ("cli/verify.py", "patterns"): {
        "verify: command: a star for other keys, too": ("not any(other.startswith(start) for other in others)", "True"),
    },
    ("cli/verify.py", "published_keys"): {
        "verify: command: keys of branches where there are none": ("((network, alone)", "((network, False)"),
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
            "np.argwhere(open_)",
            "np.argwhere(open_ & False)",
        ),
        "matmul: bound a thousandth": ("(k + 4) * 2.0**-53", "(k + 4) * 2.0**-63"),
        "matmul: biases as weights": ("_sum_last(a * right)", "DoubleDouble(a.high @ b.high)"),
    },
    ("exact.py", "_sum_last"): {
        "sum_last: rest lost": ("if rest.shape[-1]:", "if False:"),
    },
    ("tree.py", "rounded_once"): {
        "rounded_once: in float32": ("dtype.itemsize > 4", "dtype.itemsize > 2"),
    },
    ("stream.py", "EventTracker.add"): {
        "stream: no cooldown after an end": (
            "start >= self._ends.get(leader, -math.inf) + self.cooldown",
            "start >= self.cooldown",
        ),
        "stream: changes in the wrong order": ("changes.append(Event(", "changes.insert(0, Event("),
        "tracker: first event not at 0": ("0.0 if first else max", "max"),
        "tracker: every event at 0": ("0.0 if first else", "0.0 if first or not self._last else"),
        "tracker: half a hop forgotten at the start": ("moment - self.hop / 2", "moment"),
        "tracker: goes on to the threshold": (
            "p[self._label] < RELEASE * self.threshold",
            "p[self._label] < self.threshold",
        ),
        "tracker: ends at the release": (
            "p[self._label] < RELEASE * self.threshold",
            "p[self._label] <= RELEASE * self.threshold",
        ),
        "tracker: a weak leader ends it": ("(reached and leader != self._label)", "(leader != self._label)"),
        "tracker: above the threshold": ("p[leader] >= self.threshold", "p[leader] > self.threshold"),
        "tracker: ignored labels end nothing": (
            "reached and leader != self._label",
            "reached and leader != self._label and self.labels[leader] not in self.ignore",
        ),
        "tracker: ignored labels are events": (
            "and reached and self.labels[leader] not in self.ignore",
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
    ("network.py", "as_input"): {
        "input: not cast": (".astype(network.dtype, copy=False)", ""),
    },
    ("proof/prove.py", "Conv2d.__call__"): {
        "prove: Conv2d: axes of the padding": ("for size in self.padding)", "for size in self.padding[::-1])"),
        "prove: Conv2d: reach without its dilation": ("dh * (kh - 1) + 1", "kh"),
        "prove: Conv2d: axes of the stride": (
            ":: self.stride[0], :: self.stride[1]",
            ":: self.stride[1], :: self.stride[0]",
        ),
        "prove: Conv2d: dilation not in the taps": ("::dh, ::dw", ":kh, :kw"),
        "prove: Conv2d: taps and channels in another order": ("transpose(2, 0, 1, 3)", "transpose(0, 1, 2, 3)"),
        "prove: Conv2d: groups": (
            "patches.reshape(-1, groups, c_in * kh * kw)",
            "patches.reshape(-1, c_in * kh * kw, groups).swapaxes(1, 2)",
        ),
        "prove: Conv2d: no bias, no ReLU": ("ops.epilogue((rows", "(lambda y, _: y)((rows"),
    },
    ("proof/prove.py", "Pad.__call__"): {
        "prove: Pad: at one end": ("y[:, h : h + height", "y[:, 0:height"),
        "prove: Pad: with zeros": ("y[...] = self.value", "y[...] = 0 * self.value"),
    },
    ("proof/prove.py", "Sum.__call__"): {
        "prove: Sum: one branch": ("in self.branches", "in self.branches[:1]"),
    },
    ("proof/prove.py", "Chain.__call__"): {
        "prove: Chain: the last node left out": ("in self.nodes", "in self.nodes[:-1]"),
    },
    ("proof/prove.py", "run"): {
        "prove: run: heads in the order of the tree": ("sorted(form.heads)", "form.heads"),
        "prove: run: the first head": ("sorted(form.heads)", "sorted(form.heads)[:1]"),
    },
    ("proof/prove.py", "Sized.roundings"): {
        "prove: Sized: additions not counted": ("self.depth + self.terms - 1", "self.depth"),
        "prove: Sized: an addition too many": ("self.terms - 1", "self.terms"),
    },
    ("proof/prove.py", "Sized.__add__"): {
        "prove: Sized: a sum loses what underflows": (" + other.size + self.least", " + other.size"),
        "prove: Sized: depth of one summand": ("max(self.depth, other.depth)", "self.depth"),
        "prove: Sized: one term a sum": ("self.terms + other.terms", "max(self.terms, other.terms) + 1"),
        "prove: Sized: sign of a constant": ("Sized(abs(float(other)), self.least)", "Sized(float(other), self.least)"),
    },
    ("proof/prove.py", "Sized.__mul__"): {
        "prove: Sized: a product loses what underflows": (" + (1 + self.size) * self.least", ""),
        "prove: Sized: a product loses its rounding": ("self.roundings + ROUNDINGS", "self.roundings"),
        "prove: Sized: sign of a weight": ("abs(float(weight))", "float(weight)"),
        "prove: Sized: additions before a product": ("self.roundings + ROUNDINGS", "self.depth + ROUNDINGS"),
    },
    ("proof/prove.py", "Sized.__truediv__"): {
        "prove: Sized: division": ("1 / float(weight)", "float(weight)"),
    },
    ("proof/prove.py", "Sized.__ge__"): {
        "prove: Sized: size of the first in a maximum": ("max(self.size, other.size)", "self.size"),
        "prove: Sized: roundings of the first in a maximum": ("max(self.roundings, other.roundings)", "self.roundings"),
        "prove: Sized: terms before a maximum twice": ("self.terms = other.terms = 1", "pass"),
        "prove: Sized: a ReLU at any height": ("other <= 0", "True"),
    },
    ("proof/prove.py", "exactly"): {
        "prove: exactly: eps left out": (") ** 2 - eps", ") ** 2"),
        "prove: exactly: eps of a float": ("Fraction(node.eps)", "Fraction(0)"),
        "prove: exactly: variances of zero": ("lowest > 0", "True"),
    },
    ("proof/prove.py", "attempt"): {
        "prove: attempt: writes to what is handed in": ("x.copy() if", "x if"),
    },
    ("proof/prove.py", "on_fractions"): {
        "prove: on_fractions: floats pass": ("not isinstance(v, Rational)", "False"),
    },
    ("proof/prove.py", "in_floats"): {
        "prove: in_floats: the input's rounding": ("ROUNDINGS + max(", "max("),
        "prove: in_floats: roundings of one form": ("roundings += ROUNDINGS", "roundings = ROUNDINGS"),
        "prove: in_floats: size of one form": ("np.maximum(*sizes)", "sizes[1]"),
        "prove: in_floats: half the bound": ("2 * gamma(", "1 * gamma("),
        "prove: in_floats: what overflows has a bound": ("np.where(np.isfinite(bound), bound, np.nan)", "bound"),
    },
    ("proof/prove.py", "wrong"): {
        "prove: wrong: NaN is equal": (
            "~np.asarray(abs(after - before) <= bound, bool)",
            "np.asarray(abs(after - before) > bound, bool)",
        ),
        "prove: wrong: a difference of twice the bound": ("<= bound", "<= 2 * bound"),
    },
    ("proof/prove.py", "narrowed"): {
        "prove: narrowed: zeros are not tried": ("if shows(kept(places[:0]))", "if False"),
        "prove: narrowed: no sign is turned": ("for sign in (1, -1)", "for sign in (1,)"),
        "prove: narrowed: not narrowed": ("while len(places) > 1", "while False"),
        "prove: narrowed: no one": ("one if shows(one) else x", "x"),
    },
    ("proof/prove.py", "first_difference"): {
        "prove: first: the last difference": ("place, *_ =", "*_, place ="),
    },
    ("proof/prove.py", "prove"): {
        "prove: prove: the finest type": ("dtype = max(floating", "dtype = min(floating"),
        "prove: prove: shapes are broadcast": ("exacts[0].shape != exacts[1].shape", "False"),
        "prove: prove: the last input's numbers": ("proof.compared + exacts[0].size", "exacts[0].size"),
        "prove: prove: fractions of merged floats decide": ("if merging or not floating", "if True"),
        "prove: prove: fractions decide nothing": ("if merging or not floating", "if False"),
        "prove: prove: the last input's share": (">= proof.used", ">= 0"),
        "prove: prove: floats decide nothing": ("if wrong(floats).any()", "if False"),
        "prove: prove: merged in another type": ("in_type(before, dtype)", "in_type(before, np.float64)"),
    },
    ("cli/convert.py", "run"): {
        "convert: branches the other way round": ("if args.keep_branches else", "if not args.keep_branches else"),
        "convert: labels of the file": ("model.labels | read_labels", "model.labels or read_labels"),
    },
    ("cli/convert.py", "read_labels"): {
        "convert: labels given twice": ("if head in labels", "if False"),
        "convert: any number of labels": ("len(labels[head]) != heads[head]", "False"),
        "convert: labels of no head": ("if len(heads) > 1", "if False"),
    },
    ("cli/convert.py", "_names"): {
        "convert: empty labels": ('if "" in names', "if False"),
        "convert: number of the line": ("names.index('') + 1", "names.index('')"),
    },
    ("cli/classify.py", "run"): {
        "classify: status of success": ("return 1 if failed else 0", "return 0"),
        "classify: nothing to classify": ("args.demo != bool(args.files)", "not (args.demo and args.files)"),
    },
    ("cli/classify.py", "_classified"): {
        "classify: all of the demo are right": ("prediction.top(1)[0][0] == demo_label(name)", "True"),
        "classify: a file that failed ends it": ("yield name, answer", "break"),
    },
    ("cli/classify.py", "sounds_under"): {
        "classify: hidden files": (' and not file.startswith(".")', ""),
        "classify: folders not sorted": ("sorted(found)", "sorted(found)[::-1]"),
        "classify: capitals": ("file.lower()", "file"),
    },
    ("cli/terminal.py", "say_array"): {
        "classify: JSON without commas": ('before = ","', "pass"),
    },
    ("cli/classify.py", "print_csv"): {
        "classify: ranks from zero": ("prediction.top(top, head), 1)", "prediction.top(top, head), 0)"),
        "classify: CSV of one head": ("in prediction.probabilities:", "in list(prediction.probabilities)[:1]:"),
    },
    ("cli/timeline.py", "check"): {
        "timeline: views are ignored": ("args.top or args.views", "args.top"),
        "timeline: a picture of two": ("len(sources) == 1", "True"),
    },
    ("cli/timeline.py", "run"): {
        "timeline: status of success": ("return 1 if failed else 0", "return 0"),
    },
    ("cli/eval.py", "run"): {
        "eval: status of success": ("return 1 if failed else 0", "return 0"),
        "eval: rows that cannot be read do not count": ("len(faults) + sum", "sum"),
    },
    ("cli/eval.py", "_check_outputs"): {
        "eval: writes over what it reads": ("place not in taken", "True"),
    },
    ("cli/eval.py", "_classify"): {
        "eval: everything once more": ("not in found for", "not in {} for"),
    },
    ("fast/plan.py", "PlannedTensor.__add__"): {
        "fast: paths not summed": ("_replace(total=self)", "_replace(total=0)"),
    },
    ("fast/plan.py", "Recorder.stem"): {
        "fast: stem: no ReLU": ("relu=int(conv.relu)", "relu=0"),
        "fast: stem: sides of the patch": ("patch_time=kt, patch_freq=kf", "patch_time=kf, patch_freq=kt"),
    },
    ("fast/plan.py", "Recorder.pointwise"): {
        "fast: pointwise: strides swapped": (
            "time_stride=stride[0], freq_stride=stride[1]",
            "time_stride=stride[1], freq_stride=stride[0]",
        ),
        "fast: pointwise: no ReLU after the residual": ("int(conv.relu or relu)", "int(conv.relu)"),
        "fast: pointwise: no residual": ("residual=residual", "residual=0"),
    },
    ("fast/plan.py", "Recorder.depthwise"): {
        "fast: depthwise: axes swapped": ('layer.axis == "time"', 'layer.axis != "time"'),
        "fast: depthwise: one branch": ("branch_count=len(layer.branches)", "branch_count=1"),
        "fast: depthwise: no identity": ("int(layer.identity)", "0"),
    },
    ("fast/plan.py", "Recorder.expand_project"): {
        "fast: expand_project: always a ReLU": ("relu=int(expand.relu)", "relu=1"),
    },
    ("fast/plan.py", "Recorder.average_pool"): {
        "fast: head: sides of the window": (
            "window_time=window[0], window_freq=window[1]",
            "window_time=window[1], window_freq=window[0]",
        ),
    },
    ("fast/plan.py", "assign_buffers"): {
        "fast: buffers are freed at once": ("if last_use[tensor] == i]", "]"),
        "fast: buffers are those of the first step": ("last_use |= dict.fromkeys(kept, len(recorded))", "pass"),
    },
    ("fast/plan.py", "whole_vectors"): {
        "fast: head: classes of padding": ("constant_values=-np.inf", "constant_values=0"),
    },
    ("fast/plan.py", "Weights.packed_branches"): {
        "fast: depthwise: bias of one branch": ("sum(branch.bias for branch in folded)", "folded[0].bias"),
        "fast: depthwise: taps of the first branch": ("len(b.weight)) for k, b", "len(folded[0].weight)) for k, b"),
    },
    ("fast/plan.py", "Plan.__init__"): {
        "fast: stem: border of zeros": ("slice(kt // 2, kt // 2 + t)", "slice(kt // 2 - 1, kt // 2 - 1 + t)"),
    },
    ("fast/memory.py", "pack_matrix"): {
        "fast: packing: panels turned round": (
            "column : column + width].ravel()",
            "column : column + width].T.ravel()",
        ),
    },
    ("fast/memory.py", "pack_kernel"): {
        "fast: packing: taps one place off": (
            "packed[:, BORDER : BORDER + k]",
            "packed[:, BORDER + 1 : BORDER + 1 + k]",
        ),
    },
    ("fast/memory.py", "Arena.take"): {
        "fast: packing: arrays in one place": (
            "piece, self._free = self._free[:floats],",
            "piece, _ = self._free[:floats],",
        ),
    },
    ("fast/compiled.py", "CompiledNetwork.walk"): {
        "fast: stages that the next one overwrites": ("workspace.view(result).copy()", "workspace.view(result)"),
    },
    ("fast/compiled.py", "CompiledNetwork._plan"): {
        "fast: a plan for each thread": (
            "else max(1, min(self.threads, work // MIN_MULTIPLY_ADDS))",
            "else self.threads",
        ),
        "fast: all plans are kept": ("len(self._known) > PLANS", "False"),
    },
    ("fast/threads.py", "_quota"): {
        "fast: threads: quota rounded down": ("-(-int(quota) // int(period))", "int(quota) // int(period)"),
    },
    ("fast/threads.py", "allowed_threads"): {
        "fast: threads: none is enough": ("1 <= int(requested)", "0 <= int(requested)"),
    },
    ("fast/head.py", "softmax_kernel"): {
        "fast: softmax: largest of the last vector": (
            "builder.store(e.maximum(builder.load(largest), value), largest)",
            "builder.store(value, largest)",
        ),
    },
    ("fast/stem.py", "stem_kernel"): {
        "fast: stem: rows beyond the edge": (
            "below = max(2 * p - 1, 0), min(2 * p + 1, rows_t - 1)",
            "below = max(2 * p - 1, 0), min(2 * p, rows_t - 1)",
        ),
    },
    ("fast/depthwise.py", "output_tile"): {
        "fast: depthwise: one input too few": ("half), length)", "half), e.minus(length, 1))"),
    },
    ("fast/matmul.py", "register_block"): {
        "fast: matmul: sums start from the bias": ("start = [e.load(e.add(bias", "start = [e.load(e.add(panel"),
    },
    ("exact.py", "round_bfloat16"): {
        "bfloat16: ties away from zero": ("(bits >> 16 & 1)", "1"),
        "bfloat16: cut off": ("0x7FFF + (bits >> 16 & 1)", "0"),
        "bfloat16: NaN becomes a number": ("np.where(np.isnan(x), x, rounded)", "rounded"),
        "bfloat16: one bit more": ("& 0xFFFF0000", "& 0xFFFF8000"),
    },
    ("ops.py", "products"): {
        "bfloat16: the input is not rounded": ("round_bfloat16(x) if conv.bfloat16 else x", "x"),
    },
    ("precision.py", "rounded"): {
        "bfloat16: weights are not rounded": ("weight = round_bfloat16(conv.weight)", "weight = conv.weight"),
        "bfloat16: too large weights": ('expect(np.isfinite(weight).all(), "precision', 'expect(True, "precision'),
    },
    ("precision.py", "as_precision"): {
        "bfloat16: float64 is rounded without a word": ('found == "float32", f"precision', 'True, f"precision'),
        "bfloat16: any precision": ("precision in PRECISIONS, f", "True, f"),
    },
    ("precision.py", "map_pointwise"): {
        "bfloat16: the shortcut stays": ("change(block.shortcut)", "block.shortcut"),
        "bfloat16: the entry stays": ("entry=change(block.entry)", "entry=block.entry"),
        "bfloat16: expand and project stay": (
            "expand_project=tuple(map(change, block.expand_project))",
            "expand_project=block.expand_project",
        ),
    },
    ("files/modelfile.py", "contents"): {
        "model file: rounded weights are stored": ('precision_of(network) == "bfloat16"', "False"),
    },
    ("fast/memory.py", "pair_up"): {
        "bfloat16: pairs turned round": ("bits[::2] >> 16 | bits[1::2]", "bits[1::2] >> 16 | bits[::2]"),
    },
    ("proof/coarse.py", "with_bfloat16"): {
        "verify: bfloat16 against a bound of float32": (
            "lambda conv: replace(conv, bfloat16=True)",
            "lambda conv: conv",
        ),
    },
    ("files/onnxfile.py", "Graph.pooled"): {
        "onnx: small windows are not rescaled": (
            'return self.node("Mul", y, self.node("Div", np.array([pool[0]], np.float32), inside))',
            "return y",
        ),
    },
    ("files/onnxfile.py", "Graph.stem"): {
        "onnx: the stem's pooling without its border": ("pads=[1, 1, 1, 1]", "pads=[0, 0, 1, 1]"),
    },
    ("files/onnxfile.py", "Graph.depthwise"): {
        "onnx: axes swapped": ('if layer.axis == "time"', 'if layer.axis != "time"'),
        "onnx: no identity": ("x if layer.identity else None", "None"),
    },
    ("files/onnxfile.py", "Graph.pointwise"): {
        "onnx: strides swapped": ("strides=stride", "strides=stride[::-1]"),
    },
    ("files/onnxfile.py", "Graph.conv"): {
        "onnx: no eps": ("epsilon=float(bn.eps)", "epsilon=0.0"),
    },
    ("files/onnxfile.py", "Graph.log_mel"): {
        "onnx: the front end in float32": ("TensorProto.DOUBLE", "TensorProto.FLOAT"),
    },
    ("files/onnxfile.py", "write_onnx"): {
        "onnx: never merged": ("network if branches else fuse(network)", "network"),
    },
    ("files/safetensorsfile.py", "read_arrays"): {
        "safetensors: overlapping arrays": ("start == end and", "True and"),
        "safetensors: a header of any length": ('min(size - 8, most), f"{found}', 'size - 8, f"{found}'),
    },
    ("files/safetensorsfile.py", "write_arrays"): {
        "safetensors: not aligned": ("(-len(text) % 8)", "(len(text) % 8)"),
    },
    ("proof/coarse.py", "check_rounding"): {
        "verify: rounding: to a bound": ("np.zeros_like(exact)", "np.full_like(exact, 1e9)"),
        "verify: rounding: numbers that need none": ("(-600, 600, ", "(-2, 2, "),
    },
    ("proof/exported.py", "check_front_end"): {
        "verify --exported: any front end": ("np.spacing(np.abs(expected))", "np.ones_like(expected)"),
    },
    ("web/server.py", "Server.allows"): {
        "web: any name in Host": (
            "return port == str(self._port) and name in self._names",
            "return port == str(self._port)",
        ),
    },
    ("web/server.py", "Handler._expect_ours"): {
        "web: any token that begins rightly": (
            'if not hmac.compare_digest(token.encode("latin-1"), self.server.token.encode()):',
            "if not self.server.token.startswith(token):",
        ),
        "web: other ports of this computer": (
            'not in ("same-origin", "none") and not visit',
            'not in ("same-origin", "same-site", "none") and not visit',
        ),
    },
    ("web/server.py", "Handler._body"): {
        "web: bodies of any length": ("if len(lengths[0]) > 12 or int(lengths[0]) > most:", "if len(lengths[0]) > 12:"),
    },
    ("web/server.py", "Bounded.readinto"): {
        "web: headers may take their time": ("left = self.end - time.monotonic()", "left = HEAD_SECONDS"),
    },
    ("web/server.py", "Server.start"): {
        "web: any number of sessions": ("self.end(old)", "self.end(None)"),
    },
    ("web/bench.py", "Session.stage"): {
        "web: one form shown twice": (
            "images = merged[:, :, channel], other[:, :, channel]",
            "images = merged[:, :, channel], merged[:, :, channel]",
        ),
    },
    ("web/bench.py", "receptive_fields"): {
        "web: receptive fields one too large": ("for b in layer.branches) - 1", "for b in layer.branches)"),
    },
    ("web/bench.py", "quantised"): {
        "web: brightness beyond its range": ("np.rint(255 * share)", "np.rint(256 * share)"),
    },
    ("fast/compiled.py", "CompiledNetwork.__call__"): {
        "fast: results that the next call overwrites": ("p.copy()", "p"),
    },
    ("stream.py", "Stream._track"): {
        "stream: a gate of 3 dB more": ("x @ x < self._gate * len(x)", "x @ x < 2 * self._gate * len(x)"),
    },
    ("stream.py", "SlidingLogMel.current"): {
        "stream: a window after a gap": ("if self._at != self._frame:", "if self._at < 0:"),
    },
    ("stream.py", "Stream.feed"): {
        "stream: starts among the ends": ("if event.end is not None]", "]"),
    },
    ("cli/hook.py", "Hook._run"): {
        "exec: what a command starts lives on": (
            "os.killpg(process.pid, signal.SIGKILL) if unix else process.kill()",
            "process.kill()",
        ),
    },
    ("cli/hook.py", "Hook.add"): {
        "exec: any number waits": ("self._events.qsize() < WAITING", "True"),
    },
    ("cli/listen.py", "Report.add"): {
        "listen: the clock of the last block": ("arrived - stream.seconds", "arrived"),
    },
    ("cli/listen.py", "Report.entry"): {
        "listen: an end at its start": (
            "max(origin + event.end, self._started[event.head] + event.end - event.start)",
            "origin + event.start",
        ),
    },
    ("cli/pool.py", "_answers_of_processes"): {
        "jobs: files twice": ("islice(ours, len(waiting), ahead)", "islice(ours, 0, ahead)"),
    },
    ("audio/pcm.py", "Pcm._look_at_level"): {
        "listen: the offset of both channels together": ("np.abs(x.mean(axis=0)).max()", "abs(x.mean())"),
    },
}
