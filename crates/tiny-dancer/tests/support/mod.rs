//! Small random artifacts that are valid, and tools to spoil them. The fuzz targets use this file too.
#![allow(dead_code, reason = "every test uses a part of it")]

pub mod cell;
pub mod intents;
pub mod ranking;
pub mod scorers;
pub mod textbook;

use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tiny_dancer::artifact::{
    BackendSpec, FORMAT, FeatureSpec, Guarantee, Header, Kind, ModelSpec, SelfCheck, TensorData,
};
use tiny_dancer::candidates::{Expression, Filter};
use tiny_dancer::encoder::{DIM, Encoder};
use tiny_dancer::features::{CUES, SPEC};
use tiny_dancer::kinds::write;
use tiny_dancer::policy::{CostUnit, Policy};
use tiny_dancer::price::Prices;
use tiny_dancer::{LikenessSpec, Options, Request, Router, Scratch};

/// A repeatable source of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.between(0.0, 1.0) < probability
    }

    pub fn i8(&mut self) -> i8 {
        (self.below(255) as i16 - 127) as i8
    }

    pub fn floats(&mut self, count: usize, largest: f64) -> Vec<f32> {
        (0..count).map(|_| self.between(-largest, largest) as f32).collect()
    }
}

/// What kind of artifact to make.
#[derive(Clone, Debug)]
pub struct Plan {
    pub models: usize,
    pub components: usize,
    pub backends: Vec<&'static str>,
    pub encoder: Option<String>,
}

impl Plan {
    /// Any number of models and any stack of backends; no encoder.
    pub fn any(random: &mut Random) -> Self {
        let mut backends = Vec::new();
        for kind in ["linear", "trees", "memory", "trees", "fastgrnn"] {
            if random.chance(0.6) {
                backends.push(kind);
            }
        }
        let components = if backends.is_empty() { 0 } else { 1 + random.below(4) };
        Self { models: 1 + random.below(12), components, backends, encoder: None }
    }

    /// All four kinds of backend.
    pub fn all_backends(models: usize, encoder: Option<String>) -> Self {
        Self {
            models,
            components: models.min(4),
            backends: vec!["linear", "trees", "memory", "fastgrnn"],
            encoder,
        }
    }
}

/// Chat messages as clients send them, of roles and contents.
pub fn messages_json(messages: &[(&str, &str)]) -> String {
    let messages =
        messages.iter().map(|(role, content)| serde_json::json!({"role": role, "content": content}));
    messages.collect::<serde_json::Value>().to_string()
}

/// A certificate.
pub fn guarantee() -> Guarantee {
    Guarantee {
        epsilon: 0.05,
        delta: 0.1,
        risk: "mean".to_owned(),
        reference: "model-1".to_owned(),
        rows: 1000,
        p_value: 0.01,
        data_digest: "digest".to_owned(),
        date: "2026-01-01".to_owned(),
        observed_risk: 0.01,
        budget: None,
        batch: None,
    }
}

/// An artifact's header and tensors, to be written or spoilt.
#[derive(Clone, Debug)]
pub struct Draft {
    pub header: Header,
    pub tensors: Vec<TensorData>,
}

pub fn f32_tensor(name: impl Into<String>, shape: &[usize], values: &[f32]) -> TensorData {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorData { name: name.into(), dtype: "f32".to_owned(), shape: shape.to_vec(), bytes }
}

pub fn i8_tensor(name: impl Into<String>, shape: &[usize], values: &[i8]) -> TensorData {
    let bytes = values.iter().map(|&value| value.cast_unsigned()).collect();
    TensorData { name: name.into(), dtype: "i8".to_owned(), shape: shape.to_vec(), bytes }
}

pub fn u16_tensor(name: impl Into<String>, values: &[u16]) -> TensorData {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorData { name: name.into(), dtype: "u16".to_owned(), shape: vec![values.len()], bytes }
}

