//! Reads a YAML document strictly: scalars are texts as written, faults are in upstream's words, and nodes have places.

use std::fmt;
use std::time::Duration;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, de};

use super::fault::merged;
use super::units::parse_duration;

/// A duration as Prometheus writes one: `1m30s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct YamlDuration(pub Duration);

impl<'de> Deserialize<'de> for YamlDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

/// Reads the first document of a text; an empty text is the default.
///
/// # Errors
/// In one line with the line of the fault. `type_of` tells upstream's name of the type at a path (`groups[0].rules[1]`).
pub fn read<T: DeserializeOwned + Default>(
    text: &str,
    type_of: fn(&str) -> &'static str,
) -> Result<T, String> {
    let text = merged(text);
    let Some(document) = serde_yaml_ng::Deserializer::from_str(&text).next() else {
        return Ok(T::default());
    };
    let value = Option::<T>::deserialize(document).map_err(|e| fault(&e, type_of))?;
    Ok(value.unwrap_or_default())
}

fn fault(error: &serde_yaml_ng::Error, type_of: fn(&str) -> &'static str) -> String {
    let text = error.to_string();
    let Some(place) = error.location() else {
        return format!("yaml: {text}");
    };
    let line = place.line();
    let end = format!(" at line {line} column {}", place.column());
    let text = text.replacen(&end, "", 1);
    if let Some((path, unknown)) = text.split_once("unknown field `")
        && let Some((field, _)) = unknown.split_once('`')
    {
        let type_name = type_of(path.trim_end_matches([':', ' ']));
        return format!(
            "yaml: unmarshal errors: line {line}: field {field} not found in type {type_name}"
        );
    }
    format!("yaml: line {line}: {text}")
}

/// A step on the way to a node.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// A value of a map.
    Key(&'a str),
    /// An element of a list.
    At(usize),
}

/// Line and column, from 1, of a node of the first document. The reader tells places in its errors alone, so the text is read
/// again and the reading fails at the node.
#[must_use]
pub fn place(text: &str, path: &[Step<'_>]) -> Option<(usize, usize)> {
    let document = serde_yaml_ng::Deserializer::from_str(text).next()?;
    let error = Seek(path).deserialize(document).err()?;
    let place = error.location()?;
    error
        .to_string()
        .contains(FOUND)
        .then(|| (place.line(), place.column()))
}

/// What the reading fails with where it has arrived.
const FOUND: &str = "this is the node that was looked for";

struct Seek<'a>(&'a [Step<'a>]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FOUND)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            return Err(de::Error::custom(FOUND));
        };
        while let Some(key) = map.next_key::<String>()? {
            if key == *wanted {
                map.next_value_seed(Seek(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((Step::At(wanted), rest)) = self.0.split_first() else {
            return Err(de::Error::custom(FOUND));
        };
        for _ in 0..*wanted {
            seq.next_element::<IgnoredAny>()?;
        }
        seq.next_element_seed(Seek(rest))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        name: String,
        every: Option<YamlDuration>,
    }

    fn f(text: &str) -> String {
        match read::<Sample>(text, |_| "config.plain") {
            Ok(sample) => format!(
                "{} {:?}",
                sample.name,
                sample.every.map(|d| d.0.as_millis())
            ),
            Err(e) => e,
        }
    }

    #[test]
    fn scalars_are_texts_and_faults_have_lines() {
        for (text, expected) in [
            ("name: 010\nevery: 1m", "010 Some(60000)"),
            ("", " None"),
            ("every: 0\n", " Some(0)"),
            (
                "name: x\nnmae: y\n",
                "yaml: unmarshal errors: line 2: field nmae not found in type config.plain",
            ),
            (
                "every: 5 minutes\n",
                "yaml: line 1: unknown unit \" minutes\" in duration \"5 minutes\"",
            ),
        ] {
            assert_eq!(f(text), expected, "{text}");
        }
        assert!(f("name: [").starts_with("yaml: line "), "{}", f("name: ["));
    }

    #[test]
    fn nodes_are_found_by_their_path() {
        let text = "groups:\n  - name: a\n    rules:\n      - {record: x, expr: y}\n      - expr: |\n          up\n";
        let rule = |i| {
            [
                Step::Key("groups"),
                Step::At(0),
                Step::Key("rules"),
                Step::At(i),
            ]
        };
        let expr = |i| {
            rule(i)
                .into_iter()
                .chain([Step::Key("expr")])
                .collect::<Vec<_>>()
        };
        assert_eq!(place(text, &expr(0)), Some((4, 27)));
        assert_eq!(place(text, &expr(1)), Some((5, 15)));
        assert_eq!(place(text, &rule(1)), Some((5, 9)));
        assert_eq!(place(text, &rule(2)), None);
    }
}
