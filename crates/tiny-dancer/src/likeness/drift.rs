//! All that is watched over a stream of decisions and of what became of them: six alarms, none of which rings falsely
//! oftener than its share of the chance allowed.

use super::martingale::Martingale;
use super::shift::{Shift, Side, Usual};
use super::wager::Wager;
use crate::artifact::{Guarantee, Header, Tensors};
use crate::error::Result;

use serde::{Deserialize, Serialize};

/// How far mean quality may be from what was expected before the expectation counts as wrong.
pub const TOLERANCE: f64 = 0.05;
/// Alarms by name, in the order of [`Drift::alarms`].
pub const ALARMS: [&str; 6] = ["likeness", "quality", "gain", "feedback", "calibration", "risk"];

/// What each alarm watches.
pub const WATCHED: [&str; ALARMS.len()] = [
    "what requests are like, beside the rows the artifact was calibrated on",
    "the highest quality expected of any model",
    "what the best other model is expected to gain over the best constant",
    "feedback less the quality expected",
    "outcomes beside the quality expected, model by model",
    "the risk that the certificate bounds, by outcomes",
];
/// Why a decision stands under no certificate once an alarm has rung.
pub const WITHDRAWN: [&str; ALARMS.len()] = [
    super::DRIFTED,
    "the highest quality expected of any model has changed",
    "what other models are expected to gain over the best constant has changed",
    "feedback has changed beside the quality expected",
    "outcomes are not what was expected",
    "outcomes break what the certificate promises",
];

const LIKENESS: usize = 0;
const QUALITY: usize = 1;
const GAIN: usize = 2;
const FEEDBACK: usize = 3;
const CALIBRATION: usize = 4;
const RISK: usize = 5;

/// What the header says of the rows that decisions are compared with.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct DriftSpec {
    /// Rows counted, one of each group of kin.
    pub rows: u64,
    /// Rows each model was chosen for under the policy in force, in the order of the models.
    pub mix: Vec<u64>,
}

/// What is usual of decisions on rows like those a certificate was earned on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UsualDecisions {
    quality: Usual,
    gain: Usual,
    confidence: Usual,
}

impl UsualDecisions {
    pub(crate) fn read(tensors: &Tensors) -> Result<Self> {
        Ok(Self {
            quality: Usual::read(tensors, "quality")?,
            gain: Usual::read(tensors, "gain")?,
            confidence: Usual::read(tensors, "confidence")?,
        })
    }
}

impl UsualDecisions {
    /// Of `quality`, `gain` or `confidence`.
    pub(crate) fn of(&self, name: &str) -> Option<&Usual> {
        match name {
            "quality" => Some(&self.quality),
            "gain" => Some(&self.gain),
            "confidence" => Some(&self.confidence),
            _ => None,
        }
    }
}

/// How one alarm stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alarm {
    /// One of [`ALARMS`].
    pub name: &'static str,
    /// Decisions, or outcomes, counted.
    pub steps: u64,
    /// What it has made of its share of 1.
    pub capital: f64,
    /// The step at which it rang; it does not stop.
    pub since: Option<u64>,
    /// On which side, where it has sides.
    pub side: Side,
    /// Of `calibration`: which model has the most to do with it.
    pub model: Option<usize>,
    /// Whether it knows what is usual: always, but for those that learn it.
    pub known: bool,
}

/// What two numbers make of the expected quality of every model: the highest, and how much the best of the others is
/// above the best constant. Neither depends on what a caller asks for. NaN where there is none.
#[must_use]
pub fn measures(scores: &[f32], best_constant: usize) -> (f32, f32) {
    let highest = |others: bool| {
        let counted = scores.iter().enumerate().filter(|&(model, _)| !others || model != best_constant);
        counted.map(|(_, &score)| score).fold(f32::NAN, f32::max)
    };
    (highest(false), highest(true) - scores.get(best_constant).copied().unwrap_or(f32::NAN))
}

