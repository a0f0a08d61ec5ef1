//! JSON → what a type says of itself by `Deserialize`.
//!
//! `serde_json` does the same, with a parser inside each type's reader: a third of a WebAssembly module. Here the parser
//! is [`Reader`], and what a type adds is its fields: what is the same for two types stays out of line, which takes some
//! nanoseconds a field. A type's own form is asked for: no list in place of an object.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::{Fault, Kind, Reader, Text};

/// Why text is not what was asked for; one pointer, as it is part of every result.
#[derive(Debug)]
#[allow(clippy::box_collection)]
pub(crate) struct Unfit(Box<String>);

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Unfit {}

impl serde::de::Error for Unfit {
    #[inline(never)]
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self(Box::new(why.to_string()))
    }
}

impl From<Fault> for Unfit {
    fn from(fault: Fault) -> Self {
        Self::custom(fault.why)
    }
}

/// Reads one value, and nothing after it.
pub(crate) fn typed<T: DeserializeOwned>(text: &str) -> Result<T, Unfit> {
    let mut reader = Reader::new(text);
    let found = T::deserialize(&mut reader);
    reader.located(found.as_ref().err().map(|error| &**error.0)).map_or(found, Err)
}

/// A number as integers are told from others: by a point or an exponent, and by what 64 bits hold.
enum Number {
    Natural(u64),
    Integer(i64),
    Other(f64),
}

impl Number {
    fn hand_to<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match self {
            Self::Natural(number) => visitor.visit_u64(number),
            Self::Integer(number) => visitor.visit_i64(number),
            Self::Other(number) => visitor.visit_f64(number),
        }
    }
}

