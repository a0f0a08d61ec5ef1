//! Candidates scored against a request: a structure-of-arrays set, its features, a scorer, a ranked answer.
