//! What a set knows of its candidates: one column a property, one row a candidate.

use super::candidate::Candidate;
use super::properties::Properties;
use super::terms::{Reader, Terms, hash_pair};
use super::time::{self, Date};

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
    pub terms: Vec<Terms>,
    /// Words of the metadata's values, sorted.
    pub tags: Vec<Box<[u32]>>,
    pub date: Vec<Option<Date>>,
    pub speaks_of_time: Vec<bool>,
    pub question: Vec<bool>,
    /// Hash of the group; 0 for none.
    pub group: Vec<u64>,
    /// Place in the order of adding.
    pub order: Vec<u64>,
    /// Whether any candidate has words, says when it was made, says how it was used.
    pub any_text: bool,
    pub any_time: bool,
    pub any_use: bool,
}

impl Columns {
    pub(super) fn push(&mut self, candidate: &Candidate, order: u64, reader: &mut Reader) {
        self.ids.push(candidate.id.into());
        self.created_at.push(f64::NAN);
        self.access_count.push(f32::NAN);
        self.success_rate.push(f32::NAN);
        self.trials.push(f32::NAN);
        self.confidence.push(f32::NAN);
        self.properties.push();
        self.terms.push(Terms::default());
        self.tags.push(Box::default());
        self.date.push(None);
        self.speaks_of_time.push(false);
        self.question.push(false);
        self.group.push(0);
        self.order.push(order);
        self.write(self.ids.len() - 1, candidate, reader);
    }

    pub(super) fn write(&mut self, row: usize, candidate: &Candidate, reader: &mut Reader) {
        let number = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        self.created_at[row] = candidate.created_at.unwrap_or(f64::NAN);
        self.access_count[row] = number(candidate.access_count);
        self.success_rate[row] = number(candidate.success_rate);
        self.trials[row] = number(candidate.trials.or(candidate.access_count));
        self.confidence[row] = number(candidate.confidence);
        self.properties.write(row, candidate);
        let mut terms = Terms::default();
        for (_, value) in candidate.metadata {
            reader.add(value.text, &mut terms);
        }
        let mut tags = terms.words.clone();
        tags.sort_unstable();
        tags.dedup();
        self.tags[row] = tags.into();
        // Pairs of words are looked for in what was said, not in its labels.
        terms.pairs.clear();
        reader.add(candidate.text.unwrap_or_default(), &mut terms);
        self.date[row] = candidate.created_at.and_then(time::date);
        self.speaks_of_time[row] = candidate.text.is_some() && time::speaks_of_time(reader);
        self.question[row] = candidate.text.is_some() && reader.ends_as_question();
        self.terms[row] = terms;
        self.group[row] = candidate.group.map_or(0, |group| hash_pair("group", group).max(1));
    }

    /// Looks again at what any candidate has: the last that had it may be gone.
    pub(super) fn look_over(&mut self) {
        let known = |values: &[f32]| values.iter().any(|value| !value.is_nan());
        self.any_text = self.terms.iter().any(|terms| !terms.words.is_empty());
        self.any_time = self.created_at.iter().any(|time| !time.is_nan());
        self.any_use = known(&self.access_count) || known(&self.success_rate) || known(&self.confidence);
    }

    pub(super) fn swap_remove(&mut self, row: usize) {
        self.ids.swap_remove(row);
        self.created_at.swap_remove(row);
        self.access_count.swap_remove(row);
        self.success_rate.swap_remove(row);
        self.trials.swap_remove(row);
        self.confidence.swap_remove(row);
        self.properties.swap_remove(row);
        self.terms.swap_remove(row);
        self.tags.swap_remove(row);
        self.date.swap_remove(row);
        self.speaks_of_time.swap_remove(row);
        self.question.swap_remove(row);
        self.group.swap_remove(row);
        self.order.swap_remove(row);
    }
}