impl Draft {
    pub fn new(random: &mut Random, plan: &Plan) -> Self {
        let (models, components) = (plan.models, plan.components);
        let mut tensors = Vec::new();
        let mut backends = Vec::new();
        for (index, kind) in plan.backends.iter().enumerate() {
            let name = format!("{kind}{index}");
            match *kind {
                "linear" => linear(random, &name, components, &mut tensors),
                "trees" => trees(random, &name, components, &mut tensors),
                "fastgrnn" => tensors.extend(cell::backend(random, &name, components)),
                _ => memory(random, &name, components, &mut tensors),
            }
            backends.push(BackendSpec { kind: (*kind).to_owned(), name });
        }
        let stack = random.floats(backends.len() * components, 0.2);
        tensors.push(f32_tensor("stack", &[backends.len(), components], &stack));
        let mean: Vec<f32> = (0..models).map(|_| random.between(0.2, 0.8) as f32).collect();
        tensors.push(f32_tensor("mean", &[models], &mean));
        tensors.push(f32_tensor("basis", &[models, components], &random.floats(models * components, 0.5)));
        tensors.push(f32_tensor("verbosity", &[CUES + 1], &random.floats(CUES + 1, 0.02)));
        let knots = 2 + random.below(4);
        let (mut knot_rows, mut value_rows) = (Vec::new(), Vec::new());
        for _ in 0..models {
            let (row, values) = calibration(random, knots, 0.0);
            knot_rows.extend(row);
            value_rows.extend(values);
        }
        tensors.push(f32_tensor("calibration_knots", &[models, knots], &knot_rows));
        tensors.push(f32_tensor("calibration_values", &[models, knots], &value_rows));
        let (row, values) = calibration(random, 3, -0.5);
        tensors.push(f32_tensor("confidence_knots", &[3], &row));
        tensors.push(f32_tensor("confidence_values", &[3], &values));
        let mut draft = Self { header: header(random, plan, backends), tensors };
        if random.chance(0.5) {
            draft.add_likeness(random);
        }
        draft
    }

    /// Adds a test of what requests are like, of random weights and calibration scores.
    pub fn add_likeness(&mut self, random: &mut Random) {
        let rows = 1 + random.below(60);
        let mut at = random.between(-3.0, 3.0);
        let scores: Vec<f32> = (0..rows)
            .map(|_| {
                at += random.between(0.01, 0.3);
                at as f32
            })
            .collect();
        let p_values: Vec<f32> = (0..=rows).map(|row| (rows + 1 - row) as f32 / (rows + 1) as f32).collect();
        self.header.likeness = Some(LikenessSpec { level: 0.05, rows: rows as u64 });
        let scale: Vec<f32> = (0..CUES).map(|_| random.between(0.0, 20.0) as f32).collect();
        self.tensors.extend([
            f32_tensor("likeness.mean", &[CUES], &random.floats(CUES, 1.0)),
            f32_tensor("likeness.scale", &[CUES], &scale),
            f32_tensor("likeness.linear", &[CUES], &random.floats(CUES, 0.1)),
            f32_tensor("likeness.square", &[CUES], &random.floats(CUES, 0.03)),
            f32_tensor("likeness.embedding", &[DIM], &random.floats(DIM, 1.0)),
            f32_tensor("likeness.scores", &[rows], &scores),
            f32_tensor("likeness.p_values", &[rows + 1], &p_values),
        ]);
    }

    pub fn any(seed: u64) -> Self {
        let mut random = Random(seed);
        let plan = Plan::any(&mut random);
        Self::new(&mut random, &plan)
    }

    pub fn json(&self) -> String {
        serde_json::to_string(&self.header).expect("a header is JSON")
    }

    pub fn bytes(&self) -> Vec<u8> {
        write(&self.json(), self.tensors.clone()).expect("a valid draft")
    }

    pub fn tensor(&mut self, name: &str) -> &mut TensorData {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("there is such a tensor")
    }

