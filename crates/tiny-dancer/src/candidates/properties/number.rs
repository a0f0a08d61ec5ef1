//! Numbers in their order.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A number in the form of `number.rs`. Numbers are in the order of the decimals that their texts write, whatever their
/// size; of equal decimals (`1e+21` and the whole number of 22 digits) in the order of the texts.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    /// The double nearest to it; infinite beyond any.
    pub value: f64,
    pub text: Arc<str>,
}

impl Number {
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        Self { value: text.parse().unwrap_or(f64::NAN), text }
    }

    /// The order of the decimals.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        // Reading a decimal as a double keeps its order.
        self.value.total_cmp(&other.value).then_with(|| {
            if self.text == other.text {
                return Ordering::Equal;
            }
            let ((left, left_point), (right, right_point)) = (decimal(&self.text), decimal(&other.text));
            let size = left_point.cmp(&right_point).then_with(|| left.cmp(&right));
            if self.value < 0.0 { size.reverse() } else { size }
        })
    }
}

/// Digits of a number without zeros in front or behind, and how many of them stand before the point.
fn decimal(text: &str) -> (Vec<u8>, i64) {
    let (mantissa, exponent) = text.trim_start_matches('-').split_once('e').unwrap_or((text, "0"));
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let end = digits.iter().rposition(|&digit| digit != b'0').map_or(zeros, |last| last + 1);
    (digits[zeros..end].to_vec(), exponent.parse().unwrap_or(0) + whole.len() as i64 - zeros as i64)
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other).then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_in_the_order_of_their_decimals() {
        let sorted = [
            "-1e+400",
            "-1e+22",
            "-9007199254740993",
            "-9007199254740992",
            "-1.5",
            "-1e-7",
            "0",
            "5e-324",
            "1e-7",
            "0.1",
            "0.10000000149011612",
            "1",
            "9007199254740992",
            "9007199254740993",
            "9223372036854775807",
            "9223372036854775808",
            "9223372036854776000",
            "1000000000000000000000",
            "1e+21",
            "1000000000000000000001",
            "1.7976931348623157e+308",
        ];
        let mut numbers: Vec<Number> = sorted.map(Number::new).to_vec();
        let huge = format!("1{}", "0".repeat(400));
        numbers.push(Number::new(&*huge));
        numbers.push(Number::new(format!("{}1", &huge[..400])));
        for (place, number) in numbers.iter().enumerate() {
            for (other, expected) in numbers.iter().enumerate() {
                assert_eq!(number.cmp(expected), place.cmp(&other), "{} {}", number.text, expected.text);
            }
        }
        let large = Number::new("1e+21");
        let whole = Number::new("1000000000000000000000");
        assert!(large.order(&whole).is_eq() && large > whole);
    }

    proptest! {
        #[test]
        fn doubles_are_in_their_own_order(left in any::<f64>(), right in any::<f64>()) {
            prop_assume!(left.is_finite() && right.is_finite());
            let form = |value| crate::number::of_double(value, |text| Number::new(text)).expect("finite");
            prop_assert_eq!(Some(form(left).cmp(&form(right))), left.partial_cmp(&right));
        }
    }
}
