//! What an agent's harness says in the user's name: reminders, its surroundings, output of commands.

use crate::shape::HARNESS;

/// Lines of a harness on their own.
const LINES: [&str; 2] = ["[Request interrupted by user]", "[Request interrupted by user for tool use]"];

/// The text without the blocks and lines of a harness at its start and its end.
pub(super) fn without_harness(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(rest) = after_block(text).or_else(|| before_block(text)) {
        text = rest.trim();
    }
    text
}

/// Whether a text is of a harness alone.
pub(super) fn is_harness(text: &str) -> bool {
    !text.trim().is_empty() && without_harness(text).is_empty()
}

fn after_block(text: &str) -> Option<&str> {
    if let Some(rest) = LINES.iter().find_map(|line| text.strip_prefix(line)) {
        return Some(rest);
    }
    let inside = text.strip_prefix('<')?;
    HARNESS.iter().find_map(|name| {
        let content = inside.strip_prefix(name)?.strip_prefix('>')?;
        content.match_indices("</").find_map(|(at, _)| closed(&content[at..], name))
    })
}

/// What follows a closing tag of this name that the text starts with.
fn closed<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix("</")?.strip_prefix(name)?.strip_prefix('>')
}

fn before_block(text: &str) -> Option<&str> {
    if let Some(rest) = LINES.iter().find_map(|line| text.strip_suffix(line)) {
        return Some(rest);
    }
    let inside = text.strip_suffix('>')?;
    HARNESS.iter().find_map(|name| {
        let content = inside.strip_suffix(name)?.strip_suffix("</")?;
        let opens =
            |at: &usize| content[at + 1..].strip_prefix(name).is_some_and(|rest| rest.starts_with('>'));
        let start = content.rmatch_indices('<').map(|(at, _)| at).find(opens)?;
        Some(&content[..start])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_the_users() {
        for (text, left) in [
            ("<system-reminder>be kind</system-reminder>", ""),
            ("<system-reminder>a</system-reminder>\n<system-reminder>b</system-reminder>\n", ""),
            (" <environment_details>\ncwd: /\n</environment_details> [Request interrupted by user] ", ""),
            ("[Request interrupted by user for tool use]", ""),
            ("<system-reminder>a</system-reminder>\nfix it <bash-stdout>x</bash-stdout>", "fix it"),
            ("fix <system-reminder>a</system-reminder> it", "fix <system-reminder>a</system-reminder> it"),
            ("<system-reminder>open", "<system-reminder>open"),
            ("<div>a</div>", "<div>a</div>"),
            ("what does </system-reminder>", "what does </system-reminder>"),
            ("", ""),
        ] {
            assert_eq!(without_harness(text), left, "{text}");
            assert_eq!(is_harness(text), left.is_empty() && !text.is_empty(), "{text}");
        }
    }
}
