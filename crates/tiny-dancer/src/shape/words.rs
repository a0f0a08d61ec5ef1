//! Words by which shapes are known.

use std::sync::LazyLock;

use crate::cues::Lexicon;
use crate::text::{TokenKind, hash_characters};

/// Asks: what follows its colon is a question, or belongs to one.
pub(super) const ASKS: u32 = 1;
/// Answers: what follows its colon is an answer.
pub(super) const ANSWERS: u32 = 1 << 1;
/// Stands before options: "Choices:".
pub(super) const CHOICES: u32 = 1 << 2;
/// Stands before the marker of one option: "Option A:".
pub(super) const OPTION: u32 = 1 << 3;
/// Before a label's word, makes it prose: "the question: …".
pub(super) const PROSE: u32 = 1 << 4;
/// Before a label's word, belongs to the label: "final answer:".
pub(super) const KIND: u32 = 1 << 5;
/// All that a short follow-up says.
const FOLLOW: u32 = 1 << 6;
/// Starts a sentence that may be preamble.
pub(super) const OPENS: u32 = 1 << 7;
/// With a colon, starts a sentence that is.
pub(super) const NOTICE: u32 = 1 << 8;
/// Fields of JSON that say nothing.
pub(super) const MUTE: u32 = 1 << 9;
/// Tags that are wrappers wherever they stand.
pub(super) const TAG: u32 = 1 << 10;
/// Between a label's word and its colon: "the options are:".
pub(super) const IS: u32 = 1 << 11;
/// The system's part of a transcript.
pub(super) const SYSTEM: u32 = 1 << 12;

const LISTS: &[(u32, &str)] = &[
    (
        ASKS,
        "q question questions problem exercise query prompt task instruction instructions input user human customer example context passage text premise frage pregunta domanda",
    ),
    (
        ANSWERS,
        "a answer answers solution response output assistant ai bot reply model antwort respuesta réponse risposta",
    ),
    (CHOICES, "choices options alternatives answers candidates opts"),
    (OPTION, "option choice alternative"),
    (
        PROSE,
        "the a an this that these those of to in and or for on with as by from my our his her its their no any some each every is was are were one following other main real big same",
    ),
    (
        KIND,
        "final correct your best right expected possible new next test sample user current given available multiple answer",
    ),
    (
        FOLLOW,
        "yes yeah yep yup no nope ok okay k sure fine good great right alright thanks thank please pls go on ahead continue proceed next more again do did done make try run start keep finish redo repeat retry explain elaborate expand detail details summarise summarize shorten shorter longer better clearer simpler deeper further why how so then and but or what about else another both all first second third last previous above same correct exactly agreed perfect cool nice now just let's lets let sounds looks i you we me us it that this them those these is are was be the a an of to in for with as at now sounds like works work way would could can should will want need love that's it's i'm there here step steps part answer question plan out up too also not don't stop wait ja nein weiter bitte gut oui non continuez merci sí si sigue gracias adelante 继 续 好 的 是 请 谢 はい 続 け て",
    ),
    (
        OPENS,
        "you act i i'd please answer respond reply read below here choose select pick think let's let thank thanks hello hi hey dear solve this for do be explain show give provide return output use your remember as keep always never confidential all generated sent any by make ensure end write the only in examples first work take now i'm",
    ),
    (NOTICE, "note important disclaimer warning reminder system notice attention ps caution"),
    (MUTE, "role type id uid uuid idx index lang language model source dataset"),
    (
        TAG,
        "question questions query prompt user task problem input text instruction instructions context options option choices choice answer answers passage document system example examples item request message content exercise",
    ),
    (IS, "is are"),
    (SYSTEM, "system"),
];

static WORDS: LazyLock<Lexicon> = LazyLock::new(|| Lexicon::of(LISTS));

/// Reads the lists, which allocates once.
pub(super) fn prepare() {
    LazyLock::force(&WORDS);
}

/// Lists the word with this hash is on.
#[inline]
pub(super) fn flags(hash: u64) -> u32 {
    WORDS.flags(hash)
}

/// Lists a word is on.
pub(super) fn flags_of(word: impl IntoIterator<Item = char>) -> u32 {
    flags(hash_characters(word))
}

/// Longest follow-up, in bytes, and in words.
const FOLLOW_BYTES: usize = 96;
const FOLLOW_WORDS: usize = 12;

/// Whether a turn says only that what is under way should go on: it stands for what it follows.
///
/// At most [`FOLLOW_WORDS`] words and no number, all of them on a list; or no word at all, or a single one.
pub(crate) fn is_follow_up(text: &str) -> bool {
    let text = text.trim();
    if text.len() > FOLLOW_BYTES {
        return false;
    }
    let letter = |character: char| character.is_alphanumeric() || matches!(character, '\'' | '’');
    let words = text.split(|character| !letter(character)).filter(|word| !word.is_empty());
    let (mut count, mut listed) = (0, 0);
    for word in words {
        if word.starts_with(|character: char| character.is_numeric()) {
            return false;
        }
        let plain = || word.chars().map(|character| if character == '’' { '\'' } else { character });
        let lower = || plain().flat_map(char::to_lowercase);
        count += 1;
        let each = || lower().all(|character| !character.is_ascii() && flags_of([character]) & FOLLOW != 0);
        listed += usize::from(flags_of(lower()) & FOLLOW != 0 || each());
    }
    count <= 1 || (count <= FOLLOW_WORDS && listed == count)
}

/// As [`is_follow_up`], of tokens.
pub(super) fn follows(view: super::View, range: std::ops::Range<usize>) -> bool {
    let tokens = &view.tokens[range];
    let words = tokens.iter().filter(|token| token.kind == TokenKind::Word);
    let count = words.clone().count();
    tokens.iter().all(|token| token.kind != TokenKind::Number)
        && (count <= 1
            || (count <= FOLLOW_WORDS && words.clone().all(|token| flags(token.hash) & FOLLOW != 0)))
}
