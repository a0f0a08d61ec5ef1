//! Stated rules on the structure of a request, which need no artifact: what decides where the learned policy cannot.
//!
//! The same rules as Python's `tiny_dancer.resilience.heuristics`, which says where they come from and how little they
//! are worth: a stopgap for minutes, not a router.

use crate::cues::{CUES, NAMES};

/// Words from which on a request counts as long.
const LONG_WORDS: u32 = 60;
/// Cues are single precision.
const TOLERANCE: f64 = 1e-6;

/// Cue, least count (cues are stored as log(1 + n)), and what it means.
const RULES: [(&str, u32, &str); 6] = [
    ("log_words", LONG_WORDS, "long: 60 words or more"),
    ("conditions", 2, "several conditions"),
    ("comparisons", 2, "several comparisons"),
    ("latex", 1, "mathematics: formulas"),
    ("operators", 2, "mathematics: operators"),
    ("code_punctuation", 2, "code"),
];
const PLAIN: &str = "short and plain: under 60 words, no rule fires";

/// Whether a request of these cues deserves the strong model, and the first rule that says so.
pub(super) fn hint(cues: &[f32; CUES]) -> (bool, &'static str) {
    for (name, least, meaning) in RULES {
        let place = NAMES.iter().position(|known| *known == name).expect("rules name cues");
        if f64::from(cues[place]) >= libm::log1p(f64::from(least)) - TOLERANCE {
            return (true, meaning);
        }
    }
    (false, PLAIN)
}
