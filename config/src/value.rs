//! Leaves of the TOML tree: through serde to a plain Rust value, then to what the field may hold.

use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use crate::diagnostic::Location;
use crate::document::Document;
use crate::table::nearest;

/// Why a value cannot be, and what to write instead; the place is the reader's to add.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Mistake { message: message.into(), remedy: remedy.into() }
    }

    /// With `example` as what to write.
    pub(crate) fn write(message: impl Into<String>, example: impl std::fmt::Display) -> Self {
        Mistake::new(message, format!("write: {example}"))
    }

    /// The type of the value is wrong.
    pub(crate) fn wrong_type(node: &Node<'_>, expected: &str, example: impl std::fmt::Display) -> Self {
        Mistake::write(format!("{} is not {expected}", node.describe()), example)
    }

    /// Something that the design has and this version has not.
    pub(crate) fn unsupported(what: &str) -> Self {
        Mistake::new(format!("{what} is not supported by this version ({})", crate::VERSION), "remove it")
    }
}

/// A value of the tree and its place.
pub(crate) struct Node<'d> {
    pub(crate) document: &'d Document<'d>,
    pub(crate) location: Location,
    pub(crate) value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Node<'d> {
    pub(crate) fn report(&self, mistake: Mistake) {
        self.document.error(&self.location, mistake.message, mistake.remedy);
    }

    pub(crate) fn warn(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.document.warning(&self.location, message, remedy);
    }

    /// The value as `T`, if it is one.
    fn plain<T: Deserialize<'d>>(&self) -> Option<T> {
        T::deserialize(ValueDeserializer::from(self.value.clone())).ok()
    }

    /// The elements of a list.
    pub(crate) fn elements(&self) -> Option<Vec<Node<'d>>> {
        let elements = self.value.get_ref().as_array()?;
        let element = |(index, value): (usize, &'d Spanned<DeValue<'d>>)| Node {
            document: self.document,
            location: self.document.location(format!("{}[{index}]", self.location.key()), value.span().start),
            value,
        };
        Some(elements.iter().enumerate().map(element).collect())
    }

    pub(crate) fn is_string(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// What was found, for a message.
    pub(crate) fn describe(&self) -> String {
        match self.value.get_ref() {
            DeValue::String(text) => quoted(text),
            DeValue::Integer(number) => number.to_string().chars().take(40).collect(),
            DeValue::Float(number) => number.to_string().chars().take(40).collect(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(value) => value.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}

/// `text` in quotes, shortened and without anything that a terminal would obey.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

/// A string.
pub(crate) fn text(node: &Node<'_>, example: &str) -> Result<String, Mistake> {
    node.plain().ok_or_else(|| Mistake::wrong_type(node, "a string", example))
}

/// A boolean.
pub(crate) fn boolean(node: &Node<'_>) -> Result<bool, Mistake> {
    node.plain().ok_or_else(|| Mistake::wrong_type(node, "a boolean", "true or false, without quotes"))
}

/// An integer in `range`.
pub(crate) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&Node<'_>) -> Result<T, Mistake>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    move |node| {
        let (low, high) = (range.start(), range.end());
        let remedy = format!("write: a number from {low} to {high}");
        if !node.value.get_ref().is_integer() {
            return Err(Mistake::new(format!("{} is not an integer", node.describe()), remedy));
        }
        let number = node.plain::<i64>().and_then(|number| T::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| Mistake::new(format!("{} is not between {low} and {high}", node.describe()), remedy))
    }
}

/// A limit: an integer from 1 on, where somebody may write 0 for "none".
pub(crate) fn limit(node: &Node<'_>) -> Result<u32, Mistake> {
    if node.plain::<i64>() == Some(0) {
        let message = "0 would let nothing through, and is not \"no limit\"";
        return Err(Mistake::new(message, "leave it out for the default, or write a large number"));
    }
    integer(1..=u32::MAX)(node)
}

/// A value written as one of a few words.
pub(crate) trait Choice: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

/// One of the words of `T`.
pub(crate) fn choice<T: Choice>(node: &Node<'_>) -> Result<T, Mistake> {
    let accepted = || {
        let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        words.join(" or ")
    };
    let found = text(node, &accepted())?;
    if let Some(&(_, value)) = T::WORDS.iter().find(|(word, _)| *word == found) {
        return Ok(value);
    }
    let remedy = match nearest(&found, T::WORDS.iter().map(|(word, _)| *word)) {
        Some(word) => format!("did you mean \"{word}\"? Accepted: {}", accepted()),
        None => format!("write: {}", accepted()),
    };
    Err(Mistake::new(format!("{} is not one of the words accepted here", quoted(&found)), remedy))
}

/// Declares what the words of a [`Choice`] stand for, and gives the type `as_str` and `Display`.
macro_rules! words {
    ($type:ident { $($word:literal => $variant:ident),+ $(,)? }) => {
        impl $crate::value::Choice for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $type::$variant)),+];
        }

        impl $type {
            /// The word that stands for it in the file.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;