/// What a certificate of quality bounds; one of costs promises nothing that outcomes could contradict.
#[derive(Clone, Copy, Debug)]
struct Promise {
    epsilon: f64,
    /// The model compared with.
    reference: usize,
    risk: Risk,
}

#[derive(Clone, Copy, Debug)]
enum Risk {
    Mean,
    Harm,
    Routed,
}

impl Promise {
    fn of(guarantee: &Guarantee, header: &Header) -> Option<Self> {
        let risk = match guarantee.risk.as_str() {
            "mean" => Risk::Mean,
            "harm" => Risk::Harm,
            "routed" => Risk::Routed,
            _ => return None,
        };
        let reference = header.models.iter().position(|model| model.name == guarantee.reference)?;
        Some(Self { epsilon: guarantee.epsilon, reference, risk })
    }

    /// The loss where the reference itself has served; NaN where such requests are not counted.
    fn kept(self) -> f64 {
        if matches!(self.risk, Risk::Routed) { f64::NAN } else { 0.0 }
    }

    /// The loss where the reference scored so much more than what served.
    fn lost(self, difference: f64) -> f64 {
        match self.risk {
            Risk::Mean => difference,
            Risk::Harm => difference.max(0.0),
            Risk::Routed => f64::from(difference > 0.0),
        }
    }
}

/// The state of a watch. A capital of 1 is dealt out evenly among the alarms; each rings once its share has become
/// `threshold`, so that by the sum of their chances any of them ever rings falsely with probability at most
/// 1 / `threshold`.
#[derive(Clone, Debug)]
pub struct Drift {
    threshold: f64,
    best_constant: usize,
    /// What a certificate of quality promises.
    promise: Option<Promise>,
    likeness: Option<Martingale>,
    /// Quality, gain, feedback.
    shifts: [Shift; 3],
    /// A model each: outcomes below what was expected, and above.
    outcomes: Vec<[Wager; 2]>,
    risk: Wager,
    measured: u64,
    since: [Option<u64>; ALARMS.len()],
}

impl Drift {
    /// Before the first decision; `seed` breaks ties.
    pub(crate) fn new(
        header: &Header,
        likeness: Option<Martingale>,
        usual: Option<&UsualDecisions>,
        threshold: f64,
        seed: u64,
    ) -> Self {
        let shift =
            |of: Option<&Usual>, number: u64| Shift::new(of.cloned(), seed.wrapping_add(number << 32));
        Self {
            threshold,
            best_constant: header.best_constant,
            promise: header.guarantee.as_ref().and_then(|guarantee| Promise::of(guarantee, header)),
            likeness,
            shifts: [
                shift(usual.map(|each| &each.quality), 1),
                shift(usual.map(|each| &each.gain), 2),
                shift(None, 3),
            ],
            outcomes: vec![[Wager::default(); 2]; header.models.len()],
            risk: Wager::default(),
            measured: 0,
            since: [None; ALARMS.len()],
        }
    }

    /// A decision: its likeness, and the quality expected of every model. Gives [`measures`].
    pub fn decided(&mut self, likeness: Option<f32>, scores: &[f32]) -> (f32, f32) {
        let (quality, gain) = measures(scores, self.best_constant);
        if let Some((state, p_value)) = self.likeness.as_mut().zip(likeness) {
            state.observe(p_value);
            self.look(LIKENESS);
        }
        self.shifts[QUALITY - 1].observe(quality);
        self.shifts[GAIN - 1].observe(gain);
        self.look(QUALITY);
        self.look(GAIN);
        (quality, gain)
    }

    /// How an answer was received, less the quality expected of it: whatever the scale of one in the other, their
    /// difference keeps its distribution as long as nothing changes.
    pub fn graded(&mut self, residual: f64) {
        self.shifts[FEEDBACK - 1].observe(residual as f32);
        self.look(FEEDBACK);
    }