    /// Records what the artifact decides on `texts` as its self-checks.
    pub fn record(&mut self, texts: &[&str], encoder: Option<&Encoder>) {
        self.header.self_check.clear();
        let router = Router::from_bytes(&self.bytes(), encoder).expect("a valid draft");
        let mut scratch = Scratch::default();
        for text in texts {
            let request = Request::text(text);
            let decision = router.decide(&request, encoder, &Options::default(), &mut scratch);
            let choice = decision.expect("feasible").choice.model;
            let quality = scratch.expect.quality.clone();
            self.header.self_check.push(SelfCheck { text: (*text).to_owned(), choice, quality });
        }
    }
}

fn calibration(random: &mut Random, knots: usize, start: f64) -> (Vec<f32>, Vec<f32>) {
    let (mut at, mut level) = (start, random.between(0.0, 0.3));
    let mut rows = (Vec::new(), Vec::new());
    for _ in 0..knots {
        rows.0.push(at as f32);
        rows.1.push(level as f32);
        at += random.between(0.1, 0.5);
        level = (level + random.between(0.0, 0.3)).min(1.0);
    }
    rows
}

fn header(random: &mut Random, plan: &Plan, backends: Vec<BackendSpec>) -> Header {
    let models = plan.models;
    let priced = random.chance(0.7);
    let specs = (0..models).map(|index| ModelSpec {
        name: format!("model-{index}"),
        prices: Prices {
            input: priced.then(|| random.between(0.0, 1e-5)),
            output: (priced && random.chance(0.7)).then(|| random.between(0.0, 1e-4)),
            request: (priced && random.chance(0.2)).then(|| random.between(0.0, 1e-3)),
            cached_input: (priced && random.chance(0.3)).then(|| random.between(0.0, 1e-6)),
            ..Prices::default()
        },
        // An output price without a length to expect is an unknown cost.
        expected_output_tokens: (priced || random.chance(0.7)).then(|| random.between(0.0, 500.0)),
        cost_seen: None,
        cost: random.chance(0.5).then(|| [random.between(0.0, 1e-3), random.between(0.0, 1e-6), 1e-4]),
        latency: random.chance(0.5).then(|| [random.between(0.0, 2.0), random.between(0.0, 1e-3)]),
        context_window: None,
        cleared: random.chance(0.8),
    });
    let specs: Vec<ModelSpec> = specs.collect();
    let known_costs = specs.iter().all(|model| model.prices.is_any() || model.cost.is_some());
    let policy = match random.below(3) {
        0 => Policy::Constant { model: random.below(models) },
        1 if models > 1 => {
            let weak = random.below(models);
            let strong = (weak + 1 + random.below(models - 1)) % models;
            Policy::Threshold { weak, strong, threshold: random.between(-0.1, 0.2) }
        }
        _ => Policy::CostWeight {
            cost_weight: random.between(0.0, 50.0),
            unit: if known_costs && random.chance(0.7) { CostUnit::Usd } else { CostUnit::Calls },
        },
    };
    Header {
        format: FORMAT.to_owned(),
        kind: Header::KIND.to_owned(),
        version: "0.1.0".to_owned(),
        created: "2026-01-01".to_owned(),
        models: specs,
        best_constant: random.below(models),
        features: FeatureSpec { spec: SPEC.to_owned(), encoder: plan.encoder.clone() },
        backends,
        components: plan.components,
        policy,
        policies: None,
        guard_margin: if random.chance(0.5) { 0.0 } else { random.between(0.0, 0.1) },
        set_width: random.between(0.0, 0.2),
        set_coverage: 0.9,
        certificate_ended: None,
        likeness: None,
        drift: None,
        guarantee: None,
        self_check: Vec::new(),
        rest: [("metrics".to_owned(), json!({"rows": 1500}))].into(),
    }
}

