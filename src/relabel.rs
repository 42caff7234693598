//! Relabelling: rules that rewrite, keep or drop a label set. Targets, scraped series and alerts go through the same rules.
//!
//! ```text
//! source labels ─ joined by the separator ─▶ value ─ regex, anchored ─▶ captures ─▶ replacement ─▶ target label
//! ```
//! Source: prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config.

use md5::{Digest, Md5};
use promql::lexer::quote;
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use storage::model::{Labels, LabelsBuilder, compile_anchored};

use crate::config::Yaml;

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// Applies rules in order to a label set; `None` where a rule drops it.
#[must_use]
pub fn relabel(rules: &[RelabelConfig], labels: &Labels) -> Option<Labels> {
    if rules.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = labels.to_builder();
    relabel_builder(rules, &mut builder).then(|| builder.finish())
}

/// Applies rules in order to what is being built; false where a rule drops it. What the builder
/// holds then is of no use.
#[must_use]
pub fn relabel_builder(rules: &[RelabelConfig], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes the expanded replacement to the target label where the regex matches.
    Replace,
    /// Drops what the regex does not match.
    Keep,
    /// Drops what the regex matches.
    Drop,
    /// Drops where the value is not that of the target label.
    KeepEqual,
    /// Drops where the value is that of the target label.
    DropEqual,
    /// Writes the value's hash modulo a number.
    HashMod,
    /// Copies labels whose names match to names made by the replacement.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Writes the value in lower case.
    Lowercase,
    /// Writes the value in upper case.
    Uppercase,
}

const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

impl Action {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        ACTIONS
            .iter()
            .find(|(_, a)| *a == self)
            .map_or("", |(name, _)| name)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_lowercase();
        ACTIONS
            .iter()
            .find(|(name, _)| *name == lower)
            .map(|(_, action)| *action)
            .ok_or_else(|| format!("unknown relabel action {}", quote(text)))
    }
}

/// One rule. Equal where what is written, and what is filled in, is equal.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct RelabelConfig {
    written: Written,
    action: Action,
    regex: Regex,
}

/// A rule as written; what is absent has its default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    source_labels: Option<Vec<String>>,
    separator: Option<String>,
    regex: Option<String>,
    modulus: Option<u64>,
    target_label: Option<String>,
    replacement: Option<String>,
    action: Option<String>,
}

impl PartialEq for RelabelConfig {
    fn eq(&self, other: &Self) -> bool {
        let same_texts = self.separator() == other.separator()
            && self.target_label() == other.target_label()
            && self.replacement() == other.replacement();
        let (a, b) = (&self.written, &other.written);
        same_texts
            && a.source_labels == b.source_labels
            && a.regex == b.regex
            && self.modulus() == other.modulus()
            && self.action == other.action
    }
}

impl TryFrom<Written> for RelabelConfig {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let action = written
            .action
            .as_deref()
            .map_or(Ok(Action::Replace), Action::parse)?;
        let regex = compile_anchored(written.regex.as_deref().unwrap_or(DEFAULT_REGEX))?;
        let rule = Self {
            written,
            action,
            regex,
        };
        rule.check()?;
        Ok(rule)
    }
}

impl RelabelConfig {
    fn separator(&self) -> &str {
        let separator = self.written.separator.as_deref();
        separator.unwrap_or(DEFAULT_SEPARATOR)
    }

    fn target_label(&self) -> &str {
        self.written.target_label.as_deref().unwrap_or("")
    }

    fn replacement(&self) -> &str {
        let replacement = self.written.replacement.as_deref();
        replacement.unwrap_or(DEFAULT_REPLACEMENT)
    }

    fn modulus(&self) -> u64 {
        self.written.modulus.unwrap_or(0)
    }

