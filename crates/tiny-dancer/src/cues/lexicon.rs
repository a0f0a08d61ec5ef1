//! Closed word lists behind the cues.

use crate::text::hash_characters;

/// One bit a list.
pub(super) mod flag {
    pub const STOP: u32 = 1;
    pub const NUMBER_WORD: u32 = 1 << 1;
    pub const TIME: u32 = 1 << 2;
    pub const COMPARISON: u32 = 1 << 3;
    pub const RATE: u32 = 1 << 4;
    pub const SCALE: u32 = 1 << 5;
    pub const TOTAL: u32 = 1 << 6;
    pub const REMAINDER: u32 = 1 << 7;
    pub const CONDITION: u32 = 1 << 8;
    pub const NEGATION: u32 = 1 << 9;
    pub const PRONOUN: u32 = 1 << 10;
    pub const MATHEMATICS: u32 = 1 << 11;
    pub const UNIT: u32 = 1 << 12;
    pub const PERCENT: u32 = 1 << 13;
    pub const WHAT: u32 = 1 << 14;
    pub const WHY: u32 = 1 << 15;
    pub const HOW: u32 = 1 << 16;
    pub const MANY: u32 = 1 << 17;
    pub const MUCH: u32 = 1 << 18;
    pub const BLANK: u32 = 1 << 19;
    pub const EXCEPTION: u32 = 1 << 20;
    pub const STATEMENT: u32 = 1 << 21;
    pub const TRUE_FALSE: u32 = 1 << 22;
    pub const FOLLOWING: u32 = 1 << 23;
    pub const ALL_OR_NONE: u32 = 1 << 24;
    pub const THAN: u32 = 1 << 25;
    pub const AS: u32 = 1 << 26;
    pub const TIMES: u32 = 1 << 27;
}

const LISTS: &[(u32, &str)] = &[
    (
        flag::STOP,
        "the a an of to in and is are was were for on that this with as by at from be or it which what has have had not but",
    ),
    (
        flag::NUMBER_WORD,
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen first second third fourth fifth",
    ),
    (
        flag::TIME,
        "second seconds minute minutes hour hours day days week weeks weekly daily month months monthly year years yearly annual today yesterday tomorrow monday tuesday wednesday thursday friday saturday sunday morning afternoon evening night noon am pm o'clock age old",
    ),
    (
        flag::COMPARISON,
        "more less than fewer greater larger smaller bigger older younger longer shorter higher lower faster slower most least as best worst better worse largest smallest highest lowest same equal difference",
    ),
    (flag::RATE, "each every per apiece rate average times"),
    (
        flag::SCALE,
        "twice double triple half thrice quarter quarters third thirds halves doubled tripled percent fraction ratio",
    ),
    (flag::TOTAL, "total altogether all together sum combined whole entire both"),
    (
        flag::REMAINDER,
        "left remaining remain remains rest still lost gave gives spent spends sold eaten ate away remainder",
    ),
    (flag::CONDITION, "if when suppose assume assuming given let unless whether then"),
    (
        flag::NEGATION,
        "not no except never none cannot neither nor without false incorrect untrue isn't doesn't don't didn't won't can't aren't wasn't couldn't least",
    ),
    (flag::PRONOUN, "he she they him her his hers their them it its i you we my your our us"),
    (
        flag::MATHEMATICS,
        "equation function integral derivative matrix vector polynomial probability theorem group ring field prime integer integers solve compute calculate evaluate find x y z n sin cos log sqrt mean variance proof prove graph set",
    ),
    (
        flag::UNIT,
        "dollar dollars cent cents mile miles km meter meters metres feet foot inch inches yard yards pound pounds ounce ounces kg kilogram grams gram liter liters gallon gallons cup cups mph kilometers cm mm g m l ml hz v volts j joules newtons mol k degrees",
    ),
    (flag::PERCENT, "percent"),
    (flag::WHAT, "what"),
    (flag::WHY, "why"),
    (flag::HOW, "how"),
    (flag::MANY, "many"),
    (flag::MUCH, "much"),
    (flag::BLANK, "blank"),
    (flag::EXCEPTION, "except not false incorrect least"),
    (flag::STATEMENT, "statement statements ii argument arguments"),
    (flag::TRUE_FALSE, "true false"),
    (flag::FOLLOWING, "following"),
    (flag::ALL_OR_NONE, "all none both neither"),
    (flag::THAN, "than"),
    (flag::AS, "as"),
    (flag::TIMES, "times"),
];

/// Slots of a table: a power of two, about a quarter full.
const SLOTS: usize = 2048;

/// Word hash → lists it is on.
#[derive(Debug)]
pub(crate) struct Lexicon {
    slots: Box<[(u64, u32); SLOTS]>,
}

impl Default for Lexicon {
    fn default() -> Self {
        Self::of(LISTS)
    }
}

impl Lexicon {
    /// Of lists, each with its bit and its words.
    pub(crate) fn of(lists: &[(u32, &str)]) -> Self {
        let mut lexicon = Self { slots: vec![(0, 0); SLOTS].try_into().expect("as many") };
        for (bit, words) in lists {
            for word in words.split(' ') {
                let hash = hash_characters(word.chars());
                let slot = lexicon.slot(hash);
                lexicon.slots[slot].0 = hash;
                lexicon.slots[slot].1 |= bit;
            }
        }
        lexicon
    }

    fn slot(&self, hash: u64) -> usize {
        let mut slot = (hash >> 40) as usize % SLOTS;
        while self.slots[slot].1 != 0 && self.slots[slot].0 != hash {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    /// The lists the word with this hash is on, as their bits.
    #[inline]
    pub(crate) fn flags(&self, hash: u64) -> u32 {
        self.slots[self.slot(hash)].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_and_others_are_not() {
        let lexicon = Lexicon::default();
        for (bit, words) in LISTS {
            for word in words.split(' ') {
                assert_ne!(lexicon.flags(hash_characters(word.chars())) & bit, 0, "{word}");
            }
        }
        for word in ["zebra", "", "whatever"] {
            assert_eq!(lexicon.flags(hash_characters(word.chars())), 0, "{word}");
        }
    }
}
