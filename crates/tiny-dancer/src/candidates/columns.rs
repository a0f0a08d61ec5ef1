//! What a set knows of its candidates: one column a property, one row a candidate.

use super::candidate::{Candidate, LARGEST_COUNT, LATEST, Use};
use super::moment::seconds_of_number;
use super::properties::Properties;
use super::rows::Rows;
use super::terms::{Reader, Terms};
use super::time::{self, Date};
use crate::sort;

/// What is known of a candidate, as bits: when it was made, how sure its maker is of it, whether it helped, how often it
/// was used, whether it is part of a group; and, where a query is compared with it, that its embedding is not finite.
pub(crate) mod known {
    pub const CREATED: u8 = 1;
    pub const CONFIDENCE: u8 = 2;
    pub const SUCCESS: u8 = 4;
    pub const USE: u8 = 8;
    pub const GROUP: u8 = 16;
    pub const UNSOUND: u8 = 32;
}

fn bit(known: bool, bit: u8) -> u8 {
    if known { bit } else { 0 }
}

/// The terms of one candidate, each kind sorted, repeats kept.
#[derive(Debug, Default)]
pub(crate) struct Held {
    terms: Box<[u32]>,
    /// Where words, pairs and grams end; the rest are the words of the metadata's values, each once.
    ends: [u32; 3],
}

impl Held {
    fn of(terms: &mut Terms, tags: &[u32]) -> Self {
        for kind in [&mut terms.words, &mut terms.pairs, &mut terms.grams] {
            sort::many::unstable(kind);
        }
        let words = terms.words.len();
        let pairs = words + terms.pairs.len();
        let ends = [words, pairs, pairs + terms.grams.len()].map(|end| end as u32);
        Self { terms: [&terms.words, &terms.pairs, &terms.grams, tags].concat().into(), ends }
    }

    pub(super) fn words(&self) -> &[u32] {
        &self.terms[..self.ends[0] as usize]
    }

    pub(super) fn pairs(&self) -> &[u32] {
        &self.terms[self.ends[0] as usize..self.ends[1] as usize]
    }

    pub(super) fn grams(&self) -> &[u32] {
        &self.terms[self.ends[1] as usize..self.ends[2] as usize]
    }

    pub(super) fn tags(&self) -> &[u32] {
        &self.terms[self.ends[2] as usize..]
    }
}

/// Rows of the columns that need no computing.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub ids: Vec<Box<str>>,
    /// NaN where unknown, here and below.
    pub created_at: Vec<f64>,
    pub access_count: Vec<f32>,
    pub success_rate: Vec<f32>,
    pub trials: Vec<f32>,
    pub confidence: Vec<f32>,
    pub properties: Properties,
    pub terms: Vec<Held>,
    pub date: Vec<Option<Date>>,
    pub speaks_of_time: Vec<bool>,
    /// 1 for a question.
    pub question: Vec<f32>,
    pub position: Vec<f64>,
    pub expires_at: Vec<f64>,
    /// Bits of [`known`].
    pub known: Vec<u8>,
    /// Place in the order of adding.
    pub order: Vec<u64>,
    /// How many candidates have words, say when they were made, how they were used, until when they hold.
    texts: usize,
    times: usize,
    uses: usize,
    expiring: usize,
}

impl Columns {
    /// Whether any candidate has words.
    pub(super) fn any_text(&self) -> bool {
        self.texts > 0
    }

    /// Whether any says when it was made.
    pub(super) fn any_time(&self) -> bool {
        self.times > 0
    }

    /// Whether any says how it was used.
    pub(super) fn any_use(&self) -> bool {
        self.uses > 0
    }

    /// Whether any candidate may take no part any more.
    pub(super) fn any_expire(&self) -> bool {
        self.expiring > 0
    }

    /// Whether a candidate takes no part any more.
    pub(super) fn expired(&self, row: usize, now: f64) -> bool {
        self.expires_at[row] <= now
    }

    pub(super) fn push(&mut self, candidate: &Candidate, order: u64, reader: &mut Reader) {
        self.ids.push(candidate.id.into());
        self.created_at.push(f64::NAN);
        self.access_count.push(f32::NAN);
        self.success_rate.push(f32::NAN);
        self.trials.push(f32::NAN);
        self.confidence.push(f32::NAN);
        self.properties.push();
        self.terms.push(Held::default());
        self.date.push(None);
        self.speaks_of_time.push(false);
        self.question.push(0.0);
        self.position.push(f64::NAN);
        self.expires_at.push(f64::NAN);
        self.known.push(0);
        self.order.push(order);
        self.write(self.ids.len() - 1, candidate, reader);
    }

    pub(super) fn write(&mut self, row: usize, candidate: &Candidate, reader: &mut Reader) {
        self.count(row, usize::wrapping_sub);
        self.created_at[row] = candidate.created_at.unwrap_or(f64::NAN);
        self.known[row] = bit(candidate.created_at.is_some(), known::CREATED)
            | bit(candidate.group.is_some(), known::GROUP);
        self.write_use(row, &Use::of(candidate));
        self.position[row] = candidate.position.unwrap_or(f64::NAN);
        self.properties.write(row, candidate);
        let mut terms = Terms::default();
        for (_, value) in candidate.metadata {
            reader.add(value.text, &mut terms);
        }
        let mut tags = terms.words.clone();
        sort::many::unstable(&mut tags);
        tags.dedup();
        // Pairs of words are looked for in what was said, not in its labels.
        terms.pairs.clear();
        reader.add(candidate.text.unwrap_or_default(), &mut terms);
        self.date[row] = candidate.created_at.and_then(time::date);
        self.speaks_of_time[row] = candidate.text.is_some() && time::speaks_of_time(reader);
        self.question[row] = f32::from(u8::from(candidate.text.is_some() && reader.ends_as_question()));
        self.terms[row] = Held::of(&mut terms, &tags);
        self.count(row, usize::wrapping_add);
    }