    /// What the model that served really scored, in the unit of the scores expected.
    ///
    /// `reference` is what the certificate's reference scored on the same request, where that is known; else its
    /// expectation among `scores` stands for it, with [`TOLERANCE`]: less than any of the risks can be on average, as
    /// none of them is below the mean difference. Numbers outside [0, 1] are passed over.
    pub fn measured(&mut self, model: usize, quality: f64, scores: &[f32], reference: Option<f64>) {
        let known = |value: f64| (0.0..=1.0).contains(&value);
        let expected = scores.get(model).map_or(f64::NAN, |&score| f64::from(score));
        if !known(quality) || !known(expected) {
            return;
        }
        let Some([below, above]) = self.outcomes.get_mut(model) else { return };
        below.observe(expected - quality - TOLERANCE);
        above.observe(quality - expected - TOLERANCE);
        self.measured += 1;
        self.look(CALIBRATION);
        let Some(promise) = self.promise else { return };
        let compared = scores.get(promise.reference).map_or(f64::NAN, |&score| f64::from(score));
        let loss = match reference {
            _ if model == promise.reference => promise.kept(),
            Some(best) => promise.lost(best - quality),
            None => compared - quality - TOLERANCE,
        };
        self.risk.observe(loss - promise.epsilon);
        self.look(RISK);
    }

    /// Has an alarm rung by what came last?
    fn look(&mut self, alarm: usize) {
        if self.since[alarm].is_none() && self.capital(alarm) >= self.threshold {
            self.since[alarm] = Some(self.steps(alarm));
        }
    }

    /// What an alarm has made of its share of 1.
    fn capital(&self, alarm: usize) -> f64 {
        let made = match alarm {
            LIKENESS => self.likeness.as_ref().map_or(1.0, Martingale::capital),
            QUALITY | GAIN | FEEDBACK => self.shifts[alarm - 1].capital(),
            CALIBRATION => {
                let sides = self.outcomes.iter().flatten();
                sides.map(Wager::capital).sum::<f64>() / (2 * self.outcomes.len()).max(1) as f64
            }
            _ => self.risk.capital(),
        };
        made / ALARMS.len() as f64
    }

    fn steps(&self, alarm: usize) -> u64 {
        match alarm {
            LIKENESS => self.likeness.as_ref().map_or(0, Martingale::steps),
            QUALITY | GAIN | FEEDBACK => self.shifts[alarm - 1].steps(),
            CALIBRATION => self.measured,
            _ => self.risk.steps(),
        }
    }

    /// How they all stand.
    #[must_use]
    pub fn alarms(&self) -> [Alarm; ALARMS.len()] {
        std::array::from_fn(|alarm| {
            let (mut side, mut model, mut known) = (Side::Neither, None, true);
            match alarm {
                LIKENESS => known = self.likeness.is_some(),
                QUALITY | GAIN | FEEDBACK => {
                    let shift = &self.shifts[alarm - 1];
                    (side, known) = (shift.side(), shift.known());
                }
                CALIBRATION => (side, model) = self.farthest(),
                _ => known = self.promise.is_some(),
            }
            Alarm {
                name: ALARMS[alarm],
                steps: self.steps(alarm),
                capital: self.capital(alarm),
                since: self.since[alarm],
                side,
                model,
                known,
            }
        })
    }

    /// The model whose outcomes are farthest from what was expected, and on which side.
    fn farthest(&self) -> (Side, Option<usize>) {
        let mut found = (1.0, Side::Neither, None);
        for (model, sides) in self.outcomes.iter().enumerate() {
            for (wager, side) in sides.iter().zip([Side::Lower, Side::Higher]) {
                if wager.capital() > found.0 {
                    found = (wager.capital(), side, Some(model));
                }
            }
        }
        (found.1, found.2)
    }

    /// Capital at which an alarm rings.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Whether any alarm has rung.
    #[must_use]
    pub fn rings(&self) -> bool {
        self.since.iter().any(Option::is_some)
    }
}