fn linear(random: &mut Random, name: &str, components: usize, tensors: &mut Vec<TensorData>) {
    for part in ["word", "character"] {
        let rows = 1usize << random.below(6);
        let values: Vec<i8> = (0..rows * components).map(|_| random.i8()).collect();
        tensors.push(i8_tensor(format!("{name}.{part}"), &[rows, components], &values));
        let scale = random.floats(components, 0.002);
        tensors.push(f32_tensor(format!("{name}.{part}_scale"), &[components], &scale));
    }
    tensors.push(f32_tensor(
        format!("{name}.cues"),
        &[components, CUES],
        &random.floats(components * CUES, 0.05),
    ));
    tensors.push(f32_tensor(
        format!("{name}.embedding"),
        &[components, DIM],
        &random.floats(components * DIM, 0.5),
    ));
    tensors.push(f32_tensor(format!("{name}.intercept"), &[components], &random.floats(components, 0.2)));
}

/// Appends one tree of random shape: its nodes as (threshold, feature, right).
fn grow(random: &mut Random, depth: usize, nodes: &mut Vec<(f32, u16, u16)>) {
    if depth == 0 || random.chance(0.2) {
        nodes.push((0.0, u16::MAX, 0));
        return;
    }
    let at = nodes.len();
    let feature = if random.chance(0.8) { random.below(CUES) } else { CUES + random.below(DIM) };
    let threshold = if feature < CUES { random.between(0.0, 3.0) } else { random.between(-0.1, 0.1) } as f32;
    nodes.push((threshold, feature as u16, 0));
    grow(random, depth - 1, nodes);
    nodes[at].2 = nodes.len() as u16;
    grow(random, depth - 1, nodes);
}

fn trees(random: &mut Random, name: &str, components: usize, tensors: &mut Vec<TensorData>) {
    let (mut all, mut sizes, mut leaf_rows) = (Vec::new(), Vec::new(), 0);
    for _ in 0..random.below(6) {
        let mut nodes = Vec::new();
        grow(random, 4, &mut nodes);
        let leaves = nodes.iter().filter(|node| node.1 == u16::MAX).count();
        for node in nodes.iter_mut().filter(|node| node.1 == u16::MAX) {
            node.2 = random.below(leaves) as u16;
        }
        sizes.push(nodes.len() as u16);
        leaf_rows += leaves;
        all.extend(nodes);
    }
    let thresholds: Vec<f32> = all.iter().map(|node| node.0).collect();
    tensors.push(f32_tensor(format!("{name}.threshold"), &[all.len()], &thresholds));
    let (features, rights): (Vec<u16>, Vec<u16>) = all.iter().map(|node| (node.1, node.2)).unzip();
    tensors.push(u16_tensor(format!("{name}.feature"), &features));
    tensors.push(u16_tensor(format!("{name}.right"), &rights));
    tensors.push(u16_tensor(format!("{name}.size"), &sizes));
    let leaves: Vec<i8> = (0..leaf_rows * components).map(|_| random.i8()).collect();
    tensors.push(i8_tensor(format!("{name}.leaf"), &[leaf_rows, components], &leaves));
    tensors.push(f32_tensor(format!("{name}.scale"), &[components], &random.floats(components, 0.002)));
    tensors.push(f32_tensor(format!("{name}.intercept"), &[components], &random.floats(components, 0.2)));
}