    /// What makes a rule senseless, in upstream's words.
    fn check(&self) -> Result<(), String> {
        let (action, word) = (self.action, self.action.as_str());
        let changed = self.separator() != DEFAULT_SEPARATOR
            || self.replacement() != DEFAULT_REPLACEMENT
            || self.modulus() != 0;
        match action {
            Action::HashMod if self.modulus() == 0 => {
                return Err("relabel configuration for hashmod requires non-zero modulus".into());
            }
            Action::Replace
            | Action::HashMod
            | Action::Lowercase
            | Action::Uppercase
            | Action::KeepEqual
            | Action::DropEqual
                if self.target_label().is_empty() =>
            {
                return Err(format!(
                    "relabel configuration for {word} action requires 'target_label' value"
                ));
            }
            Action::LabelMap if self.replacement().is_empty() => {
                return Err(format!("\"\" is invalid 'replacement' for {word} action"));
            }
            Action::Lowercase | Action::Uppercase | Action::KeepEqual | Action::DropEqual
                if self.replacement() != DEFAULT_REPLACEMENT =>
            {
                return Err(format!("'replacement' can not be set for {word} action"));
            }
            _ => {}
        }
        match action {
            Action::KeepEqual | Action::DropEqual if changed || self.written.regex.is_some() => {
                Err(format!(
                    "{word} action requires only 'source_labels' and `target_label`, and no other fields"
                ))
            }
            Action::LabelDrop | Action::LabelKeep
                if changed
                    || self.written.source_labels.is_some()
                    || !self.target_label().is_empty() =>
            {
                Err(format!(
                    "{word} action requires only 'regex', and no other fields"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a target that is no label name of the character set before UTF-8.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn check_legacy_names(&self) -> Result<(), String> {
        let word = self.action.as_str();
        let (name, field) = match self.action {
            Action::LabelMap => (self.replacement(), "replacement"),
            Action::Keep | Action::Drop | Action::LabelDrop | Action::LabelKeep => return Ok(()),
            _ => (self.target_label(), "target_label"),
        };
        let templates = matches!(self.action, Action::Replace | Action::LabelMap);
        if is_legacy_name(name) || templates && is_legacy_template(name) {
            return Ok(());
        }
        Err(format!(
            "{} is invalid '{field}' for {word} action",
            quote(name)
        ))
    }

    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let mut value = String::new();
        let sources = self.written.source_labels.as_deref().unwrap_or(&[]);
        for (i, name) in sources.iter().enumerate() {
            if i > 0 {
                value.push_str(self.separator());
            }
            value.push_str(labels.get(name).unwrap_or(""));
        }
        let target = self.target_label();
        match self.action {
            Action::Drop => return !self.regex.is_match(&value),
            Action::Keep => return self.regex.is_match(&value),
            Action::DropEqual => return labels.get(target).unwrap_or("") != value,
            Action::KeepEqual => return labels.get(target).unwrap_or("") == value,
            Action::Replace => self.replace(&value, labels),
            Action::Lowercase => {
                labels.set(target, &map_chars(&value, |c| single(c, c.to_lowercase())));
            }
            Action::Uppercase => {
                labels.set(target, &map_chars(&value, |c| single(c, c.to_uppercase())));
            }
            Action::HashMod => {
                labels.set(target, &hash_mod(&value, self.modulus()).to_string());
            }
            Action::LabelMap => {
                // New names are not mapped once more.
                for (name, value) in &labels.finish() {
                    if let Some(captures) = self.regex.captures(name) {
                        let mut new_name = String::new();
                        captures.expand(self.replacement(), &mut new_name);
                        if !new_name.is_empty() {
                            labels.set(&new_name, value);
                        }
                    }
                }
            }
            Action::LabelDrop => self.remove(labels, true),
            Action::LabelKeep => self.remove(labels, false),
        }
        true
    }

    fn replace(&self, value: &str, labels: &mut LabelsBuilder) {
        let plain = self.written.regex.is_none() && !self.target_label().contains('$');
        if plain && self.replacement() == DEFAULT_REPLACEMENT {
            labels.set(self.target_label(), value);
            return;
        }
        let Some(captures) = self.regex.captures(value) else {
            return;
        };
        let (mut target, mut text) = (String::new(), String::new());
        captures.expand(self.target_label(), &mut target);
        captures.expand(self.replacement(), &mut text);
        if !target.is_empty() {
            labels.set(&target, &text);
        }
    }

    fn remove(&self, labels: &mut LabelsBuilder, matching: bool) {
        for (name, _) in &labels.finish() {
            if self.regex.is_match(name) == matching {
                labels.remove(name);
            }
        }
    }

    /// The rule as the API shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut out = serde_json::Map::new();
        if let Some(sources) = &self.written.source_labels
            && !sources.is_empty()
        {
            out.insert("source_labels".to_owned(), json!(sources));
        }
        let regex = self.written.regex.as_deref().unwrap_or(DEFAULT_REGEX);
        out.insert("separator".to_owned(), json!(self.separator()));
        out.insert("regex".to_owned(), json!(regex));
        if self.modulus() != 0 {
            out.insert("modulus".to_owned(), json!(self.modulus()));
        }
        if !self.target_label().is_empty() {
            out.insert("target_label".to_owned(), json!(self.target_label()));
        }
        out.insert("replacement".to_owned(), json!(self.replacement()));
        out.insert("action".to_owned(), json!(self.action.as_str()));
        Value::Object(out)
    }

    /// The rule as the configuration page shows it.
    #[must_use]
    pub fn to_yaml(&self) -> Yaml {
        let sources = self.written.source_labels.clone().unwrap_or_default();
        let mut map = Yaml::map();
        map.add_if(!sources.is_empty(), "source_labels", Yaml::Flow(sources));
        map.add("separator", self.separator());
        if let Some(regex) = &self.written.regex {
            map.add("regex", regex.as_str());
        }
        map.add_if(self.modulus() != 0, "modulus", self.modulus());
        map.add_if(
            !self.target_label().is_empty(),
            "target_label",
            self.target_label(),
        );
        map.add("replacement", self.replacement());
        map.add("action", self.action.as_str());
        map.finish()
    }
}

/// The last eight bytes of the MD5 sum, so that shards are those of every Prometheus.
fn hash_mod(value: &str, modulus: u64) -> u64 {
    let sum = Md5::digest(value.as_bytes());
    let tail = sum.iter().skip(8);
    let hash = tail.fold(0_u64, |hash, byte| hash << 8 | u64::from(*byte));
    hash % modulus.max(1)
}

fn map_chars(text: &str, map: impl Fn(char) -> char) -> String {
    text.chars().map(map).collect()
}

/// Go maps a character to one character: what would become several stays as it is.
fn single(c: char, mut mapped: impl ExactSizeIterator<Item = char>) -> char {
    match mapped.len() {
        1 => mapped.next().unwrap_or(c),
        _ => c,
    }
}

/// Whether a text is a label name of the character set before UTF-8.
#[must_use]
pub fn is_legacy_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// As [`is_legacy_name`], with `$1` and `${name}` anywhere.
fn is_legacy_template(name: &str) -> bool {
    let mut rest = name;
    let mut plain = String::new();
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let braced = rest.strip_prefix('{');
        let word = braced.unwrap_or(rest);
        let end = word
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(word.len());
        if end == 0 || braced.is_some() && !word[end..].starts_with('}') {
            return false;
        }
        rest = &word[end + usize::from(braced.is_some())..];
        plain.push('_');
    }
    plain.push_str(rest);
    is_legacy_name(&plain)
}

#[cfg(test)]
mod tests;
