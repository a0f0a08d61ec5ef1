//! Words by which shapes are known.

use std::sync::LazyLock;

use crate::cues::Lexicon;
use crate::text::{TokenKind, hash_characters};

/// Asks: what follows its colon is a question, or belongs to one.
pub(super) const ASKS: u32 = 1;
/// Of these, labels of questions that stand by themselves.
pub(super) const STANDS: u32 = 1 << 1;
/// Of these, labels of turns and of examples.
pub(super) const SPEAKS: u32 = 1 << 2;
/// Answers: what follows its colon is an answer.
pub(super) const ANSWERS: u32 = 1 << 3;
/// Stands before options: "Choices:".
pub(super) const CHOICES: u32 = 1 << 4;
/// Stands before the marker of one option: "Option A:".
pub(super) const OPTION: u32 = 1 << 5;
/// Before a label's word, makes it prose: "the question: …".
pub(super) const PROSE: u32 = 1 << 6;
/// Before a label's word, belongs to the label: "final answer:".
pub(super) const KIND: u32 = 1 << 7;
/// Begins a question or a request.
pub(super) const REQUESTS: u32 = 1 << 8;
/// With a colon, may start a sentence of preamble.
pub(super) const NOTICE: u32 = 1 << 9;
/// Keys of JSON whose values say nothing.
pub(super) const MUTE: u32 = 1 << 10;
/// Keys of JSON that is a wrapper.
pub(super) const KEY: u32 = 1 << 11;
/// Roles and types that say nothing.
pub(super) const PLAIN: u32 = 1 << 12;
/// Tags that are wrappers.
pub(super) const TAG: u32 = 1 << 13;
/// Tags that are wrappers' parts.
pub(super) const INNER: u32 = 1 << 14;
/// Between a label's word and its colon: "the options are:".
pub(super) const IS: u32 = 1 << 15;
/// Speaks of what was said before, or of a pattern in it.
pub(super) const TALK: u32 = 1 << 16;
/// Points at what is said again and again.
pub(super) const POINTS: u32 = 1 << 17;
/// Speaks of a text, such as preamble may be.
pub(super) const REFERS: u32 = 1 << 18;
/// What is named on a fence and says nothing of what is in it.
pub(super) const FORM: u32 = 1 << 19;
/// Nouns of helpers.
pub(super) const PERSONA: u32 = 1 << 20;
/// Words of sentences about how to answer.
pub(super) const MANNER: u32 = 1 << 21;
/// Of these, those that make it one.
pub(super) const CORE: u32 = 1 << 22;
/// Starts such a sentence behind options.
pub(super) const TAILS: u32 = 1 << 23;
/// Says that it is said to who answers.
pub(super) const TELLS: u32 = 1 << 24;
/// What "explain your …" and "do not explain" begin with or hold.
pub(super) const YOURS: u32 = 1 << 25;
/// Before these: "do not …".
pub(super) const DENIES: u32 = 1 << 26;
/// Words of boilerplate.
pub(super) const BOILER: u32 = 1 << 27;
/// All that a short follow-up says.
const FOLLOW: u32 = 1 << 28;
/// Points at something, which may have been said before: pronouns.
pub(super) const LEANS: u32 = 1 << 29;
/// Asks about the words of a text, of which each counts.
pub(super) const COUNTS: u32 = 1 << 30;

