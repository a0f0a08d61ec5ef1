//! Which language a text is in: by its script, and where that is Latin by the words it has.

use super::Language;

/// Characters looked at.
const MOST: usize = 2000;
/// (first, last, code): letters of scripts that one language is mostly written in. Kana before Han: Japanese has both.
const SCRIPTS: [(u32, u32, &str); 11] = [
    (0x3040, 0x30FF, "ja"),
    (0xAC00, 0xD7A3, "ko"),
    (0x1100, 0x11FF, "ko"),
    (0x4E00, 0x9FFF, "zh"),
    (0x3400, 0x4DBF, "zh"),
    (0x0400, 0x04FF, "ru"),
    (0x0600, 0x06FF, "ar"),
    (0x0590, 0x05FF, "he"),
    (0x0370, 0x03FF, "el"),
    (0x0E00, 0x0E7F, "th"),
    (0x0900, 0x097F, "hi"),
];
/// Of letters, from which share on a script tells the language: prompts quote other languages.
const TELLING: usize = 2;

/// The language of `text`; `counts` says how many declared words of each language it has. None where nothing tells, or
/// two languages are level.
pub(super) fn of(text: &str, counts: &[u32]) -> Option<Language> {
    let (mut letters, mut found) = (0, [0usize; SCRIPTS.len()]);
    for character in text.chars().take(MOST) {
        if !character.is_alphabetic() {
            continue;
        }
        letters += 1;
        let code = u32::from(character);
        if code >= SCRIPTS[8].0
            && let Some(at) = SCRIPTS.iter().position(|&(first, last, _)| (first..=last).contains(&code))
        {
            found[at] += 1;
        }
    }
    let foreign: usize = found.iter().sum();
    if letters > 0 && foreign * TELLING >= letters {
        // Kana are in every Japanese sentence and in no Chinese one.
        let at = if found[0] * 10 >= foreign {
            0
        } else {
            (0..found.len()).max_by_key(|&at| (found[at], found.len() - at)).unwrap_or(0)
        };
        return Some(Language::Script(SCRIPTS[at].2));
    }
    let most = *counts.iter().max()?;
    let mut level = counts.iter().enumerate().filter(|(_, count)| **count == most);
    let (at, _) = level.next()?;
    (most > 0 && level.next().is_none()).then_some(Language::Words(at))
}