fn memory(random: &mut Random, name: &str, components: usize, tensors: &mut Vec<TensorData>) {
    let landmarks = random.below(9);
    let embeddings: Vec<i8> = (0..landmarks * DIM).map(|_| random.i8()).collect();
    tensors.push(i8_tensor(format!("{name}.embeddings"), &[landmarks, DIM], &embeddings));
    let cues: Vec<i8> = (0..landmarks * CUES).map(|_| random.i8() / 4).collect();
    tensors.push(i8_tensor(format!("{name}.cues"), &[landmarks, CUES], &cues));
    let coefficients = random.floats(components * landmarks, 0.5);
    tensors.push(f32_tensor(format!("{name}.coefficients"), &[components, landmarks], &coefficients));
    tensors.push(f32_tensor(format!("{name}.intercept"), &[components], &random.floats(components, 0.2)));
    tensors.push(f32_tensor(format!("{name}.cue_mean"), &[CUES], &random.floats(CUES, 1.0)));
    let scale: Vec<f32> = (0..CUES).map(|_| random.between(0.0, 20.0) as f32).collect();
    tensors.push(f32_tensor(format!("{name}.cue_scale"), &[CUES], &scale));
    let gamma = [random.between(0.0, 2.0) as f32, random.between(0.0, 1e-5) as f32];
    tensors.push(f32_tensor(format!("{name}.gamma"), &[2], &gamma));
}

/// The encoder the package ships.
pub fn shipped_encoder() -> &'static Encoder {
    shared_encoder()
}

/// The same, to be handed to a [`tiny_dancer::Handle`].
pub fn shared_encoder() -> &'static Arc<Encoder> {
    static ENCODER: LazyLock<Arc<Encoder>> = LazyLock::new(|| shipped("encoder.safetensors"));
    &ENCODER
}

/// The encoder of sentences that the package ships.
pub fn sentence_encoder() -> &'static Arc<Encoder> {
    static ENCODER: LazyLock<Arc<Encoder>> = LazyLock::new(|| shipped("sentences.safetensors"));
    &ENCODER
}

fn shipped(name: &str) -> Arc<Encoder> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/tiny_dancer/data").join(name);
    Arc::new(Encoder::from_bytes(&std::fs::read(path).expect("written by a recipe")).expect("sound"))
}

/// A safetensors file's JSON header and its tensor bytes.
pub fn split(bytes: &[u8]) -> (Value, Vec<u8>) {
    let length = u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes")) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).expect("JSON"), bytes[8 + length..].to_vec())
}

pub fn join(header: &Value, data: &[u8]) -> Vec<u8> {
    let mut json = header.to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    [&(json.len() as u64).to_le_bytes()[..], &json, data].concat()
}

/// Makes the checksums of a spoilt file right again, so that what is spoilt gets read.
pub fn seal(header: &mut Value, data: &[u8]) {
    let digest = |bytes: &[u8]| {
        let mut text = String::new();
        for byte in Sha256::digest(bytes) {
            write!(text, "{byte:02x}").expect("memory");
        }
        text
    };
    let Some(metadata) = header.get_mut("__metadata__").and_then(Value::as_object_mut) else { return };
    metadata.insert("sha256".to_owned(), digest(data).into());
    if let Some(json) = metadata.get("tiny_dancer").and_then(Value::as_str) {
        let digest = digest(json.as_bytes());
        metadata.insert("header_sha256".to_owned(), digest.into());
    }
}

/// The file with its safetensors header and data changed, and sealed again.
pub fn spoil(bytes: &[u8], change: impl FnOnce(&mut Value, &mut Vec<u8>)) -> Vec<u8> {
    let (mut header, mut data) = split(bytes);
    change(&mut header, &mut data);
    seal(&mut header, &data);
    join(&header, &data)
}

/// The file with another `tiny_dancer` JSON, sealed again.
pub fn spoil_header(bytes: &[u8], change: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
    spoil(bytes, |header, _| {
        let text = header["__metadata__"]["tiny_dancer"].as_str().expect("a string");
        let mut json: Map<String, Value> = serde_json::from_str(text).expect("an object");
        change(&mut json);
        header["__metadata__"]["tiny_dancer"] = Value::Object(json).to_string().into();
    })
}

/// The filter that lets only these candidates pass.
pub fn filter_of<'a>(ids: impl IntoIterator<Item = &'a str>) -> Filter {
    let ids = ids.into_iter().map(|id| Expression::Text(id.to_owned())).collect();
    Filter::new(Expression::Object(vec![("$id".to_owned(), Expression::List(ids))]), "where")
        .expect("a filter")
}