const LISTS: &[(u32, &str)] = &[
    (
        ASKS,
        "q question questions problem exercise query prompt task instruction instructions input user human example context passage text premise frage pregunta domanda",
    ),
    (STANDS, "q question questions problem exercise query prompt frage pregunta domanda"),
    (SPEAKS, "user human example"),
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
        REQUESTS,
        "what which who whom whose when where why how is are do does did can could will would find compute calculate determine evaluate simplify solve prove show derive explain describe define compare discuss list name give state write implement create build make design fix debug refactor tell estimate suppose identify predict choose convert draw plan",
    ),
    (NOTICE, "note important disclaimer warning reminder system notice attention ps caution"),
    (MUTE, "id uid uuid idx index"),
    (
        KEY,
        "q question questions query prompt text content messages message role type task input instruction instructions context passage options choices alternatives candidates opts problem exercise user system id uid uuid idx index",
    ),
    (PLAIN, "user human text message question"),
    (
        TAG,
        "question questions query prompt task problem instruction instructions context options choices passage exercise",
    ),
    (
        INNER,
        "option choice answer answers input text document system user example examples item request message content",
    ),
    (IS, "is are"),
    (
        TALK,
        "above below conversation conversations dialogue dialog transcript interview chat discussion summarise summarize summary summarised summarized translate rewrite paraphrase pattern rule grade earlier previous speaker speakers customer draft reply replies email emails e-mail mail mails",
    ),
    (
        POINTS,
        "these those above equation equations pattern sequence repeat repeated repeats occur occurs appear appears words",
    ),
    (
        REFERS,
        "translate translation summarise summarize summary rewrite rephrase paraphrase reword proofread edit improve shorten polish grammar clause clauses email e-mail letter disclaimer conversation dialogue transcript interview chat message messages sentence sentences paragraph paragraphs text tone sentiment spam phishing classify wording prompt prompts instruction instructions draft notice repeat quote extract spell misspelled mean means meaning",
    ),
    (FORM, "json text txt markdown md plain plaintext xml"),
    (PERSONA, "assistant expert tutor teacher professor model ai bot chatbot agent helper specialist"),
    (
        MANNER,
        "a an the this that these those it its you your i me my we us our am is are was be been do does don't not no to of in on at by for from with without within as and or but if when which who what how only just also any all each every one ones other others more than then so such too very can could may might must shall should will would have has had let let's there here about into out up before after below above following either both same own first next always never please take give provide show return output put write use read make keep sure ensure follow remember try end begin start finish mind time now want need like asked ask given using based best most alternative alternatives letter careful accurate accurately precise precisely correct correctly appropriate problem problems test exam multiple single final boxed deep breath work through thoroughly user",
    ),
    (
        CORE,
        "answer answers answering answered question questions respond response responses reply replies choose choosing select selecting pick option options choice choices think thinking reasoning step steps concise concisely brief briefly carefully helpful honest polite solve thank thanks hello hi hey instruction instructions",
    ),
    (
        TAILS,
        "answer respond reply please select choose pick think let's output return only provide explain give write do thank thanks",
    ),
    (TELLS, "please you your following below let let's only always never"),
    (YOURS, "explain justify write state show support"),
    (DENIES, "not don't never please"),
    (
        BOILER,
        "educational informational information purpose purposes constitute constitutes professional advice legal medical financial confidential privileged intended recipient recipients content contents produced generated created automatically automated machine ai model models tool error errors mistake mistakes inaccuracies accuracy guarantee guaranteed guarantees warranty warranties responsibility responsible liable liability share shared distribute distributed disclose disclosed copy copied forward forwarded reproduction outside inside organisation organization company internal external terms conditions policy policies privacy rights reserved copyright email e-mail message messages text texts line lines document prompt request conversation sent received contact immediately delete notify sender reader readers reads agree agrees agreeing accept accepts acknowledge acknowledges consent understand notice important reminder disclaimer express implied risk full takes contain contains happen happens opinion opinions view views author authors necessarily reflect employer consult qualified seek solely general whoever anyone advance regards help appreciate appreciated phone iphone mobile research entertainment only reliance rely damages loss permission prior written consent verify verified affiliated official",
    ),
    (
        LEANS,
        "it they them he she him her his hers its their theirs this that these those same again here such former latter my our mine ours",
    ),
    (COUNTS, "parse parses parsing count counts counting sentence sentences grammar grammatical"),
    (
        FOLLOW,
        "yes yeah yep yup no nope ok okay k sure fine good great right alright thanks thank please pls go on ahead continue proceed next more again do did done make try run start keep finish redo repeat retry explain elaborate expand detail details summarise summarize shorten shorter longer better clearer simpler deeper further why how so then and but or what about else another both all first second third last previous above same correct exactly agreed perfect cool nice now just let's lets let sounds looks i you we me us it that this them those these is are was be the a an of to in for with as at now sounds like works work way would could can should will want need love that's it's i'm there here step steps part answer question plan out up too also not don't stop wait ja nein weiter bitte gut oui non continuez merci sí si sigue gracias adelante 继 续 好 的 是 请 谢 はい 続 け て",
    ),
];

/// Names of the blocks that harnesses put into a user's turn.
pub(crate) const HARNESS: [&str; 18] = [
    "bash-stderr",
    "bash-stdout",
    "command-args",
    "command-message",
    "command-name",
    "environment_context",
    "environment_details",
    "function_results",
    "ide_opened_file",
    "ide_selection",
    "local-command-caveat",
    "local-command-stderr",
    "local-command-stdout",
    "system-reminder",
    "system_reminder",
    "task-notification",
    "tool_result",
    "user-prompt-submit-hook",
];

/// Those of them that say nothing of what is asked: reminders, and what surrounds. What was selected, printed or returned
/// may be what is asked about.
pub(super) const NOISE: [&str; 11] = [
    "command-args",
    "command-message",
    "command-name",
    "environment_context",
    "environment_details",
    "ide_opened_file",
    "local-command-caveat",
    "system-reminder",
    "system_reminder",
    "task-notification",
    "user-prompt-submit-hook",
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
