//! Every form and every path through the processor against the reference.

#[path = "../../tests/support/mod.rs"]
mod support;

use proptest::prelude::*;
use support::cell::{ClassifierDraft, Form, NUMBERS, Numbers, cell};
use support::{Random, f32_tensor, i8_tensor, u16_tensor};

use super::reference::Reference;
use super::{Cell, CellScratch, LANES, Transform, activation, matrix};
use crate::artifact::{TensorData, Tensors};
use crate::error::Result;
use crate::kernels::paths::{any_length, any_number, bits, on_every_path};
use crate::{ErrorKind, classifier};

const INPUT: &str = "cell.input_weight";

/// Puts the tensors into a file and hands its reader to `read`.
fn opened<T>(tensors: &[TensorData], read: impl FnOnce(&Tensors) -> T) -> T {
    let header = ClassifierDraft::of_vectors(&mut Random(0), 1, 2, None).header.to_string();
    let bytes = crate::kinds::write(&header, tensors.to_vec()).expect("a file");
    read(&Tensors::open::<classifier::Header>(&bytes).expect("a sound file").1)
}

fn load(tensors: &[TensorData], inputs: usize) -> Result<Cell> {
    opened(tensors, |tensors| Cell::load("cell", tensors, inputs))
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(&found, expected)| {
            (f64::from(found) - expected).abs() <= tolerance * expected.abs().max(1.0)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Sums are exactly the reference's, in integers and in f32; states within 1e-5.
    #[test]
    fn a_step_equals_the_reference(seed in any::<u64>()) {
        let mut random = Random(seed);
        let form = Form::any(&mut random);
        let widest = if random.chance(0.3) { 200 } else { 40 };
        let inputs = 1 + random.below(widest);
        let hidden = 1 + random.below(40);
        let tensors = cell(&mut random, "cell", inputs, hidden, form);
        let loaded = load(&tensors, inputs).expect("a valid cell");
        let reference = Reference(&tensors);
        let mut scratch = CellScratch::default();
        for _ in 0..3 {
            let input = random.floats(inputs, 3.0);
            let mut state = if random.chance(0.2) { vec![0.0; hidden] } else { random.floats(hidden, 1.0) };
            let mut products = Vec::new();
            let CellScratch { rank, matrix, .. } = &mut scratch;
            for (transform, name, x) in
                [(&loaded.input_weight, INPUT, &input), (&loaded.recurrent_weight, "cell.recurrent_weight", &state)]
            {
                transform.products(x, &mut products, rank, matrix);
                prop_assert_eq!(bits(&products[..hidden]), bits(&reference.transform(name, x)), "{} {:?}", name, form);
                prop_assert!(products[hidden..].iter().all(|&padding| padding == 0.0));
            }
            let expected = reference.step("cell", &input, &state);
            loaded.step(&input, &mut state, &mut scratch);
            prop_assert!(close(&state, &expected, 1e-5), "{:?}: {:?} {:?}", form, state, expected);
        }
    }

    /// A step alone, in a sequence and in a batch: the same bits.
    #[test]
    fn sequence_and_batch_are_steps(seed in any::<u64>(), rows in 1usize..40) {
        let mut random = Random(seed);
        let form = Form::any(&mut random);
        let (inputs, hidden) = (1 + random.below(80), 1 + random.below(70));
        let loaded = load(&cell(&mut random, "cell", inputs, hidden, form), inputs).expect("a valid cell");
        let input = random.floats(rows * inputs, 3.0);
        let mut states = random.floats(rows * hidden, 1.0);
        let (mut alone, mut batch) = (states.clone(), states.clone());
        // One scratch for all: what earlier calls left behind must not matter.
        let mut scratch = CellScratch::default();
        for (input, state) in input.chunks(inputs).zip(alone.chunks_mut(hidden)) {
            loaded.step(input, state, &mut scratch);
        }
        loaded.batch(&input, &mut batch, &mut scratch);
        prop_assert_eq!(bits(&batch), bits(&alone));

        let state = &mut states[..hidden];
        let mut last = state.to_vec();
        for input in input.chunks(inputs) {
            loaded.step(input, &mut last, &mut CellScratch::default());
        }
        loaded.sequence(&input, state, &mut scratch);
        prop_assert_eq!(bits(state), bits(&last));
    }

    /// Whatever is finite stays so, and no state grows by more than 2 a step.
    #[test]
    fn extreme_values_stay_finite(seed in any::<u64>()) {
        let mut random = Random(seed);
        let form = Form { largest: 1e9, ..Form::any(&mut random) };
        let (inputs, hidden) = (1 + random.below(40), 1 + random.below(20));
        let loaded = load(&cell(&mut random, "cell", inputs, hidden, form), inputs).expect("a valid cell");
        let extremes = [f32::MAX, f32::MIN, 0.0, -0.0, 1e-45, f32::MIN_POSITIVE, 1e9, -1e9, 1.0];
        let input: Vec<f32> = (0..inputs).map(|_| extremes[random.below(extremes.len())]).collect();
        let mut state = random.floats(hidden, 2.0);
        let mut scratch = CellScratch::default();
        for _ in 0..20 {
            let before = state.clone();
            loaded.step(&input, &mut state, &mut scratch);
            for (after, before) in state.iter().zip(before) {
                prop_assert!(after.is_finite() && after.abs() <= before.abs() + 2.0 + 1e-5, "{:?}", form);
            }
        }
    }

    /// The references are one line each: what the kernels say they compute, in the order they say.
    #[test]
    fn every_path_gives_the_bits_of_the_reference(
        values in any_length().prop_flat_map(|length| prop::collection::vec(any_number(), 2 * length)),
        columns in 1usize..40, inputs in 0usize..7, gap in 0usize..3, scale in 1e-3f32..1.0, piecewise in any::<bool>(),
    ) {
        let clipped = |value: f32| {
            let value = if value < 1.0 { value } else { 1.0 };
            if value > -1.0 { value } else { -1.0 }
        };
        let tau = |value: &f32| if piecewise { clipped(*value) } else { activation::tanh(*value) };
        let activated: Vec<f32> = values.iter().map(tau).collect();

        let weights: Vec<[f32; LANES]> = values.as_chunks().0.to_vec();
        let blocks = weights.len() / columns;
        let (weights, stride) = (&weights[..blocks * columns], columns + gap);
        let given: Vec<f32> = values.iter().rev().copied().cycle().take(inputs * stride).collect();
        let given = if values.is_empty() { vec![1.0; inputs * stride] } else { given };
        let mut sums = vec![0.0; inputs * blocks * LANES];
        for (place, sum) in sums.iter_mut().enumerate() {
            let (input, row) = (place / (blocks * LANES), place % (blocks * LANES));
            for column in 0..columns {
                *sum += given[input * stride + column] * weights[row / LANES * columns + column][row % LANES];
            }
        }

        let rounded: Vec<i8> = values.iter().map(|value| {
            let value = value / scale;
            if value.is_nan() { -127 } else { value.clamp(-127.0, 127.0).round_ties_even() as i8 }
        }).collect();
        let (left, right) = values.split_at(values.len() / 2);
        let pairs = || left.iter().zip(right);
        let added: Vec<f32> = pairs().map(|(a, b)| scale * (a + b + a)).collect();
        let updated: Vec<f32> = pairs().map(|(a, b)| {
            let gate = 0.5 + 0.5 * a;
            (scale * (1.0 - gate) + 0.25) * b + gate * a
        }).collect();

        on_every_path(|path| {
            let mut found = values.clone();
            activation::activate(&mut found, piecewise);
            assert_eq!(bits(&found), bits(&activated), "τ, {path:?}");
            let mut found = vec![1.0; sums.len()];
            if blocks > 0 {
                matrix::products(weights, columns, &given, stride, &mut found);
                assert_eq!(bits(&found), bits(&sums), "products, {path:?}");
            }
            let mut found = vec![0; values.len()];
            matrix::round_to_bytes(&values, scale, &mut found);
            assert_eq!(found, rounded, "bytes, {path:?}");
            let mut found = vec![0.0; values.len()];
            matrix::round_to_floats(&values, scale, &mut found);
            assert!(found.iter().zip(&rounded).all(|(x, &byte)| *x as i32 == i32::from(byte)), "floats, {path:?}");
            let mut found = vec![0.0; left.len()];
            activation::arguments(left, right, left, scale, &mut found);
            assert_eq!(bits(&found), bits(&added), "arguments, {path:?}");
            let mut found = left.to_vec();
            activation::update(left, right, [scale, 0.25], &mut found);
            assert_eq!(bits(&found), bits(&updated), "update, {path:?}");
        });
    }

    #[test]
    fn tanh_is_near_the_exact_one(x in -12f32..12.0) {
        prop_assert!((f64::from(activation::tanh(x)) - f64::from(x).tanh()).abs() < 5e-7);
    }

    #[test]
    fn tanh_is_odd_and_never_leaves_its_range(bits in any::<u32>()) {
        let x = f32::from_bits(bits);
        let y = activation::tanh(x);
        prop_assert!(y.abs() <= 1.0);
        prop_assert!(x.is_nan() || y.to_bits() == (-activation::tanh(-x)).to_bits());
    }
}

#[test]
fn halves_round_to_even() {
    let mut out = [0; 7];
    matrix::round_to_bytes(&[0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 1e30], 1.0, &mut out);
    assert_eq!(out, [0, 2, 2, 0, -2, 126, 127]);
}

#[test]
fn long_and_short_integer_rows_are_multiplied_alike() {
    for columns in [matrix::SHORT - 1, matrix::SHORT, matrix::SHORT + 1, 1000] {
        let mut random = Random(columns as u64);
        let form = Form { ranks: [None; 2], ..Form::plain(Numbers::Int8) };
        let mut tensors = cell(&mut random, "cell", columns, 9, form);
        // The largest sums there are.
        let full = tensors.iter_mut().find(|tensor| tensor.name == INPUT).expect("a weight");
        full.bytes.fill(127);
        let input = vec![1e9; columns];
        let loaded = load(&tensors, columns).expect("a valid cell");
        let (mut products, mut scratch) = (Vec::new(), CellScratch::default());
        loaded.input_weight.products(&input, &mut products, &mut scratch.rank, &mut scratch.matrix);
        assert_eq!(bits(&products[..9]), bits(&Reference(&tensors).transform(INPUT, &input)));
    }
}

/// Every tensor missing, of another type or another shape, and every number that contradicts another.
#[test]
fn a_cell_that_contradicts_itself_is_refused_by_name() {
    let refused = |tensors: &[TensorData], name: &str| {
        let error = load(tensors, 12).expect_err(name);
        assert_eq!(error.kind, ErrorKind::ArtifactInvalid, "{name}");
        assert!(error.field.starts_with(name), "{name}: {error}");
        assert!(!error.remedy.is_empty());
    };
    for numbers in NUMBERS {
        let form = Form { ranks: [Some(3), None], ..Form::plain(numbers) };
        let tensors = cell(&mut Random(5), "cell", 12, 7, form);
        load(&tensors, 12).expect("a valid cell");
        for at in 0..tensors.len() {
            let name = tensors[at].name.clone();
            // Without an input scale, weights are f32; without values or a rank, another form is looked for.
            let optional = ["input_scale", "values", "rank"].iter().any(|part| name.ends_with(part));
            let mut without = tensors.clone();
            without.remove(at);
            if optional {
                assert!(load(&without, 12).is_ok() == name.ends_with("input_scale"), "{name}");
            } else {
                refused(&without, &name);
            }
            let mut other_type = tensors.clone();
            let wide = other_type[at].dtype == "f32" || other_type[at].dtype == "u16";
            if wide {
                other_type[at].shape = vec![other_type[at].bytes.len()];
                other_type[at].dtype = "i8".to_owned();
                assert!(load(&other_type, 12).is_err(), "{name} as i8");
            }
            let mut longer = tensors.clone();
            longer[at].shape = vec![1, longer[at].shape.iter().product()];
            let vector = name.ends_with("bias")
                || name.ends_with("columns")
                || name.ends_with("counts")
                || name.ends_with("rank");
            if !vector || name.ends_with("update_bias") {
                refused(&longer, &name);
            }
        }
    }
}

#[test]
fn numbers_outside_their_range_are_refused() {
    let spoilt = |numbers: Numbers, name: &str, change: &dyn Fn(&mut TensorData)| {
        let mut tensors = cell(&mut Random(5), "cell", 11, 7, Form::plain(numbers));
        change(tensors.iter_mut().find(|tensor| tensor.name == name).expect("there is such a tensor"));
        let error = load(&tensors, 11).expect_err(name);
        assert!(error.kind == ErrorKind::ArtifactInvalid && error.field.starts_with(name), "{error}");
    };
    let part = |part: &str| format!("{INPUT}.{part}");
    spoilt(Numbers::Int8, INPUT, &|tensor| tensor.bytes[9] = 0x80);
    spoilt(Numbers::Int4, INPUT, &|tensor| tensor.bytes[0] = 0x08);
    spoilt(Numbers::Int4, INPUT, &|tensor| tensor.bytes[5] |= 0x10);
    spoilt(Numbers::Int8, &part("scale"), &|tensor| {
        *tensor = f32_tensor(part("scale"), &[7], &[-1.0; 7]);
    });
    for scale in [0.0, -0.5, 1e-40, f32::NAN, f32::INFINITY] {
        spoilt(Numbers::Int8, &part("input_scale"), &|tensor| {
            *tensor = f32_tensor(part("input_scale"), &[1], &[scale]);
        });
    }
    spoilt(Numbers::F32, "cell.activation", &|tensor| tensor.bytes[0] = 2);
    spoilt(Numbers::F32, "cell.zeta", &|tensor| *tensor = f32_tensor("cell.zeta", &[1], &[f32::NAN]));
    spoilt(Numbers::SparseF32, &part("counts"), &|tensor| tensor.bytes[0] ^= 1);
    spoilt(Numbers::SparseF32, &part("columns"), &|tensor| tensor.bytes[1] = 1);
    spoilt(Numbers::SparseInt8, &part("columns"), &|tensor| tensor.bytes.swap(0, 2));
}

#[test]
fn sizes_are_bounded_before_memory_is_taken() {
    let mut random = Random(1);
    let mut tensors = cell(&mut random, "cell", 4, 4, Form::plain(Numbers::F32));
    for (inputs, field) in [(0, INPUT), (super::LARGEST_INPUT + 1, INPUT)] {
        assert!(load(&tensors, inputs).expect_err("too many").field.starts_with(field));
    }
    // A matrix of zeros takes no room in the file, and would much in memory.
    let wide = super::LARGEST_INPUT;
    let names = ["cell.gate_bias", "cell.update_bias"];
    tensors.retain(|tensor| !names.contains(&tensor.name.as_str()) && !tensor.name.starts_with(INPUT));
    for name in names {
        tensors.push(f32_tensor(name, &[512], &[0.0; 512]));
    }
    tensors.push(f32_tensor(format!("{INPUT}.values"), &[0], &[]));
    tensors.push(u16_tensor(format!("{INPUT}.columns"), &[]));
    tensors.push(u16_tensor(format!("{INPUT}.counts"), &[0; 512]));
    assert_eq!(load(&tensors, wide).expect_err("8 million weights").field, INPUT);
    for rank in [0, super::LARGEST_HIDDEN as u16 + 1] {
        let mut ranked = tensors.clone();
        ranked.push(u16_tensor(format!("{INPUT}.rank"), &[rank]));
        assert_eq!(load(&ranked, wide).expect_err("no such rank").field, format!("{INPUT}.rank"));
    }
    let mut none = tensors.clone();
    none.iter_mut().filter(|tensor| names.contains(&tensor.name.as_str())).for_each(|tensor| {
        *tensor = f32_tensor(tensor.name.clone(), &[0], &[]);
    });
    assert_eq!(load(&none, 4).expect_err("no state").field, "cell.gate_bias");
}

#[test]
fn zeros_that_are_written_out_change_nothing() {
    let mut random = Random(3);
    let sparse = cell(&mut random, "cell", 33, 17, Form::plain(Numbers::SparseInt8));
    let mut dense: Vec<TensorData> = Vec::new();
    let parts = ["values", "columns", "counts"];
    dense.extend(
        sparse.iter().filter(|tensor| !parts.iter().any(|part| tensor.name.ends_with(part))).cloned(),
    );
    for (name, columns) in [(INPUT, 33), ("cell.recurrent_weight", 17)] {
        let find = |part: &str| {
            sparse.iter().find(|tensor| tensor.name == format!("{name}.{part}")).expect("a part")
        };
        let u16s = |part: &str| -> Vec<usize> {
            find(part)
                .bytes
                .as_chunks()
                .0
                .iter()
                .map(|&bytes| usize::from(u16::from_le_bytes(bytes)))
                .collect()
        };
        let mut places = u16s("columns").into_iter().zip(&find("values").bytes);
        let mut values = vec![0i8; 17 * columns];
        for (row, count) in u16s("counts").into_iter().enumerate() {
            for (place, value) in places.by_ref().take(count) {
                values[row * columns + place] = value.cast_signed();
            }
        }
        dense.push(i8_tensor(name, &[17, columns], &values));
    }
    let input = random.floats(33 * 5, 2.0);
    let run = |tensors: &[TensorData]| {
        let mut state = vec![0.0; 17];
        load(tensors, 33).expect("a valid cell").sequence(&input, &mut state, &mut CellScratch::default());
        bits(&state)
    };
    assert_eq!(run(&sparse), run(&dense));
}

#[test]
fn a_product_of_two_factors_is_the_second_after_the_first() {
    let form = Form { ranks: [Some(2), Some(5)], ..Form::plain(Numbers::F32) };
    let tensors = cell(&mut Random(4), "cell", 6, 8, form);
    let reference = Reference(&tensors);
    let input = [0.5, -1.0, 2.0, 0.25, -0.125, 1.0];
    let inner = reference.product(&format!("{INPUT}.right"), &input);
    assert_eq!(inner.len(), 2);
    let transform = opened(&tensors, |tensors| Transform::load(INPUT, tensors, 8, 6)).expect("two factors");
    let (mut products, mut scratch) = (Vec::new(), CellScratch::default());
    transform.products(&input, &mut products, &mut scratch.rank, &mut scratch.matrix);
    assert_eq!(bits(&products[..8]), bits(&reference.product(&format!("{INPUT}.left"), &inner)));
}
