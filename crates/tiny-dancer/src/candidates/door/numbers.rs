//! Candidates that a binding gives as numbers, without JSON.

use super::{CandidateDoor, invalid};
use crate::candidates::candidate::Candidate;
use crate::candidates::set::CandidateSet;
use crate::error::Result;

impl CandidateDoor {
    /// Adds candidates with their embeddings, one row of `dimensions` numbers after the other; all or none.
    ///
    /// # Errors
    /// `CandidateInvalid` as [`CandidateSet::append`], and where the set makes embeddings of texts itself.
    pub fn append(&mut self, candidates: &[Candidate], embeddings: &[f32], dimensions: usize) -> Result<()> {
        if self.encoded {
            let remedy = "this set encodes text itself: leave them out, or make a new set";
            return Err(invalid("embeddings", "given", remedy));
        }
        if let Some(set) = &mut self.set {
            return set.append(candidates, embeddings);
        }
        // Nobody says yet how wide embeddings are.
        if candidates.is_empty() && embeddings.is_empty() {
            return Ok(());
        }
        let mut set = CandidateSet::new(Some(dimensions), self.precision)?;
        set.append(candidates, embeddings)?;
        self.set = Some(set);
        Ok(())
    }

    /// Makes the set ready to be ranked by many at once; what is added leaves it unready.
    pub fn refresh(&mut self) {
        if let Some(set) = &mut self.set {
            set.refresh();
        }
    }
}
