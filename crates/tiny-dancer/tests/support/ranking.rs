//! Any bytes → candidates, a query, options, a scorer; what comes out must make sense.
//!
//! One harness for the fuzzer (`crates/fuzz`) and for inputs drawn at random (`tests/candidates_random.rs`).
#![allow(clippy::decimal_bitwise_operands, clippy::float_cmp, clippy::similar_names)]

use tiny_dancer::candidates::{
    Candidate, CandidateScorer, CandidateSet, FEATURES, Precision, Query, RankOptions, RankScratch, Scalar,
};
use tiny_dancer::{Error, ErrorKind};

use super::cell::Form;
use super::scorers::ScorerDraft;
use super::{Random, filter_of};

const NUMBERS: [f64; 24] = [
    0.0,
    -0.0,
    1.0,
    0.5,
    0.25,
    -1.0,
    3.0,
    7.0,
    1e9,
    1.1e9,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    1e300,
    -1e300,
    1e-300,
    1e12,
    -1e12,
    1.7e9,
    1.7e9 + 86_400.0,
    1.6e9,
    4e9,
    1e-9,
    0.999,
];
const FLOATS: [f32; 16] = [
    0.0,
    1.0,
    -1.0,
    0.5,
    -0.3,
    2.0,
    -0.0,
    1e-45,
    1e-20,
    1e19,
    2e19,
    f32::MAX,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    -1e19,
];
const PARTS: [&str; 24] = [
    "tea",
    "paint",
    "painting",
    "studies",
    "the ",
    " ",
    "?",
    "when ",
    "march ",
    "2023 ",
    "8 ",
    "Caroline's ",
    "may ",
    "yesterday",
    "1,234.5",
    "déjà ",
    "你好",
    "x",
    "'",
    "\u{301}",
    "ﷺ",
    "😀",
    "running ",
    ", ",
];
const IDS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "é", "g", "", "h", "aa", "Z"];

/// Reads choices from bytes; zeros after their end.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 1
    }

    fn number(&mut self) -> f64 {
        if self.one_in(16) {
            return f64::from_bits(u64::from_le_bytes(std::array::from_fn(|_| self.byte())));
        }
        NUMBERS[self.below(NUMBERS.len())]
    }

    /// Mostly within bounds, so that not every candidate is refused.
    fn share(&mut self) -> Option<f64> {
        match self.byte() {
            0..160 => None,
            160 => Some(self.number()),
            byte => Some(f64::from(byte - 160) / 96.0),
        }
    }

    fn count(&mut self) -> Option<f64> {
        match self.byte() {
            0..160 => None,
            160 => Some(self.number()),
            byte => Some(f64::from(byte - 161)),
        }
    }

    fn time(&mut self) -> Option<f64> {
        match self.byte() {
            0..128 => None,
            128 => Some(self.number()),
            byte => Some(1.68e9 + 86_400.0 * 7.3 * f64::from(byte)),
        }
    }

    fn text(&mut self, out: &mut String) {
        out.clear();
        for _ in 0..self.below(6) {
            match self.byte() {
                byte if byte < 224 => out.push_str(PARTS[usize::from(byte) % PARTS.len()]),
                224..250 => out.push(char::from(self.byte())),
                _ => {
                    let code =
                        u32::from(self.byte()) | u32::from(self.byte()) << 8 | u32::from(self.byte()) << 16;
                    out.extend(char::from_u32(code));
                }
            }
        }
    }

    fn floats(&mut self, count: usize, wild: bool, out: &mut Vec<f32>) {
        for _ in 0..count {
            let byte = self.byte();
            out.push(match byte {
                240.. if wild => FLOATS[self.below(FLOATS.len())],
                _ => (f32::from(byte) - 120.0) / 100.0,
            });
        }
    }

    fn pair(&mut self) -> (&'static str, &'static str) {
        (["kind", "tag"][self.below(2)], PARTS[self.below(8)])
    }
}

/// What a candidate is made of, with the memory it borrows from.
#[derive(Default)]
struct Made {
    text: Option<String>,
    pairs: Vec<(&'static str, Scalar<'static>)>,
    group: Option<&'static str>,
    numbers: [Option<f64>; 5],
    id: &'static str,
}

