//! Every backend against its formula, written down naively in f64.

mod support;

use proptest::prelude::*;
use support::cell::{self, Form, Numbers};
use support::{Draft, Plan, Random, f32_tensor, i8_tensor};
use tiny_dancer::artifact::TensorData;
use tiny_dancer::encoder::DIM;
use tiny_dancer::features::{CHAR_BASE, CUES, Features};
use tiny_dancer::{Options, Router, Scratch};

struct Tensors<'a>(&'a [TensorData]);

impl Tensors<'_> {
    fn find(&self, name: &str) -> &TensorData {
        self.0.iter().find(|tensor| tensor.name == name).expect("there is such a tensor")
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        let bytes = self.find(name).bytes.chunks_exact(4);
        bytes.map(|four| f64::from(f32::from_le_bytes(four.try_into().expect("four")))).collect()
    }

    fn i8(&self, name: &str) -> Vec<f64> {
        self.find(name).bytes.iter().map(|byte| f64::from(byte.cast_signed())).collect()
    }

    fn u16(&self, name: &str) -> Vec<usize> {
        let bytes = self.find(name).bytes.chunks_exact(2);
        bytes.map(|two| usize::from(u16::from_le_bytes(two.try_into().expect("two")))).collect()
    }
}

/// Cues, then the embedding at length 1.
fn inputs(features: &Features) -> Vec<f64> {
    let embedding: Vec<f64> = features.embedding.iter().map(|&value| f64::from(value)).collect();
    let length = embedding.iter().map(|value| value * value).sum::<f64>().sqrt();
    let unit = embedding.iter().map(|value| if length == 0.0 { 0.0 } else { value / length });
    features.cues.iter().map(|&cue| f64::from(cue)).chain(unit).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// intercept + scale/√n · Σ table rows (words and characters) + cues·C + embedding·E, cues within what was seen
fn linear(tensors: &Tensors, name: &str, features: &Features, component: usize) -> f64 {
    let mut inputs = inputs(features);
    if tensors.0.iter().any(|tensor| tensor.name == format!("{name}.cue_least")) {
        let [least, most] = ["cue_least", "cue_most"].map(|part| tensors.f64(&format!("{name}.{part}")));
        for (cue, (least, most)) in inputs.iter_mut().zip(least.iter().zip(&most)) {
            *cue = cue.clamp(*least, *most);
        }
    }
    let mut score = tensors.f64(&format!("{name}.intercept"))[component];
    for (part, indices) in [("word", features.word_ngrams()), ("character", features.character_ngrams())] {
        let shape = &tensors.find(&format!("{name}.{part}")).shape;
        let table = tensors.i8(&format!("{name}.{part}"));
        let sum: f64 =
            indices.iter().map(|&index| table[index as usize % shape[0] * shape[1] + component]).sum();
        let scale = tensors.f64(&format!("{name}.{part}_scale"))[component];
        score += scale * sum / (indices.len().max(1) as f64).sqrt();
    }
    score += dot(&tensors.f64(&format!("{name}.cues"))[component * CUES..][..CUES], &inputs[..CUES]);
    score + dot(&tensors.f64(&format!("{name}.embedding"))[component * DIM..][..DIM], &inputs[CUES..])
}

/// intercept + scale · Σ over trees of the leaf each walk ends in
fn trees(tensors: &Tensors, name: &str, features: &Features, component: usize) -> f64 {
    let tensor = |part: &str| format!("{name}.{part}");
    let inputs = inputs(features);
    let (feature, right) = (tensors.u16(&tensor("feature")), tensors.u16(&tensor("right")));
    let threshold = tensors.f64(&tensor("threshold"));
    let columns = tensors.find(&tensor("leaf")).shape[1];
    let leaves = tensors.i8(&tensor("leaf"));
    let (mut first, mut first_leaf, mut sum) = (0, 0, 0.0);
    for size in tensors.u16(&tensor("size")) {
        let mut at = first;
        while feature[at] != 0xFFFF {
            at = if inputs[feature[at]] <= threshold[at] { at + 1 } else { first + right[at] };
        }
        sum += leaves[(first_leaf + right[at]) * columns + component];
        first_leaf += feature[first..first + size].iter().filter(|found| **found == 0xFFFF).count();
        first += size;
    }
    tensors.f64(&tensor("intercept"))[component] + tensors.f64(&tensor("scale"))[component] * sum
}

/// `intercept + Σ over landmarks of coefficient · exp(−γ_e·(2 − 2·cosine) − γ_c·squared distance of the cues)`
fn memory(tensors: &Tensors, name: &str, features: &Features, component: usize) -> f64 {
    let tensor = |part: &str| format!("{name}.{part}");
    let inputs = inputs(features);
    let (mean, scale) = (tensors.f64(&tensor("cue_mean")), tensors.f64(&tensor("cue_scale")));
    let cues: Vec<f64> =
        (0..CUES).map(|at| ((inputs[at] - mean[at]) * scale[at]).clamp(-127.0, 127.0).round()).collect();
    let gamma = tensors.f64(&tensor("gamma"));
    let embeddings = tensors.i8(&tensor("embeddings"));
    let landmark_cues = tensors.i8(&tensor("cues"));
    let landmarks = embeddings.len() / DIM;
    let coefficients = &tensors.f64(&tensor("coefficients"))[component * landmarks..][..landmarks];
    let mut score = tensors.f64(&tensor("intercept"))[component];
    for landmark in 0..landmarks {
        let embedding = &embeddings[landmark * DIM..][..DIM];
        let length = dot(embedding, embedding).sqrt();
        let cosine = if length == 0.0 { 0.0 } else { dot(embedding, &inputs[CUES..]) / length };
        let row = &landmark_cues[landmark * CUES..][..CUES];
        let distance: f64 = row.iter().zip(&cues).map(|(a, b)| (a - b) * (a - b)).sum();
        score += coefficients[landmark] * (-gamma[0] * (2.0 - 2.0 * cosine) - gamma[1] * distance).exp();
    }
    score
}

/// head.bias + head.weight · h, h the state after one step from 0: `(s(ζ)·(1 − z) + s(ν)) · c`
fn fastgrnn(tensors: &Tensors, name: &str, features: &Features, component: usize) -> f64 {
    let tensor = |part: &str| tensors.f64(&format!("{name}.{part}"));
    let (mean, scale) = (tensor("cue_mean"), tensor("cue_scale"));
    let mut inputs = inputs(features);
    for at in 0..CUES {
        inputs[at] = (inputs[at] - mean[at]) * scale[at];
    }
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (zeta, nu) = (logistic(tensor("zeta")[0]), logistic(tensor("nu")[0]));
    let (gate_bias, update_bias) = (tensor("gate_bias"), tensor("update_bias"));
    let rows = tensor("input_weight");
    let state: Vec<f64> = rows
        .chunks(inputs.len())
        .enumerate()
        .map(|(at, row)| {
            let sum = dot(row, &inputs);
            let gate = logistic(sum + gate_bias[at]);
            (zeta * (1.0 - gate) + nu) * (sum + update_bias[at]).tanh()
        })
        .collect();
    let head = tensor("head.weight");
    tensor("head.bias")[component] + dot(&head[component * state.len()..][..state.len()], &state)
}

fn any_features(random: &mut Random) -> Features {
    let mut ngrams: Vec<u32> = (0..random.below(300)).map(|_| random.below(2 << 17) as u32).collect();
    ngrams.sort_unstable();
    ngrams.dedup();
    // Multiples of 1/4, so that standardised cues are not next to a rounding edge by accident of f32.
    let cues = std::array::from_fn(|_| random.below(24) as f32 / 4.0);
    let embedding = if random.chance(0.1) { [0; DIM] } else { std::array::from_fn(|_| random.i8()) };
    let mut features = Features::default();
    features.set(&ngrams, &cues, &embedding, 40).expect("sound");
    assert!(features.word_ngrams().iter().all(|&index| index < CHAR_BASE));
    features
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn scores_equal_the_formula(
        seed in any::<u64>(), kind in prop::sample::select(vec!["linear", "trees", "memory", "fastgrnn"])
    ) {
        let mut random = Random(seed);
        let components = 1 + random.below(4);
        // A model a component, so that each quality shows one component: the identity in between.
        let plan = Plan { models: components, components, backends: vec![kind], encoder: None };
        let mut draft = Draft::new(&mut random, &plan);
        let identity: Vec<f32> = (0..components * components)
            .map(|at| f32::from(u8::from(at % (components + 1) == 0)))
            .collect();
        *draft.tensor("basis") = f32_tensor("basis", &[components, components], &identity);
        *draft.tensor("stack") = f32_tensor("stack", &[1, components], &vec![0.05; components]);
        *draft.tensor("mean") = f32_tensor("mean", &[components], &vec![0.5; components]);
        for name in ["calibration_knots", "calibration_values"] {
            *draft.tensor(name) = f32_tensor(name, &[components, 2], &[0.0, 1.0].repeat(components));
        }
        if kind == "linear" && random.chance(0.7) {
            let name = draft.header.backends[0].name.clone();
            let least = random.floats(CUES, 2.0);
            let most: Vec<f32> = least.iter().map(|least| least + random.below(4) as f32).collect();
            draft.tensors.push(f32_tensor(format!("{name}.cue_least"), &[CUES], &least));
            draft.tensors.push(f32_tensor(format!("{name}.cue_most"), &[CUES], &most));
        }
        if kind == "memory" {
            // Whole scales leave the standardised cues exact.
            let name = draft.header.backends[0].name.clone();
            let scale: Vec<f32> = (0..CUES).map(|_| random.below(16) as f32).collect();
            let mean: Vec<f32> = (0..CUES).map(|_| random.below(9) as f32 / 8.0).collect();
            *draft.tensor(&format!("{name}.cue_scale")) =
                f32_tensor(format!("{name}.cue_scale"), &[CUES], &scale);
            *draft.tensor(&format!("{name}.cue_mean")) =
                f32_tensor(format!("{name}.cue_mean"), &[CUES], &mean);
        }
        if kind == "fastgrnn" {
            // The forms are compared with their reference elsewhere: here, one whose formula is short.
            let name = draft.header.backends[0].name.clone();
            draft.tensors.retain(|tensor| !tensor.name.starts_with(&name));
            let form = Form { largest: 0.05, ..Form::plain(Numbers::F32) };
            let hidden = 1 + random.below(20);
            draft.tensors.extend(cell::cell(&mut random, &name, CUES + DIM, hidden, form));
            draft.tensors.push(f32_tensor(format!("{name}.cue_mean"), &[CUES], &random.floats(CUES, 1.0)));
            draft.tensors.push(f32_tensor(format!("{name}.cue_scale"), &[CUES], &random.floats(CUES, 0.5)));
            let head = cell::matrix(&mut random, &format!("{name}.head.weight"), components, hidden, form);
            draft.tensors.extend(head);
            let bias = random.floats(components, 0.2);
            draft.tensors.push(f32_tensor(format!("{name}.head.bias"), &[components], &bias));
        }
        draft.header.policy = tiny_dancer::policy::Policy::Constant { model: 0 };
        let router = Router::from_bytes(&draft.bytes(), None).expect("sound");
        let tensors = Tensors(&draft.tensors);
        let mut scratch = Scratch::default();
        for _ in 0..3 {
            scratch.features = any_features(&mut random);
            router.decide_features(&Options::default(), &mut scratch).expect("feasible");
            let formula = match kind {
                "linear" => linear,
                "trees" => trees,
                "fastgrnn" => fastgrnn,
                _ => memory,
            };
            let name = &draft.header.backends[0].name;
            for component in 0..components {
                let score = formula(&tensors, name, &scratch.features, component);
                let expected = (0.5 + f64::from(0.05f32) * score).clamp(0.0, 1.0);
                let found = f64::from(scratch.expect.quality[component]);
                prop_assert!((found - expected).abs() < 1e-5, "{} {} {}", kind, found, expected);
            }
        }
    }
}

/// Rounding may take a cosine a little above 1. Whatever γ, a landmark is then as near as can be, and no nearer.
#[test]
fn no_landmark_is_nearer_than_itself() {
    let beyond = |&value: &i32| {
        let inverse = 1.0 / ((value * value) as f32).sqrt();
        (value * value) as f32 * inverse * inverse > 1.0
    };
    let value = (1..=127).find(beyond).expect("some cosine is rounded up") as i8;
    let plan = Plan { models: 1, components: 1, backends: vec!["memory"], encoder: None };
    let mut draft = Draft::new(&mut Random(1), &plan);
    let tensor = |part: &str| format!("{}.{part}", draft.header.backends[0].name);
    let [embeddings, gamma, coefficients, intercept] =
        ["embeddings", "gamma", "coefficients", "intercept"].map(tensor);
    let landmarks = draft.tensor(&embeddings).shape[0];
    let mut embedding = [0; DIM];
    embedding[0] = value;
    let values = embedding.repeat(landmarks);
    let shares = vec![0.25 / landmarks as f32; landmarks];
    for tensor in [
        i8_tensor(embeddings, &[landmarks, DIM], &values),
        f32_tensor(gamma, &[2], &[1e9, 0.0]),
        f32_tensor(coefficients, &[1, landmarks], &shares),
        f32_tensor(intercept, &[1], &[0.5]),
        f32_tensor("basis", &[1, 1], &[1.0]),
        f32_tensor("stack", &[1, 1], &[1.0]),
        f32_tensor("mean", &[1], &[0.0]),
        f32_tensor("calibration_knots", &[1, 2], &[0.0, 1.0]),
        f32_tensor("calibration_values", &[1, 2], &[0.0, 1.0]),
    ] {
        let name = tensor.name.clone();
        *draft.tensor(&name) = tensor;
    }
    draft.header.policy = tiny_dancer::policy::Policy::Constant { model: 0 };
    let router = Router::from_bytes(&draft.bytes(), None).expect("sound");
    let mut scratch = Scratch::default();
    scratch.features.set(&[], &[0.0; CUES], &embedding, 40).expect("sound");
    router.decide_features(&Options::default(), &mut scratch).expect("feasible");
    assert!((scratch.expect.quality[0] - 0.75).abs() < 1e-5, "{:?}", scratch.expect.quality);
}
