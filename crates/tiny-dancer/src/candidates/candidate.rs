//! One candidate, as it is given to a set.

use super::metadata::Scalar;
use crate::error::{Error, ErrorKind, Result};

/// What is known of one candidate. Everything but the id may be absent.
#[derive(Clone, Debug, Default)]
pub struct Candidate<'a> {
    /// Names it; unique within the set.
    pub id: &'a str,
    /// What it says. Only its hashed terms are kept.
    pub text: Option<&'a str>,
    /// When it was made, in seconds since 1970.
    pub created_at: Option<f64>,
    /// How often it was used.
    pub access_count: Option<f64>,
    /// Share of its uses that helped, in [0, 1].
    pub success_rate: Option<f64>,
    /// Uses the rate was counted over; `access_count` where it is absent.
    pub trials: Option<f64>,
    /// How sure its maker is of it, in [0, 1].
    pub confidence: Option<f64>,
    /// Tags and other properties. Their values are searched like text.
    pub metadata: &'a [(&'a str, Scalar<'a>)],
    /// The session, conversation or document it is a part of; those of one group follow each other in the order they
    /// were added.
    pub group: Option<&'a str>,
    /// Where it belongs, from the widest part to the narrowest; nowhere where empty.
    pub namespace: &'a [&'a str],
}

pub(super) fn refused(place: usize, field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::CandidateInvalid, format!("candidates[{place}].{field}"), value, remedy)
}

/// Most parts of a namespace.
const DEEPEST_NAMESPACE: usize = 32;
/// Largest count a candidate may have: beyond it a count is a mistake, and below it sums stay exact.
const LARGEST_COUNT: f64 = 1e9;

impl Candidate<'_> {
    pub(super) fn check(&self, place: usize) -> Result<()> {
        if self.id.is_empty() {
            return Err(refused(place, "id", "empty", "give every candidate a name"));
        }
        for (field, count) in [("access_count", self.access_count), ("trials", self.trials)] {
            if let Some(count) = count.filter(|count| !(0.0..=LARGEST_COUNT).contains(count)) {
                return Err(refused(place, field, count, "give a count from 0 to 1e9, or leave it out"));
            }
        }
        for (field, share) in [("success_rate", self.success_rate), ("confidence", self.confidence)] {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return Err(refused(place, field, share, "give a number from 0 to 1, or leave it out"));
            }
        }
        if let Some(time) = self.created_at.filter(|time| !time.is_finite() || time.abs() > 1e12) {
            return Err(refused(place, "created_at", time, "give seconds since 1970, or leave it out"));
        }
        if self.namespace.len() > DEEPEST_NAMESPACE {
            let found = format!("{} parts", self.namespace.len());
            return Err(refused(place, "namespace", found, "give at most 32"));
        }
        Ok(())
    }
}
