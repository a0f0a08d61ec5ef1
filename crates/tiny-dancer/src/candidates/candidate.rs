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
    /// The session, conversation or document it is a part of.
    pub group: Option<&'a str>,
    /// Place within the group, equal ones by id. Those without one come after those with one, in the order they were
    /// added.
    pub position: Option<f64>,
    /// From when on it takes no part, in seconds since 1970.
    pub expires_at: Option<f64>,
    /// Where it belongs, from the widest part to the narrowest; nowhere where empty.
    pub namespace: &'a [&'a str],
}

/// How a candidate was used, as far as it is known: what changes with every use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use {
    /// As [`Candidate::access_count`].
    pub access_count: Option<f64>,
    /// As [`Candidate::success_rate`].
    pub success_rate: Option<f64>,
    /// As [`Candidate::trials`].
    pub trials: Option<f64>,
    /// As [`Candidate::confidence`].
    pub confidence: Option<f64>,
    /// As [`Candidate::expires_at`], which a use may put off.
    pub expires_at: Option<f64>,
}

#[cold]
#[inline(never)]
pub(super) fn refused(place: usize, field: &str, value: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(ErrorKind::CandidateInvalid, format!("candidates[{place}].{field}"), value, remedy)
}

/// Most parts of a namespace.
const DEEPEST_NAMESPACE: usize = 32;
/// Largest count a candidate may have: beyond it a count is a mistake, and below it sums stay exact.
pub(super) const LARGEST_COUNT: f64 = 1e9;
/// Seconds from 1970, before or after, that a time may be.
pub(super) const LATEST: f64 = 1e12;

impl Use {
    pub(super) fn of(candidate: &Candidate) -> Self {
        let Candidate { access_count, success_rate, trials, confidence, expires_at, .. } = *candidate;
        Self { access_count, success_rate, trials, confidence, expires_at }
    }

    pub(super) fn check(&self, place: usize) -> Result<()> {
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
        check_time(place, "expires_at", self.expires_at)
    }
}

fn check_time(place: usize, field: &str, time: Option<f64>) -> Result<()> {
    match time.filter(|time| !time.is_finite() || time.abs() > LATEST) {
        Some(time) => Err(refused(place, field, time, "give seconds since 1970, or leave it out")),
        None => Ok(()),
    }
}

impl Candidate<'_> {
    pub(super) fn check(&self, place: usize) -> Result<()> {
        if self.id.is_empty() {
            return Err(refused(place, "id", "empty", "give every candidate a name"));
        }
        Use::of(self).check(place)?;
        check_time(place, "created_at", self.created_at)?;
        if let Some(position) = self.position.filter(|position| !position.is_finite()) {
            return Err(refused(place, "position", position, "give a finite number, or leave it out"));
        }
        if self.namespace.len() > DEEPEST_NAMESPACE {
            let found = format!("{} parts", self.namespace.len());
            return Err(refused(place, "namespace", found, "give at most 32"));
        }
        Ok(())
    }
}