fn meaning(text: Text<'_>) -> Cow<'_, str> {
    if !text.escaped {
        return Cow::Borrowed(text.raw);
    }
    let mut out = String::new();
    text.append_to(&mut out);
    Cow::Owned(out)
}

impl<'a> Reader<'a> {
    /// The error of the whole text, with its place, if there is one: `why`, or that something follows the value.
    fn located(&mut self, why: Option<&str>) -> Option<Unfit> {
        let why = match why {
            Some(why) => why,
            None => self.end().err()?.why,
        };
        let before = &self.text.as_bytes()[..self.at];
        let line = before.split(|byte| *byte == b'\n').count();
        let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len);
        Some(Unfit::custom(format_args!("{why} at line {line} column {column}")))
    }

    /// The error where something else comes next than was `expected`.
    #[cold]
    fn unlike(&mut self, expected: &dyn Expected) -> Unfit {
        let kind = match self.peek() {
            Ok(kind) => kind,
            Err(fault) => return fault.into(),
        };
        let text;
        let found = match kind {
            Kind::Object => Unexpected::Map,
            Kind::Array => Unexpected::Seq,
            Kind::Null => Unexpected::Unit,
            Kind::Boolean => match self.boolean() {
                Ok(value) => Unexpected::Bool(value),
                Err(fault) => return fault.into(),
            },
            Kind::String => match self.string() {
                Ok(string) => {
                    text = meaning(string);
                    Unexpected::Str(&text)
                }
                Err(fault) => return fault.into(),
            },
            Kind::Number => match self.any_number() {
                Ok(Number::Natural(number)) => Unexpected::Unsigned(number),
                Ok(Number::Integer(number)) => Unexpected::Signed(number),
                Ok(Number::Other(number)) => Unexpected::Float(number),
                Err(error) => return error,
            },
        };
        Unfit::invalid_type(found, expected)
    }

    fn expect(&mut self, kind: Kind, expected: &dyn Expected) -> Result<(), Unfit> {
        if self.peek()? == kind { Ok(()) } else { Err(self.unlike(expected)) }
    }

    fn any_number(&mut self) -> Result<Number, Unfit> {
        let written = self.number()?;
        if !written.contains(['.', 'e', 'E']) {
            if let Ok(number) = written.parse() {
                return Ok(Number::Natural(number));
            }
            if let (Ok(number), false) = (written.parse(), written == "-0") {
                return Ok(Number::Integer(number));
            }
        }
        let number = written.parse().unwrap_or(f64::INFINITY);
        if number.is_finite() { Ok(Number::Other(number)) } else { Err(Unfit::custom("number out of range")) }
    }

    fn expect_number(&mut self, expected: &dyn Expected) -> Result<Number, Unfit> {
        self.expect(Kind::Number, expected)?;
        self.any_number()
    }

    /// In single precision at once: by way of double precision the last bit may differ.
    fn expect_single(&mut self, expected: &dyn Expected) -> Result<Number, Unfit> {
        self.expect(Kind::Number, expected)?;
        let written = self.clone().number()?;
        match self.any_number()? {
            Number::Other(_) => match written.parse::<f32>() {
                Ok(number) if number.is_finite() => Ok(Number::Other(number.into())),
                _ => Err(Unfit::custom("number out of range")),
            },
            integer => Ok(integer),
        }
    }

    fn expect_text(&mut self, expected: &dyn Expected) -> Result<Cow<'a, str>, Unfit> {
        self.expect(Kind::String, expected)?;
        Ok(meaning(self.string()?))
    }

    fn expect_open(&mut self, kind: Kind, expected: &dyn Expected) -> Result<(), Unfit> {
        self.expect(kind, expected)?;
        Ok(self.enter(if kind == Kind::Object { b'{' } else { b'[' })?)
    }

    /// Whether null comes next, which then is read.
    fn takes_null(&mut self) -> Result<bool, Unfit> {
        let null = self.peek()? == Kind::Null;
        if null {
            self.null()?;
        }
        Ok(null)
    }

    fn colon(&mut self) -> Result<(), Unfit> {
        if self.next() != Some(b':') {
            return Err(Unfit::custom("a colon is due"));
        }
        self.at += 1;
        Ok(())
    }

    #[inline(never)]
    fn map<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unfit> {
        self.expect_open(Kind::Object, &visitor)?;
        let mut members = Members { reader: self, close: b'}', first: true, open: true };
        let value = visitor.visit_map(&mut members)?;
        members.end()?;
        Ok(value)
    }

    #[inline(never)]
    fn list<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Value, Unfit> {
        self.expect_open(Kind::Array, &visitor)?;
        let mut members = Members { reader: self, close: b']', first: true, open: true };
        let value = visitor.visit_seq(&mut members)?;
        members.end()?;
        Ok(value)
    }
}

/// The members of an object or a list that is being read.
struct Members<'r, 'a> {
    reader: &'r mut Reader<'a>,
    close: u8,
    first: bool,
    open: bool,
}

impl<'a> Members<'_, 'a> {
    #[inline(never)]
    fn key(&mut self) -> Result<Option<Cow<'a, str>>, Unfit> {
        if !self.more()? {
            return Ok(None);
        }
        let key = meaning(self.reader.string()?);
        self.reader.colon()?;
        Ok(Some(key))
    }

    #[inline(never)]
    fn more(&mut self) -> Result<bool, Unfit> {
        self.open = self.open && self.reader.more(self.first, self.close)?;
        self.first = false;
        Ok(self.open)
    }

    fn end(&mut self) -> Result<(), Unfit> {
        if self.open && self.more()? { Err(Unfit::custom("more values than expected")) } else { Ok(()) }
    }
}

