//! JSON on the hot path: one pass over text that is borrowed, without allocation, nesting bounded.
//!
//! It reads what RFC 8259 allows and nothing else. Of what the RFC leaves open: a lone surrogate escape is refused
//! (it is no Unicode), a key that is given twice comes twice, and numbers stay text ([`crate::number`] says what
//! they mean). [`typed`] reads artifacts, options and queries by it.

mod typed;

use crate::error::{Error, ErrorKind};

pub(crate) use typed::{Unfit, typed};

/// Deepest nesting that is read: far above any schema, and within what the smallest usual stack (128 KiB) holds.
const DEEPEST: usize = 256;

/// Where text stops being JSON, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    at: usize,
    why: &'static str,
}

impl Fault {
    /// The error of a caller who gave this text as `field`.
    pub(crate) fn of(self, field: &str) -> Error {
        let found = format!("{} at byte {}", self.why, self.at);
        Error::new(ErrorKind::RequestInvalid, field, found, "give valid JSON")
    }
}

type Read<T> = Result<T, Fault>;

/// What a value is, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    /// The word an error says.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "a list",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Null => "null",
        }
    }
}

/// A string as it stands in the text: between its quotes, escapes not yet read, but known to be sound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl Text<'_> {
    /// Calls `emit` with each piece of what the string means.
    pub(crate) fn pieces(self, mut emit: impl FnMut(&str)) {
        if !self.escaped {
            emit(self.raw);
            return;
        }
        let mut rest = self.raw;
        while let Some(at) = rest.bytes().position(|byte| byte == b'\\') {
            if at > 0 {
                emit(&rest[..at]);
            }
            let (character, length) = unescape(&rest.as_bytes()[at..]);
            emit(character.encode_utf8(&mut [0; 4]));
            rest = &rest[at + length..];
        }
        if !rest.is_empty() {
            emit(rest);
        }
    }

    /// Bytes of what it means.
    pub(crate) fn len(self) -> usize {
        let mut length = 0;
        self.pieces(|piece| length += piece.len());
        length
    }

    /// Appends what it means.
    pub(crate) fn append_to(self, out: &mut String) {
        self.pieces(|piece| out.push_str(piece));
    }

    /// Whether it means `word`.
    pub(crate) fn is(self, word: &str) -> bool {
        if !self.escaped {
            return self.raw == word;
        }
        let mut rest = Some(word);
        self.pieces(|piece| rest = rest.and_then(|rest| rest.strip_prefix(piece)));
        rest == Some("")
    }
}

