//! Conformal prediction: thresholds with finite-sample coverage, and the sets they give.