impl<'de> SeqAccess<'de> for &mut Members<'_, 'de> {
    type Error = Unfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unfit> {
        if !self.more()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for &mut Members<'_, 'de> {
    type Error = Unfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unfit> {
        match self.key()? {
            Some(key) => seed.deserialize(StrDeserializer::<Unfit>::new(&key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unfit> {
        seed.deserialize(&mut *self.reader)
    }
}

/// A variant by name alone, or an object of its name and what it holds.
struct Variant<'r, 'a> {
    reader: &'r mut Reader<'a>,
    holds: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Unfit;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Unfit> {
        let name = meaning(self.reader.string()?);
        if self.holds {
            self.reader.colon()?;
        }
        Ok((seed.deserialize(StrDeserializer::<Unfit>::new(&name))?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Unfit;

    fn unit_variant(self) -> Result<(), Unfit> {
        if self.holds { Ok(self.reader.null()?) } else { Ok(()) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Unfit> {
        if !self.holds {
            return Err(Unfit::invalid_type(Unexpected::UnitVariant, &"what the variant holds"));
        }
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Unfit> {
        self.reader.list(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.reader.map(visitor)
    }
}

macro_rules! read_alike {
    ($($name:ident)* => $read:ident($visitor:ident) $given:expr) => {$(
        #[inline(never)]
        fn $name<V: Visitor<'de>>(self, $visitor: V) -> Result<V::Value, Unfit> {
            let $read = self;
            $given
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Unfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        match self.peek()? {
            Kind::Object => self.map(visitor),
            Kind::Array => self.list(visitor),
            Kind::String => visitor.visit_str(&meaning(self.string()?)),
            Kind::Number => self.any_number()?.hand_to(visitor),
            Kind::Boolean => visitor.visit_bool(self.boolean()?),
            Kind::Null => {
                self.null()?;
                visitor.visit_unit()
            }
        }
    }

    read_alike! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_f64
        => reader(visitor) {
            let number = reader.expect_number(&visitor)?;
            number.hand_to(visitor)
        }
    }

    read_alike! {
        deserialize_f32 => reader(visitor) {
            let number = reader.expect_single(&visitor)?;
            number.hand_to(visitor)
        }
    }

    read_alike! {
        deserialize_char deserialize_str deserialize_string deserialize_identifier deserialize_bytes deserialize_byte_buf
        => reader(visitor) {
            let text = reader.expect_text(&visitor)?;
            visitor.visit_str(&text)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.map(visitor)
    }

    #[inline(never)]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.expect(Kind::Boolean, &visitor)?;
        visitor.visit_bool(self.boolean()?)
    }

    #[inline(never)]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        if self.takes_null()? { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.expect(Kind::Null, &visitor)?;
        self.null()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Unfit> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.list(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        self.map(visitor)
    }

    #[inline(never)]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unfit> {
        match self.peek()? {
            Kind::String => visitor.visit_enum(Variant { reader: self, holds: false }),
            Kind::Object => {
                self.enter(b'{')?;
                if !self.more(true, b'}')? {
                    return Err(Unfit::custom("an object of one variant is due"));
                }
                let value = visitor.visit_enum(Variant { reader: &mut *self, holds: true })?;
                if self.more(false, b'}')? {
                    return Err(Unfit::custom("an object of one variant is due"));
                }
                Ok(value)
            }
            _ => Err(self.unlike(&"a variant's name, or an object of it")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unfit> {
        self.skip()?;
        visitor.visit_unit()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Point,
        Circle(f32),
        Box { sides: [f64; 2] },
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Tagged {
        One { value: u32 },
        Two,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Either {
        Number(f64),
        Text(String),
        Many(Vec<Either>),
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Flat {
        depth: Option<i8>,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct All {
        name: String,
        #[serde(default)]
        single: f32,
        #[serde(default)]
        shapes: Vec<Shape>,
        tagged: Option<Tagged>,
        either: Option<Either>,
        flat: Option<Flat>,
        letter: Option<char>,
    }

    fn both(text: &str) -> (Option<All>, Option<All>) {
        (typed(text).ok(), serde_json::from_str(text).ok())
    }

    #[test]
    fn it_reads_what_serde_json_reads() {
        for (reads, text) in [
            (
                true,
                r#"{"name": "a\n\ud83d\ude00", "single": 0.1, "shapes": ["point", {"circle": 16777217.0}, {"box": {"sides": [1, 2e0]}}]}"#,
            ),
            (
                true,
                r#"{"name": "b", "tagged": {"value": 7, "kind": "one"}, "either": ["x", [1.5]], "letter": "é"}"#,
            ),
            (
                true,
                r#"{"name": "c", "tagged": {"kind": "two"}, "flat": {"depth": -128, "other": [null, true, -0, 1e3]}}"#,
            ),
            (true, r#"{"name": "d", "tagged": null, "either": null, "flat": {"depth": null}}"#),
            (true, r#"{"name": "e", "shapes": [{"point": null}]}"#),
            (false, r#"{"name": "f", "name": "g"}"#),
            (false, r#"{"name": "h", "unknown": 1}"#),
            (false, r#"{"name": 1}"#),
            (false, r#"{"single": 1}"#),
            (false, r#"{"name": "i", "flat": {"depth": 128}}"#),
            (false, r#"{"name": "j", "single": "1"}"#),
            (false, r#"{"name": "k", "single": 1e999}"#),
            (false, r#"{"name": "l", "shapes": [{"circle": 1, "point": null}]}"#),
            (false, r#"{"name": "m", "shapes": ["circle"]}"#),
            (false, r#"{"name": "n", "shapes": [{"box": {"sides": [1, 2, 3]}}]}"#),
            (false, r#"{"name": "o", "shapes": [{"box": {"sides": [1]}}]}"#),
            (false, r#"{"name": "p", "letter": "pq"}"#),
            (false, r#"{"name": "q"} {}"#),
            (false, r#"{"name": "r",}"#),
            (false, r#"{"name": "s""#),
            (false, r#"{"name" "t"}"#),
            (false, r#"{"name": "\ud800"}"#),
        ] {
            let (found, expected) = both(text);
            assert_eq!(found.is_some(), reads, "{text}");
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn errors_say_what_and_where() {
        let error = |text: &str| typed::<All>(text).unwrap_err().to_string();
        assert_eq!(
            error("{\n \"name\": 7}"),
            "invalid type: integer `7`, expected a string at line 2 column 10"
        );
        assert!(
            error(r#"{"name": "a", "nmae": 1}"#).starts_with("unknown field `nmae`, expected one of `name`")
        );
        assert!(error("{}").starts_with("missing field `name`"));
        assert!(error(r#"["a"]"#).starts_with("invalid type: sequence, expected struct All"));
        assert!(error("").starts_with("the text ends where a value is due"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(typed::<Value>(&nested(256)).is_ok() && typed::<Value>(&nested(257)).is_err());
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_serde_json(number in any::<f64>().prop_filter("JSON's", |number| number.is_finite()), whole in any::<i64>()) {
            let text = format!("{number:e}");
            prop_assert_eq!(typed::<f64>(&text).unwrap().to_bits(), serde_json::from_str::<f64>(&text).unwrap().to_bits());
            let single = (typed::<f32>(&text).ok(), serde_json::from_str::<f32>(&text).ok());
            prop_assert_eq!(single.0.map(f32::to_bits), single.1.map(f32::to_bits), "{}", text);
            let found = typed::<Value>(&json!([whole, number]).to_string()).unwrap();
            prop_assert_eq!(found, json!([whole, number]));
        }

        #[test]
        fn damaged_text_is_read_or_refused_as_by_serde_json(at in 0..120usize, byte in any::<u8>()) {
            let text = r#"{"name": "b", "single": 1.25, "tagged": {"value": 7, "kind": "one"}, "either": ["x", [1.5]], "shapes": ["point"]}"#;
            let mut bytes = text.as_bytes().to_vec();
            let place = at % bytes.len();
            bytes[place] = byte;
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let (found, expected) = both(text);
                prop_assert_eq!(found, expected, "{}", text);
            }
        }
    }
}