/// The character an escape stands for and the bytes it takes; `escape` begins with `\` and was checked.
fn unescape(escape: &[u8]) -> (char, usize) {
    match escape[1] {
        b'n' => ('\n', 2),
        b't' => ('\t', 2),
        b'r' => ('\r', 2),
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'u' => {
            let first = hex(escape, 2).unwrap_or_default();
            if (0xD800..0xDC00).contains(&first) {
                let second = hex(escape, 8).unwrap_or_default();
                let code = 0x10000 + ((first - 0xD800) << 10) + (second.wrapping_sub(0xDC00) & 0x3FF);
                return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
            }
            (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
        }
        other => (char::from(other), 2),
    }
}

/// The number that the four hexadecimal digits at `at` write.
fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// A place in JSON text.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    fn fault<T>(&self, why: &'static str) -> Read<T> {
        Err(Fault { at: self.at, why })
    }

    fn next(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// What the next value is.
    pub(crate) fn peek(&mut self) -> Read<Kind> {
        match self.next() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Boolean),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => self.fault("no JSON value"),
            None => self.fault("the text ends where a value is due"),
        }
    }

    /// Nothing but white space is left.
    pub(crate) fn end(&mut self) -> Read<()> {
        if self.next().is_some() { self.fault("something follows the value") } else { Ok(()) }
    }

    /// The string that comes next.
    pub(crate) fn string(&mut self) -> Read<Text<'a>> {
        if self.next() != Some(b'"') {
            return self.fault("a string is due");
        }
        self.at += 1;
        let bytes = self.text.as_bytes();
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += plain(&bytes[self.at..]);
            match bytes.get(self.at) {
                Some(b'"') => {
                    let raw = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Text { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fault("a control character in a string"),
                None => return self.fault("a string does not end"),
            }
        }
    }

    fn escape(&mut self) -> Read<()> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match hex(bytes, self.at + 2) {
                Some(0xD800..=0xDBFF) => {
                    let paired = bytes.get(self.at + 6..self.at + 8) == Some(br"\u")
                        && matches!(hex(bytes, self.at + 8), Some(0xDC00..=0xDFFF));
                    if !paired {
                        return self.fault("a lone surrogate");
                    }
                    self.at += 12;
                }
                Some(0xDC00..=0xDFFF) => return self.fault("a lone surrogate"),
                Some(_) => self.at += 6,
                None => return self.fault("an escape that is none"),
            },
            _ => return self.fault("an escape that is none"),
        }
        Ok(())
    }

    /// The number that comes next, as it is written.
    pub(crate) fn number(&mut self) -> Read<&'a str> {
        self.next();
        let (bytes, start) = (self.text.as_bytes(), self.at);
        let digits = |at: &mut usize| {
            let first = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at > first
        };
        let mut at = start + usize::from(bytes.get(start) == Some(&b'-'));
        let zero = bytes.get(at) == Some(&b'0');
        let mut sound = if zero {
            at += 1;
            true
        } else {
            digits(&mut at)
        };
        if sound && bytes.get(at) == Some(&b'.') {
            at += 1;
            sound = digits(&mut at);
        }
        if sound && matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            sound = digits(&mut at);
        }
        // A zero in front of other digits is not JSON's.
        if !sound || bytes.get(at).is_some_and(u8::is_ascii_digit) {
            return self.fault("a number that is none");
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    fn word(&mut self, word: &'static str) -> Read<()> {
        self.next();
        if !self.text[self.at..].starts_with(word) {
            return self.fault("no JSON value");
        }
        self.at += word.len();
        Ok(())
    }

    /// The boolean that comes next.
    pub(crate) fn boolean(&mut self) -> Read<bool> {
        let yes = self.next() == Some(b't');
        self.word(if yes { "true" } else { "false" })?;
        Ok(yes)
    }

    /// The null that comes next.
    pub(crate) fn null(&mut self) -> Read<()> {
        self.word("null")
    }

    fn enter(&mut self, open: u8) -> Read<()> {
        if self.next() != Some(open) {
            return self.fault(if open == b'{' { "an object is due" } else { "a list is due" });
        }
        if self.depth == DEEPEST {
            return self.fault("nested too deeply");
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether another member follows; steps over the comma before it or the bracket after the last.
    fn more(&mut self, first: bool, close: u8) -> Read<bool> {
        match self.next() {
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                if self.next() == Some(close) {
                    return self.fault("a comma with nothing after it");
                }
                Ok(true)
            }
            Some(_) if first => Ok(true),
            Some(_) => self.fault("a comma or the end of a list or object is due"),
            None => self.fault("a list or object does not end"),
        }
    }

    /// Hands each member of the object that comes next to `read`, which has to read the value.
    pub(crate) fn object<E: From<Fault>>(
        &mut self,
        mut read: impl FnMut(Text<'a>, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'{')?;
        let mut first = true;
        while self.more(first, b'}')? {
            first = false;
            let key = self.string()?;
            if self.next() != Some(b':') {
                return self.fault("a colon is due").map_err(E::from);
            }
            self.at += 1;
            read(key, self)?;
        }
        Ok(())
    }

    /// Hands each item of the list that comes next to `read`, which has to read it.
    pub(crate) fn array<E: From<Fault>>(
        &mut self,
        mut read: impl FnMut(usize, &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'[')?;
        let mut index = 0;
        while self.more(index == 0, b']')? {
            read(index, self)?;
            index += 1;
        }
        Ok(())
    }

    /// Steps over the value that comes next.
    pub(crate) fn skip(&mut self) -> Read<()> {
        match self.peek()? {
            Kind::Object => self.object(|_, reader| reader.skip()),
            Kind::Array => self.array(|_, reader| reader.skip()),
            Kind::String => self.string().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::Boolean => self.boolean().map(drop),
            Kind::Null => self.null(),
        }
    }

    /// The text of the value that comes next, checked.
    pub(crate) fn value(&mut self) -> Read<&'a str> {
        self.next();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }
}

/// Bytes at the front that are neither a quote, a backslash nor a control character: eight at a time.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|chunk| <[u8; 8]>::try_from(chunk).ok()) {
        let word = u64::from_ne_bytes(chunk);
        let quote = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let backslash = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        // A borrow may mark a byte above a marked one, never one where none is: what is marked is looked at again.
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        if quote | backslash | control != 0
            && let Some(place) = chunk.iter().position(|&byte| special(byte))
        {
            return at + place;
        }
        at += 8;
    }
    at + bytes[at..].iter().position(|&byte| special(byte)).unwrap_or(bytes.len() - at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    /// The value at the reader as `serde_json` has it.
    fn built(reader: &mut Reader) -> Read<Value> {
        let text_of = |text: Text| {
            let mut out = String::new();
            text.append_to(&mut out);
            assert_eq!(out.len(), text.len());
            assert!(text.is(&out) && !text.is(&format!("{out}x")));
            out
        };
        Ok(match reader.peek()? {
            Kind::Object => {
                let mut members = serde_json::Map::new();
                reader.object(|key, reader| {
                    members.insert(text_of(key), built(reader)?);
                    Ok::<_, Fault>(())
                })?;
                Value::Object(members)
            }
            Kind::Array => {
                let mut items = Vec::new();
                reader.array(|index, reader| {
                    assert_eq!(index, items.len());
                    items.push(built(reader)?);
                    Ok::<_, Fault>(())
                })?;
                Value::Array(items)
            }
            Kind::String => Value::String(text_of(reader.string()?)),
            Kind::Number => serde_json::from_str(reader.number()?).expect("JSON's number"),
            Kind::Boolean => Value::Bool(reader.boolean()?),
            Kind::Null => {
                reader.null()?;
                Value::Null
            }
        })
    }

    fn whole(text: &str) -> Read<Value> {
        let mut reader = Reader::new(text);
        let value = built(&mut reader)?;
        reader.end()?;
        let mut again = Reader::new(text);
        assert_eq!(again.value(), Ok(text.trim_matches([' ', '\n', '\r', '\t'])));
        Ok(value)
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "(?s).{0,24}".prop_map(Value::from),
            "[\\\\\"\u{1}-\u{1f}a-cé😀]{0,24}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec(("(?s).{0,6}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in values(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            prop_assert_eq!(whole(&text.expect("JSON")), Ok(value));
        }

        #[test]
        fn damaged_text_is_judged_as_the_library_judges_it(
            value in values(), at in any::<prop::sample::Index>(), by in "[\\[\\]{}\",:0-9eE.\\\\u+ ntfa-f-]{0,2}",
        ) {
            let mut text = serde_json::to_string(&value).expect("JSON");
            let place = text.floor_char_boundary(at.index(text.len()));
            let end = text.ceil_char_boundary(place + 1);
            text.replace_range(place..end, &by);
            match serde_json::from_str::<Value>(&text) {
                Ok(expected) => prop_assert_eq!(whole(&text), Ok(expected)),
                // The library refuses numbers beyond any float; to this reader they are text.
                Err(error) if error.to_string().contains("out of range") => {}
                Err(_) => prop_assert!(whole(&text).is_err(), "{}", text),
            }
        }
    }

    #[test]
    fn escapes_mean_what_the_rfc_says() {
        let text = r#""\" \\ \/ \b \f \n \r \t \u0041 \u00e9 \uD83D\uDE00""#;
        assert_eq!(whole(text), Ok(Value::from("\" \\ / \u{8} \u{c} \n \r \t A é 😀")));
    }

    #[test]
    fn a_lone_surrogate_is_no_text() {
        for text in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800x""#] {
            assert_eq!(whole(text).map_err(|fault| fault.why), Err("a lone surrogate"), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Reader::new(&nested(DEEPEST)).skip().is_ok());
        assert_eq!(Reader::new(&nested(DEEPEST + 1)).skip().map_err(|f| f.why), Err("nested too deeply"));
    }

    #[test]
    fn a_fault_says_where_and_in_what() {
        let error = Reader::new("{\"a\": tru}").skip().expect_err("no JSON").of("tools");
        assert_eq!(error.to_string(), "tools: no JSON value at byte 6; give valid JSON");
    }
}
