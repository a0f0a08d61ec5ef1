//! Candidate features and the combination without training as a textbook has them: f64, plain loops, over a small
//! vocabulary whose stems are written down. (The stemmer itself: `conformance/reference/candidates.py`.)

use std::collections::BTreeSet;

use tiny_dancer::candidates::{
    Candidate, CandidateSet, Combination, FEATURES, Matrix, Precision, Query, SharedRows,
};

use super::Random;

/// A word as written, without its clitic, and its stem; none for a word too common to count.
pub const WORDS: [(&str, &str, Option<&str>); 24] = [
    ("tea", "tea", Some("tea")),
    ("painting", "painting", Some("paint")),
    ("Painted", "painted", Some("paint")),
    ("paints", "paints", Some("paint")),
    ("studies", "studies", Some("studi")),
    ("study", "study", Some("studi")),
    ("quickly", "quickly", Some("quick")),
    ("running", "running", Some("run")),
    ("garden", "garden", Some("garden")),
    ("classes", "classes", Some("class")),
    ("making", "making", Some("mak")),
    ("Caroline's", "caroline", Some("carolin")),
    ("bus", "bus", Some("bus")),
    ("x", "x", Some("x")),
    ("yesterday", "yesterday", Some("yesterdai")),
    ("weekend", "weekend", Some("weekend")),
    ("March", "march", Some("march")),
    ("June", "june", Some("jun")),
    ("2023", "2023", Some("2023")),
    ("8", "8", Some("8")),
    ("the", "the", None),
    ("When", "when", None),
    ("about", "about", None),
    ("you", "you", None),
];
const YESTERDAY: usize = 14;
const MARCH: usize = 16;
const JUNE: usize = 17;
const YEAR: usize = 18;
const DAY: usize = 19;
const WHEN: usize = 21;
/// Seconds since 1970 with their year, month and day.
pub const DATES: [(f64, [u32; 3]); 5] = [
    (0.0, [1970, 1, 1]),
    (951_782_400.0, [2000, 2, 29]),
    (1_683_554_160.0, [2023, 5, 8]),
    (1_678_233_600.0, [2023, 3, 8]),
    (1_686_182_400.0, [2023, 6, 8]),
];
const DAY_SECONDS: f64 = 86_400.0;

