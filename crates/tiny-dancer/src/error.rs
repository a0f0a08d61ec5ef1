//! The one error type: what kind, which field, which value, and what to do about it.

use std::fmt;

/// What went wrong, coarse enough that every binding maps each kind to one exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Bytes that are no artifact, or one that contradicts itself.
    ArtifactInvalid,
    /// A sound artifact of a format version this engine does not read.
    ArtifactVersion,
    /// Bytes that differ from their checksum.
    ArtifactChecksum,
    /// The artifact does not decide as it did when it was made.
    ArtifactSelfCheck,
    /// The artifact needs the static encoder and none was given.
    EncoderMissing,
    /// A request that cannot be routed as it stands.
    RequestInvalid,
    /// A constraint or option outside its range, or naming an unknown model.
    OptionInvalid,
    /// No model satisfies the constraints.
    NoFeasibleModel,
    /// A candidate or candidate set that cannot be used.
    CandidateInvalid,
}

/// An error with everything its reader needs to act: kind, field, value, remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The field (or option, or tensor) at fault.
    pub field: String,
    /// What was found there, shortened.
    pub value: String,
    /// What to do about it.
    pub remedy: String,
}

/// The result of every fallible engine call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `kind` about `field`, which held `value`; `remedy` says what to do.
    #[cold]
    #[inline(never)]
    pub fn new(
        kind: ErrorKind,
        field: impl Into<String>,
        value: impl fmt::Display,
        remedy: impl Into<String>,
    ) -> Self {
        Self::shortened(kind, field.into(), value.to_string(), remedy.into())
    }

    #[cold]
    #[inline(never)]
    fn shortened(kind: ErrorKind, field: String, mut value: String, remedy: String) -> Self {
        if value.chars().count() > 120 {
            value = value.chars().take(117).chain("...".chars()).collect();
        }
        Self { kind, field, value, remedy }
    }

    /// As bindings print it: an object of `code`, `field`, `value` and `remedy`.
    #[must_use]
    pub fn to_value(&self) -> serde_json::Value {
        let Self { kind, field, value, remedy } = self;
        serde_json::json!({ "code": format!("{kind:?}"), "field": field, "value": value, "remedy": remedy })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}; {}", self.field, self.value, self.remedy)
    }
}

impl std::error::Error for Error {}