impl Made {
    fn read(choices: &mut Choices, ids_repeat: bool, place: usize) -> Self {
        let id = if ids_repeat { IDS[choices.below(IDS.len())] } else { IDS[place] };
        let kind = choices.byte();
        let text = (kind & 3 != 0).then(|| {
            let mut text = String::new();
            choices.text(&mut text);
            text
        });
        let pairs = if kind & 12 == 4 {
            (0..=choices.below(2)).map(|_| choices.pair()).map(|(key, text)| (key, text.into())).collect()
        } else {
            Vec::new()
        };
        let group = (kind & 16 != 0).then_some(if kind & 32 != 0 { "first" } else { "" });
        let mut numbers = [None; 5];
        if kind & 192 != 0 {
            numbers = [choices.time(), choices.count(), choices.share(), None, choices.share()];
            if kind & 192 == 128 {
                numbers[3] = choices.count();
            }
        }
        Self { text, pairs, group, numbers, id }
    }

    fn candidate(&self) -> Candidate<'_> {
        let [created_at, access_count, success_rate, trials, confidence] = self.numbers;
        Candidate {
            id: self.id,
            text: self.text.as_deref(),
            created_at,
            access_count,
            success_rate,
            trials,
            confidence,
            metadata: &self.pairs,
            group: self.group,
            ..Candidate::default()
        }
    }
}

/// Scorers loaded once, scratches used by every input.
pub struct Harness {
    scorers: Vec<CandidateScorer>,
    used: RankScratch,
    fresh: RankScratch,
    /// Inputs so far.
    pub inputs: u64,
    /// Answers that were checked so far; the others were refused with a typed error.
    pub answers: u64,
}

impl Default for Harness {
    fn default() -> Self {
        let mut random = Random(4);
        let mut scorers = vec![CandidateScorer::default(), CandidateScorer::default()];
        for place in 0..14u64 {
            let form = (place >= 5).then(|| Form::any(&mut random));
            let mut draft = ScorerDraft::new(&mut random, form);
            if place % 7 == 3 {
                // The largest numbers a file may hold.
                for tensor in draft.tensors.iter_mut().filter(|tensor| tensor.dtype == "f32") {
                    let largest = if tensor.name == "feature.scale" { 1e-6 } else { 1e9 };
                    for (at, bytes) in tensor.bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                        let sign = if at % 2 == 0 || tensor.name.contains("scale") { 1.0 } else { -1.0 };
                        *bytes = (sign * largest as f32).to_le_bytes();
                    }
                }
            }
            if place % 2 == 1 {
                draft = draft.calibrated(&mut random, [0.0, 1.0], 1 + place / 3);
            }
            scorers.push(draft.scorer());
        }
        Self { scorers, used: RankScratch::default(), fresh: RankScratch::default(), inputs: 0, answers: 0 }
    }
}

fn refusal(error: &Error, inputs: &str) {
    let kinds = [ErrorKind::CandidateInvalid, ErrorKind::OptionInvalid];
    assert!(
        kinds.contains(&error.kind) && !error.field.is_empty() && !error.remedy.is_empty(),
        "{inputs}: {error:?}"
    );
}

impl Harness {
    /// Runs one input.
    pub fn run(&mut self, bytes: &[u8]) {
        self.inputs += 1;
        if self.inputs.is_multiple_of(256) {
            self.fresh = RankScratch::default();
        }
        let choices = &mut Choices(bytes);
        let kind = choices.byte();
        let dimensions = (kind & 3 != 0).then(|| 1 + choices.below(4));
        let width = dimensions.unwrap_or(0);
        let wild = kind & 4 != 0;
        let precision = [Precision::Full, Precision::Quantised, Precision::Indexed, Precision::Full]
            [usize::from(kind >> 3 & 3)];
        let mut set = CandidateSet::new(dimensions, precision).expect("dimensions");
        let made: Vec<Made> =
            (0..choices.below(9)).map(|place| Made::read(choices, kind & 32 != 0, place)).collect();
        let mut rows = Vec::new();
        choices.floats(made.len() * width, wild, &mut rows);
        if kind & 64 != 0 && choices.one_in(16) {
            rows.pop();
        }
        // All at once, or one after the other.
        if choices.one_in(3) {
            for (place, made) in made.iter().enumerate() {
                let row = rows.get(place * width..(place + 1) * width).unwrap_or_default();
                add(&mut set, &[made.candidate()], row);
            }
        } else {
            add(&mut set, &made.iter().map(Made::candidate).collect::<Vec<_>>(), &rows);
        }
        set.refresh();
        self.ask(&set, choices, wild);
        if kind & 128 != 0 {
            change(&mut set, choices, width, wild);
            set.refresh();
            self.ask(&set, choices, wild);
        }
    }