/// A candidate that owns what it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    pub id: String,
    pub words: Option<Vec<usize>>,
    pub asks: bool,
    /// Place in `DATES`.
    pub made: Option<usize>,
    pub access_count: Option<f64>,
    pub success_rate: Option<f64>,
    pub trials: Option<f64>,
    pub confidence: Option<f64>,
    pub metadata: Vec<(&'static str, usize)>,
    pub group: Option<&'static str>,
    pub position: Option<f64>,
    pub expires_at: Option<f64>,
    pub embedding: Vec<f32>,
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub words: Option<Vec<usize>>,
    pub embedding: Option<Vec<f32>>,
    pub metadata: Vec<(&'static str, usize)>,
    pub now: Option<f64>,
}

fn text(words: &[usize], asks: bool) -> String {
    let words: Vec<&str> = words.iter().map(|&word| WORDS[word].0).collect();
    words.join(" ") + if asks { "?" } else { "" }
}

fn pairs(metadata: &[(&'static str, usize)]) -> Vec<(&'static str, &'static str)> {
    metadata.iter().map(|&(key, word)| (key, WORDS[word].0)).collect()
}

pub fn any_words(random: &mut Random, most: usize) -> Vec<usize> {
    (0..random.below(most + 1)).map(|_| random.below(WORDS.len())).collect()
}

impl Sample {
    pub fn any(random: &mut Random, id: String, dimensions: usize) -> Self {
        let mut some = |chance: f64, low: f64, high: f64| {
            let value = random.between(low, high);
            random.chance(chance).then_some(value)
        };
        let access_count = some(0.4, 0.0, 60.0).map(f64::floor);
        let (success_rate, trials, confidence) =
            (some(0.4, 0.0, 1.0), some(0.3, 0.0, 20.0), some(0.4, 0.0, 1.0));
        let mut embedding = random.floats(dimensions, 1.0);
        if random.chance(0.05) {
            embedding.fill(0.0);
        }
        Self {
            id,
            words: random.chance(0.8).then(|| any_words(random, 8)),
            asks: random.chance(0.3),
            made: random.chance(0.6).then(|| random.below(DATES.len())),
            access_count,
            success_rate,
            trials: trials.map(f64::floor),
            confidence,
            metadata: (0..random.below(4).saturating_sub(1))
                .map(|_| (["kind", "tag"][random.below(2)], random.below(8)))
                .collect(),
            group: [None, Some("first"), Some("second")][random.below(3)],
            position: random.chance(0.5).then(|| random.below(4) as f64 - 1.0),
            expires_at: None,
            embedding,
        }
    }

    /// Hands the engine's candidate to `work`.
    pub fn lend<T>(&self, work: impl FnOnce(&Candidate) -> T) -> T {
        let text = self.words.as_ref().map(|words| text(words, self.asks));
        let pairs: Vec<_> = pairs(&self.metadata).into_iter().map(|(key, text)| (key, text.into())).collect();
        work(&Candidate {
            id: &self.id,
            text: text.as_deref(),
            created_at: self.made.map(|made| DATES[made].0),
            access_count: self.access_count,
            success_rate: self.success_rate,
            trials: self.trials,
            confidence: self.confidence,
            metadata: &pairs,
            group: self.group,
            position: self.position,
            expires_at: self.expires_at,
            namespace: &[],
        })
    }

    fn sound(&self) -> bool {
        self.embedding.iter().all(|value| value.is_finite())
    }
}

pub fn any_samples(random: &mut Random, count: usize, dimensions: usize) -> Vec<Sample> {
    (0..count).map(|place| Sample::any(random, format!("c{}", (place * 7) % 101), dimensions)).collect()
}

impl Asked {
    pub fn any(random: &mut Random, dimensions: usize) -> Self {
        Self {
            words: random.chance(0.75).then(|| any_words(random, 6)),
            embedding: (dimensions > 0 && random.chance(0.75)).then(|| random.floats(dimensions, 1.0)),
            metadata: (0..random.below(3)).map(|_| ("tag", random.below(8))).collect(),
            now: random
                .chance(0.7)
                .then(|| DATES[random.below(5)].0 + DAY_SECONDS * random.between(-40.0, 40.0)),
        }
    }

    pub fn lend<T>(&self, work: impl FnOnce(&Query) -> T) -> T {
        let (text, pairs) = (self.words.as_ref().map(|words| text(words, false)), pairs(&self.metadata));
        work(&Query {
            embedding: self.embedding.as_deref(),
            text: text.as_deref(),
            metadata: &pairs,
            now: self.now,
        })
    }
}

/// A set with these candidates, added one after the other.
pub fn set_of(samples: &[Sample], dimensions: usize, precision: Precision) -> CandidateSet {
    let mut set = CandidateSet::new((dimensions > 0).then_some(dimensions), precision).expect("dimensions");
    for sample in samples {
        sample
            .lend(|candidate| set.append(std::slice::from_ref(candidate), &sample.embedding))
            .expect("sound");
    }
    set.refresh();
    set
}

struct Held(Vec<f32>);

impl SharedRows for Held {
    fn values(&self) -> &[f32] {
        &self.0
    }
}

/// Embeddings that someone else owns.
pub fn shared_rows(samples: &[Sample], dimensions: usize) -> Matrix {
    let rows = samples.iter().flat_map(|sample| sample.embedding.clone()).collect();
    Matrix::shared(dimensions, std::sync::Arc::new(Held(rows))).expect("whole rows")
}

/// Words, pairs of words and character grams.
type Terms = [Vec<String>; 3];

fn add_terms(words: &[usize], with_pairs: bool, out: &mut Terms) {
    let kept: Vec<_> =
        words.iter().filter_map(|&word| WORDS[word].2.map(|stem| (WORDS[word].1, stem))).collect();
    out[0].extend(kept.iter().map(|(_, stem)| (*stem).to_owned()));
    if with_pairs {
        out[1].extend(kept.windows(2).map(|pair| {
            let (one, other) = (pair[0].1, pair[1].1);
            format!("{} {}", one.min(other), one.max(other))
        }));
    }
    for (word, _) in kept {
        let marked: Vec<char> = format!("#{word}#").chars().collect();
        out[2].extend(marked.windows(4.min(marked.len())).map(|gram| gram.iter().collect::<String>()));
    }
}

fn terms_of(sample: &Sample) -> Terms {
    let mut terms = Terms::default();
    for &(_, word) in &sample.metadata {
        add_terms(&[word], false, &mut terms);
    }
    add_terms(sample.words.as_deref().unwrap_or_default(), true, &mut terms);
    terms
}

/// Rows of a candidate's context with their weights: itself, the two before it and the one after it in its group.
fn context(samples: &[Sample], row: usize) -> Vec<(usize, f64)> {
    let group: Vec<usize> = match samples[row].group {
        None => vec![row],
        group => {
            let mut rows: Vec<usize> =
                (0..samples.len()).filter(|&other| samples[other].group == group).collect();
            // Those with a position first, by it and their id; the sort keeps the order of adding.
            rows.sort_by(|&a, &b| match (samples[a].position, samples[b].position) {
                (Some(one), Some(other)) => {
                    one.partial_cmp(&other).expect("numbers").then(samples[a].id.cmp(&samples[b].id))
                }
                (one, other) => one.is_none().cmp(&other.is_none()),
            });
            rows
        }
    };
    let place = group.iter().position(|&other| other == row).expect("in its group");
    let at = |step: isize, weight| {
        let other = place.checked_add_signed(step).and_then(|place| group.get(place));
        other.map(|&other| (other, weight))
    };
    [at(0, 1.0), at(-1, 0.5), at(-2, 0.2), at(1, 0.2)].into_iter().flatten().collect()
}

fn before(samples: &[Sample], row: usize) -> Option<usize> {
    context(samples, row).into_iter().find(|&(_, weight)| (weight - 0.5).abs() < 1e-9).map(|(other, _)| other)
}

/// BM25 of the distinct terms of a query over documents of weighted term counts, as a share of Σ idf.
fn bm25(documents: &[Vec<(&str, f64)>], idf: impl Fn(&str) -> f64, query: &BTreeSet<&str>) -> Vec<f64> {
    let lengths: Vec<f64> =
        documents.iter().map(|document| document.iter().map(|term| term.1).sum()).collect();
    let mean = (lengths.iter().sum::<f64>() / lengths.len() as f64).max(1e-9);
    let ideal: f64 = query.iter().map(|term| idf(term)).sum();
    let score = |document: &Vec<(&str, f64)>, length: f64| {
        let weight = |term: &str| {
            let tf: f64 = document.iter().filter(|(other, _)| *other == term).map(|(_, count)| count).sum();
            idf(term) * tf * 1.9 / (tf + 0.9 * (1.0 - 0.4 + 0.4 * length / mean))
        };
        if ideal > 0.0 { query.iter().map(|term| weight(term)).sum::<f64>() / ideal } else { 0.0 }
    };
    documents.iter().zip(&lengths).map(|(document, &length)| score(document, length)).collect()
}

/// Own and context BM25 of one kind of term.
fn lexical(samples: &[Sample], terms: &[Terms], kind: usize, query: &BTreeSet<&str>) -> [Vec<f64>; 2] {
    let count = samples.len() as f64;
    let idf = |term: &str| {
        let holders =
            terms.iter().filter(|terms| terms[kind].iter().any(|other| other == term)).count() as f64;
        (1.0 + (count - holders + 0.5) / (holders + 0.5)).ln()
    };
    let weighted = |around: Vec<(usize, f64)>| -> Vec<(&str, f64)> {
        let terms = |row: usize| terms[row][kind].iter().map(String::as_str);
        around.into_iter().flat_map(|(row, weight)| terms(row).map(move |term| (term, weight))).collect()
    };
    let own: Vec<_> = (0..samples.len()).map(|row| weighted(vec![(row, 1.0)])).collect();
    let with_context: Vec<_> = (0..samples.len()).map(|row| weighted(context(samples, row))).collect();
    [bm25(&own, idf, query), bm25(&with_context, idf, query)]
}

fn unit(vector: &[f32]) -> Vec<f64> {
    let norm = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    vector.iter().map(|&value| if norm > 0.0 { f64::from(value) / norm } else { 0.0 }).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Cosine of two vectors; 0 where one is zero.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    dot(&unit(a), &unit(b))
}

fn context_cosine(samples: &[Sample], row: usize, query: &[f32]) -> f64 {
    let mut sum = vec![0.0; query.len()];
    for (other, weight) in context(samples, row).into_iter().filter(|&(other, _)| samples[other].sound()) {
        let direction = unit(&samples[other].embedding);
        sum.iter_mut().zip(direction).for_each(|(sum, value)| *sum += weight * value);
    }
    let norm = dot(&sum, &sum).sqrt();
    if norm > 1e-6 { dot(&sum, &unit(query)) / norm } else { 0.0 }
}

fn date_share(words: &[usize], made: Option<usize>) -> f64 {
    let named = |word: usize| words.contains(&word);
    let months: Vec<u32> =
        [(MARCH, 3), (JUNE, 6)].iter().filter(|(word, _)| named(*word)).map(|m| m.1).collect();
    let (year, day) = (named(YEAR), named(DAY) && !months.is_empty());
    let kinds = f64::from(u8::from(!months.is_empty()) + u8::from(year) + u8::from(day));
    let Some(made) = made.filter(|_| kinds > 0.0) else { return 0.0 };
    let [made_year, made_month, made_day] = DATES[made].1;
    let agree = [months.contains(&made_month), year && made_year == 2023, day && made_day == 8];
    agree.iter().filter(|&&agrees| agrees).count() as f64 / kinds
}

/// Every feature of every candidate; NaN where a cosine has none.
pub fn features(samples: &[Sample], asked: &Asked) -> Vec<[f64; FEATURES]> {
    let flag = |flag: bool| f64::from(u8::from(flag));
    let mut rows = vec![[0.0; FEATURES]; samples.len()];
    let terms: Vec<Terms> = samples.iter().map(terms_of).collect();
    let mut query = Terms::default();
    add_terms(asked.words.as_deref().unwrap_or_default(), true, &mut query);
    let distinct = query.each_ref().map(|terms| terms.iter().map(String::as_str).collect::<BTreeSet<_>>());
    let scores = [0, 1, 2].map(|kind| lexical(samples, &terms, kind, &distinct[kind]));
    let words = asked.words.as_deref().unwrap_or_default();
    let asks = |row: usize| samples[row].asks && samples[row].words.is_some();
    for (row, sample) in samples.iter().enumerate() {
        let previous = before(samples, row);
        let found = &mut rows[row];
        if let Some(query) = &asked.embedding {
            let own = |row: usize| samples[row].sound().then(|| cosine(&samples[row].embedding, query));
            found[0] = own(row).unwrap_or(f64::NAN);
            found[1] = if sample.sound() { context_cosine(samples, row, query) } else { f64::NAN };
            found[2] = previous.and_then(own).unwrap_or(0.0);
        }
        found[3] = scores[0][0][row];
        found[4] = scores[0][1][row];
        found[5] = previous.map_or(0.0, |previous| scores[0][0][previous]);
        found[6] = scores[1][1][row];
        found[7] = scores[2][1][row];
        let linked = (0..samples.len()).any(|row| before(samples, row).is_some());
        let in_group =
            |other: &usize| *other == row || sample.group.is_some() && samples[*other].group == sample.group;
        let best = (0..samples.len()).filter(in_group).map(|other| scores[0][1][other]).fold(0.0, f64::max);
        found[8] = if linked { best } else { 0.0 };
        let tags = sample.metadata.iter().filter_map(|&(_, word)| WORDS[word].2);
        found[9] = flag(tags.clone().any(|tag| distinct[0].contains(tag)));
        found[10] = date_share(words, sample.made);
        let says_when = |&word: &usize| (YESTERDAY..=JUNE).contains(&word);
        found[11] = flag(words.contains(&WHEN) && sample.words.iter().flatten().any(says_when));
        found[12] = flag(asks(row));
        found[13] = flag(previous.is_some_and(asks));
        let age =
            asked.now.zip(sample.made).map(|(now, made)| ((now - DATES[made].0) / DAY_SECONDS).max(0.0));
        found[14] = age.map_or(0.0, |age| (-age / 30.0).exp());
        let days = age.map_or(30.0, |age| age.clamp(1.0, 30.0));
        let rate = sample.access_count.unwrap_or(0.0) / days;
        found[15] = rate / (1.0 + rate);
        let trials = sample.trials.or(sample.access_count).unwrap_or(0.0);
        found[16] = sample.success_rate.map_or(0.0, |rate| (rate * trials + 2.0) / (trials + 4.0));
        found[17] = sample.confidence.unwrap_or(0.0);
        let held = asked.metadata.iter().filter(|pair| sample.metadata.contains(pair)).count() as f64;
        found[18] = held / asked.metadata.len().max(1) as f64;
    }
    rows
}

/// The combination without training.
pub fn untrained_scores(samples: &[Sample], asked: &Asked, combination: Combination) -> Vec<f64> {
    let [whole, recency, confidence, context] = match combination {
        Combination::Measured => [0.94, 0.02, 0.02, 0.02],
        Combination::Documented => [0.40, 0.25, 0.20, 0.15],
    };
    let has_words = asked.words.is_some() && samples.iter().any(|sample| !terms_of(sample)[0].is_empty());
    let names = |word: usize| asked.words.as_ref().is_some_and(|words| words.contains(&word));
    let names_date = has_words && [MARCH, JUNE, YEAR].into_iter().any(names);
    let score = |(sample, row): (&Sample, [f64; FEATURES])| {
        if !sample.sound() {
            return f64::NAN;
        }
        let mut compared = Vec::new();
        if asked.embedding.is_some() {
            compared.push((0.30, row[1].max(0.0)));
        }
        if has_words {
            compared.extend([(0.25, row[4]), (0.25, row[7]), (0.20, row[6])]);
        }
        let mut relevance = 1.0;
        if !compared.is_empty() {
            let sum: f64 = compared.iter().map(|(weight, value)| weight * value).sum();
            relevance = sum / compared.iter().map(|(weight, _)| weight).sum::<f64>();
        }
        if has_words {
            relevance += (0.25 * row[9] + 0.25 * row[11] + 0.15 * row[13] - 0.15 * row[12]) / 4.0;
        }
        relevance = relevance.max(0.0);
        if relevance > 0.95 && !compared.is_empty() {
            relevance = 1.0 - 0.0025 / (relevance - 0.9);
        }
        if names_date {
            let then = f64::from(u8::from(row[10] > 0.999));
            let more = if sample.group.is_some() { 0.5 } else { 0.1 };
            relevance = (relevance * (1.0 + more * then) + 0.001 * then) / 1.501;
        }
        // Each part: its weight, and what of it is known.
        let mut known = vec![(whole, vec![1.0])];
        let age =
            asked.now.zip(sample.made).map(|(now, made)| ((now - DATES[made].0) / DAY_SECONDS).max(0.0));
        let fresh = age.map(|age| match combination {
            Combination::Measured => 30.0 / (30.0 + age),
            Combination::Documented => row[14],
        });
        known.push((recency, fresh.into_iter().collect()));
        let sources = [sample.confidence.map(|_| row[17]), sample.success_rate.map(|_| row[16])];
        known.push((confidence, sources.into_iter().flatten().collect()));
        let sources = [sample.access_count.map(|_| row[15]), (!asked.metadata.is_empty()).then_some(row[18])];
        known.push((context, sources.into_iter().flatten().collect()));
        known.retain(|(_, values)| !values.is_empty());
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let sum: f64 = known.iter().map(|(weight, values)| weight * mean(values)).sum();
        relevance * sum / known.iter().map(|(weight, _)| weight).sum::<f64>()
    };
    samples.iter().zip(features(samples, asked)).map(score).collect()
}