    /// Replaces how a candidate was used.
    pub(super) fn replace_use(&mut self, row: usize, used: &Use) {
        self.count(row, usize::wrapping_sub);
        self.write_use(row, used);
        self.count(row, usize::wrapping_add);
    }

    fn write_use(&mut self, row: usize, used: &Use) {
        let number = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        self.access_count[row] = number(used.access_count);
        self.success_rate[row] = number(used.success_rate);
        self.trials[row] = number(used.trials.or(used.access_count));
        self.confidence[row] = number(used.confidence);
        self.expires_at[row] = used.expires_at.unwrap_or(f64::NAN);
        self.known[row] &= known::CREATED | known::GROUP;
        self.known[row] |= bit(used.access_count.is_some(), known::USE)
            | bit(used.success_rate.is_some(), known::SUCCESS)
            | bit(used.confidence.is_some(), known::CONFIDENCE);
    }

    /// Rows of which no more is known than when they were made and how they were used: only what the features of these
    /// are computed of. False where a number is out of its range.
    pub(super) fn fill_use(&mut self, rows: &Rows) -> bool {
        let Self { created_at, access_count, success_rate, trials, confidence, known, .. } = self;
        let count = rows.created_at.len();
        created_at.clear();
        created_at.extend(rows.created_at.iter().map(|&time| seconds_of_number(time).unwrap_or(time)));
        for (column, given) in [
            (&mut *access_count, rows.access_count),
            (success_rate, rows.success_rate),
            (trials, rows.access_count),
        ] {
            column.clear();
            column.extend(given.iter().map(|&number| number as f32));
        }
        confidence.clear();
        confidence.resize(count, f32::NAN);
        known.clear();
        (self.times, self.uses) = (0, 0);
        let numbers = created_at.iter().zip(rows.access_count).zip(rows.success_rate);
        known.extend(numbers.map(|((time, uses), rate)| {
            let (dated, used, tried) = (!time.is_nan(), !uses.is_nan(), !rate.is_nan());
            self.times += usize::from(dated);
            self.uses += usize::from(used || tried);
            bit(dated, known::CREATED) | bit(used, known::USE) | bit(tried, known::SUCCESS)
        }));
        let within = |most: f64, low: f64, column: &[f64]| {
            column.iter().all(|number| number.is_nan() || (low..=most).contains(number))
        };
        known.len() == count
            && access_count.len() == count
            && success_rate.len() == count
            && within(LATEST, -LATEST, created_at)
            && within(LARGEST_COUNT, 0.0, rows.access_count)
            && within(1.0, 0.0, rows.success_rate)
    }

    /// Counts one more use of a candidate, and whether it helped.
    pub(super) fn add_use(&mut self, row: usize, helped: Option<bool>) {
        self.count(row, usize::wrapping_sub);
        self.access_count[row] = self.access_count[row].max(0.0) + 1.0; // NaN counts as 0
        self.known[row] |= known::USE;
        if let Some(helped) = helped {
            // Uses of which nobody said whether they helped are no trials.
            let rate = self.success_rate[row];
            let trials = if rate.is_nan() { 0.0 } else { self.trials[row].max(0.0) };
            self.trials[row] = trials + 1.0;
            self.success_rate[row] =
                ((rate.max(0.0) * trials + f32::from(u8::from(helped))) / (trials + 1.0)).min(1.0);
            self.known[row] |= known::SUCCESS;
        }
        self.count(row, usize::wrapping_add);
    }

    /// Adds a row to what is counted, or takes it off.
    fn count(&mut self, row: usize, change: fn(usize, usize) -> usize) {
        let known = self.known[row];
        let used = known & (known::USE | known::SUCCESS | known::CONFIDENCE) != 0;
        let counts = [
            (&mut self.texts, !self.terms[row].words().is_empty()),
            (&mut self.times, known & known::CREATED != 0),
            (&mut self.uses, used),
            (&mut self.expiring, !self.expires_at[row].is_nan()),
        ];
        for (count, counts) in counts {
            *count = change(*count, usize::from(counts));
        }
    }

    pub(super) fn swap_remove(&mut self, row: usize) {
        self.count(row, usize::wrapping_sub);
        self.ids.swap_remove(row);
        self.created_at.swap_remove(row);
        self.access_count.swap_remove(row);
        self.success_rate.swap_remove(row);
        self.trials.swap_remove(row);
        self.confidence.swap_remove(row);
        self.properties.swap_remove(row);
        self.terms.swap_remove(row);
        self.date.swap_remove(row);
        self.speaks_of_time.swap_remove(row);
        self.question.swap_remove(row);
        self.position.swap_remove(row);
        self.expires_at.swap_remove(row);
        self.known.swap_remove(row);
        self.order.swap_remove(row);
    }
}