    fn ask(&mut self, set: &CandidateSet, choices: &mut Choices, wild: bool) {
        let kind = choices.byte();
        let (mut text, mut embedding) = (String::new(), Vec::new());
        if kind & 1 != 0 {
            choices.text(&mut text);
        }
        if kind & 6 != 0 {
            let width = set.matrix().map_or(0, tiny_dancer::candidates::Matrix::dimensions);
            let width = if choices.one_in(32) { width + 1 } else { width };
            let wild = wild && choices.one_in(4);
            choices.floats(width, wild, &mut embedding);
        }
        let metadata: Vec<_> = if kind & 24 == 8 { vec![choices.pair(), choices.pair()] } else { Vec::new() };
        let query = Query {
            embedding: (!embedding.is_empty()).then_some(&embedding),
            text: (kind & 1 != 0).then_some(&text),
            metadata: &metadata,
            now: if kind & 32 != 0 { choices.time().or(Some(1.7e9)) } else { None },
        };
        let bits = if kind & 192 == 64 { choices.byte() } else { 0 };
        let passing = set.ids().iter().enumerate().filter(|(row, _)| bits >> (row % 8) & 1 == 1);
        let only = filter_of(passing.map(|(_, id)| &**id));
        let share = |choices: &mut Choices, usual: f32| match choices.byte() {
            0..128 => usual,
            128 => choices.number() as f32,
            byte => f32::from(byte - 129) / 126.0,
        };
        let options = RankOptions {
            k: match choices.below(12) {
                11 => usize::MAX,
                10 => 0,
                k => k + 1,
            },
            diversity: if kind & 192 == 128 && set.matrix().is_some() { share(choices, 0.3) } else { 0.0 },
            confidence_threshold: share(choices, 0.5),
            max_uncertainty: share(choices, 0.5),
            filter: (kind & 192 == 64).then_some(&only),
        };
        let scorer = &self.scorers[choices.below(self.scorers.len())];
        let found = scorer.rank(set, &query, &options, &mut self.used);
        let again = scorer.rank(set, &query, &options, &mut self.fresh);
        assert_eq!(found, again, "a used scratch changes the outcome");
        match found {
            Ok(()) => {
                assert_eq!(self.used.ranked, self.fresh.ranked, "a used scratch changes the answer");
                check(scorer, set, &options, &self.used);
                self.answers += 1;
            }
            Err(error) => refusal(&error, "rank"),
        }
    }
}

fn add(set: &mut CandidateSet, candidates: &[Candidate], rows: &[f32]) {
    let before = set.len();
    match set.append(candidates, rows) {
        Ok(()) => assert_eq!(set.len(), before + candidates.len()),
        Err(error) => {
            refusal(&error, "append");
            assert_eq!(set.len(), before, "refused, but added");
        }
    }
    assert_eq!(set.matrix().map_or(set.len(), tiny_dancer::candidates::Matrix::len), set.len());
}

fn change(set: &mut CandidateSet, choices: &mut Choices, width: usize, wild: bool) {
    for _ in 0..=choices.below(4) {
        let id = IDS[choices.below(IDS.len())];
        let known = set.row(id).is_some();
        let done = match choices.below(4) {
            0 => set.record_use(id, [None, Some(true), Some(false)][choices.below(3)]),
            1 => set.remove(&[id, id]),
            2 => {
                let mut row = Vec::new();
                choices.floats(width, wild, &mut row);
                let made = Made { id, ..Made::read(choices, false, 0) };
                let done = set.update(&made.candidate(), (width > 0 && choices.one_in(2)).then_some(&row));
                if known && let Err(error) = &done {
                    refusal(error, "update");
                    continue;
                }
                done
            }
            _ => {
                let mut row = Vec::new();
                choices.floats(width, wild, &mut row);
                add(set, &[Made { id, ..Made::read(choices, false, 0) }.candidate()], &row);
                continue;
            }
        };
        match done {
            Ok(()) => assert!(known),
            Err(error) => refusal(&error, "change"),
        }
    }
}

/// What must hold of every answer.
fn check(scorer: &CandidateScorer, set: &CandidateSet, options: &RankOptions, answer: &RankScratch) {
    let scores = answer.scores();
    let sound = |row: usize| set.matrix().is_none_or(|matrix| matrix.is_sound(row));
    assert_eq!(scores.len(), set.len());
    let flags = options.filter.map(|filter| set.matching(filter));
    let passes = |row: usize| flags.as_ref().is_none_or(|flags| flags[row]);
    let unsound: Vec<u32> =
        (0..set.len() as u32).filter(|&row| !sound(row as usize) && passes(row as usize)).collect();
    assert_eq!(answer.unsound, unsound);
    for (row, score) in scores.iter().enumerate() {
        assert!(if sound(row) { score.is_finite() } else { score.is_nan() }, "row {row} scores {score}");
    }
    let may = |row: usize| sound(row) && passes(row);
    let eligible = (0..set.len()).filter(|&row| may(row)).count();
    assert_eq!(answer.ranked.len(), options.k.min(eligible));
    let kept = scorer.prediction().filter(|_| answer.alike);
    let by_rank = kept.and_then(|set| set.size).map(|size| (size as usize).min(eligible));
    if let Some(set) = kept.filter(|set| set.margin.is_some()) {
        let size = answer.prediction_set.expect("a prediction set");
        assert!(size <= eligible && (size > 0 || eligible == 0 || set.margin.is_none()));
    } else {
        assert_eq!(answer.prediction_set, by_rank);
    }
    let mut seen = [false; 64];
    for ranked in &answer.ranked {
        let row = ranked.row as usize;
        assert!(may(row) && !std::mem::replace(&mut seen[row], true), "row {row}");
        assert_eq!(ranked.score.to_bits(), scores[row].to_bits());
        assert!(ranked.confidence.is_finite() && (0.0..=1.0).contains(&ranked.uncertainty), "{ranked:?}");
        assert!(!scorer.is_calibrated() || (0.0..=1.0).contains(&ranked.confidence), "{ranked:?}");
        let sure = ranked.confidence >= options.confidence_threshold
            && ranked.uncertainty <= options.max_uncertainty;
        assert_eq!(ranked.use_lightweight, sure && answer.alike && scorer.is_calibrated(), "{ranked:?}");
        let ahead = (0..set.len()).filter(|&other| may(other) && scores[other] > ranked.score).count();
        let size = answer.prediction_set;
        assert_eq!(ranked.in_prediction_set, size.is_some_and(|size| ahead < size), "{ranked:?}");
        assert!(ranked.features.iter().all(|value| value.is_finite()), "{ranked:?}");
        assert!(ranked.features[3..].iter().all(|value| *value >= 0.0), "{ranked:?}");
        for feature in 0..FEATURES {
            assert_eq!(ranked.features[feature].to_bits(), answer.features().column(feature)[row].to_bits());
        }
        assert!(scorer.header().is_some() || (0.0..=1.0).contains(&ranked.score), "{ranked:?}");
    }
    if options.diversity == 0.0 {
        for pair in answer.ranked.windows(2) {
            let ids = pair.iter().map(|ranked| &set.ids()[ranked.row as usize]).collect::<Vec<_>>();
            let ordered = pair[0].score > pair[1].score || pair[0].score == pair[1].score && ids[0] < ids[1];
            assert!(ordered, "{pair:?}");
        }
    }
}
