//! Section `otlp` of `prometheus.yml`: how OTLP metrics become Prometheus's.

use serde::Deserialize;

/// How names of metrics and attributes are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationStrategy {
    /// Other characters become underscores, unit and type become suffixes.
    UnderscoreEscapingWithSuffixes,
    /// Other characters become underscores.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are, unit and type become suffixes.
    NoUtf8EscapingWithSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl TranslationStrategy {
    /// Whether characters that old Prometheus names cannot have become underscores.
    #[must_use]
    pub const fn escapes(self) -> bool {
        matches!(
            self,
            Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes
        )
    }

    /// Whether unit and type become suffixes.
    #[must_use]
    pub const fn adds_suffixes(self) -> bool {
        matches!(
            self,
            Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes
        )
    }

    /// Its name in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnderscoreEscapingWithSuffixes => "UnderscoreEscapingWithSuffixes",
            Self::UnderscoreEscapingWithoutSuffixes => "UnderscoreEscapingWithoutSuffixes",
            Self::NoUtf8EscapingWithSuffixes => "NoUTF8EscapingWithSuffixes",
            Self::NoTranslation => "NoTranslation",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let all = [
            Self::UnderscoreEscapingWithSuffixes,
            Self::UnderscoreEscapingWithoutSuffixes,
            Self::NoUtf8EscapingWithSuffixes,
            Self::NoTranslation,
        ];
        match all.into_iter().find(|s| s.as_str() == text) {
            Some(strategy) => Ok(strategy),
            // Prometheus takes an empty name and then neither escapes nor adds anything.
            None if text.is_empty() => Ok(Self::NoTranslation),
            None => Err(format!("unsupported OTLP translation strategy {text:?}")),
        }
    }
}

/// Which resource attributes become labels of every series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// These.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

impl Promotion {
    /// Whether an attribute is promoted.
    #[must_use]
    pub fn takes(&self, key: &str) -> bool {
        match self {
            Self::Only(keys) => keys.iter().any(|k| k == key),
            Self::AllBut(keys) => !keys.iter().any(|k| k == key),
        }
    }
}

/// Section `otlp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// `translation_strategy`.
    pub strategy: TranslationStrategy,
    /// `promote_resource_attributes`, or `promote_all_resource_attributes` with `ignore_resource_attributes`.
    pub promote: Promotion,
    /// `keep_identifying_resource_attributes`: `target_info` has them too.
    pub keep_identifying: bool,
    /// `convert_histograms_to_nhcb`: explicit buckets become native histograms with custom bounds.
    pub histograms_to_nhcb: bool,
    /// `promote_scope_metadata`.
    pub promote_scope: bool,
    /// `label_name_underscore_sanitization`: a label that begins with an underscore gets `key` before it.
    pub prefix_underscore: bool,
    /// `label_name_preserve_multiple_underscores`.
    pub keep_underscores: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            strategy: TranslationStrategy::UnderscoreEscapingWithSuffixes,
            promote: Promotion::Only(Vec::new()),
            keep_identifying: false,
            histograms_to_nhcb: false,
            promote_scope: false,
            prefix_underscore: true,
            keep_underscores: true,
        }
    }
}

/// The section as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OtlpSection {
    translation_strategy: Option<String>,
    promote_all_resource_attributes: bool,
    promote_resource_attributes: Vec<String>,
    ignore_resource_attributes: Vec<String>,
    keep_identifying_resource_attributes: bool,
    convert_histograms_to_nhcb: bool,
    promote_scope_metadata: bool,
    label_name_underscore_sanitization: Option<bool>,
    label_name_preserve_multiple_underscores: Option<bool>,
}

impl OtlpSection {
    /// Checks what serde cannot. The faults are in Prometheus's words.
    pub(super) fn read(self) -> Result<OtlpConfig, String> {
        let promote = if self.promote_all_resource_attributes {
            if !self.promote_resource_attributes.is_empty() {
                return Err("'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously".to_owned());
            }
            let ignored = attributes(&self.ignore_resource_attributes, "ignored")
                .map_err(|e| format!("invalid 'ignore_resource_attributes': {e}"))?;
            Promotion::AllBut(ignored)
        } else {
            if !self.ignore_resource_attributes.is_empty() {
                return Err("'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true".to_owned());
            }
            let promoted = attributes(&self.promote_resource_attributes, "promoted")
                .map_err(|e| format!("invalid 'promote_resource_attributes': {e}"))?;
            Promotion::Only(promoted)
        };
        let defaults = OtlpConfig::default();
        let strategy = self.translation_strategy.as_deref();
        Ok(OtlpConfig {
            strategy: strategy.map_or(Ok(defaults.strategy), TranslationStrategy::parse)?,
            promote,
            keep_identifying: self.keep_identifying_resource_attributes,
            histograms_to_nhcb: self.convert_histograms_to_nhcb,
            promote_scope: self.promote_scope_metadata,
            prefix_underscore: self
                .label_name_underscore_sanitization
                .unwrap_or(defaults.prefix_underscore),
            keep_underscores: self
                .label_name_preserve_multiple_underscores
                .unwrap_or(defaults.keep_underscores),
        })
    }
}

/// Trims the names; each may come once.
fn attributes(names: &[String], adjective: &str) -> Result<Vec<String>, String> {
    let (mut good, mut faults) = (Vec::<String>::new(), Vec::new());
    for name in names.iter().map(|n| n.trim()) {
        if name.is_empty() {
            faults.push(format!("empty {adjective} OTel resource attribute"));
        } else if good.iter().any(|g| g == name) {
            faults.push(format!(
                "duplicated {adjective} OTel resource attribute {name:?}"
            ));
        } else {
            good.push(name.to_owned());
        }
    }
    if faults.is_empty() {
        Ok(good)
    } else {
        Err(faults.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<OtlpConfig, String> {
        let section: OtlpSection = serde_yaml_ng::from_str(yaml).map_err(|e| e.to_string())?;
        section.read()
    }

    #[test]
    fn an_empty_section_means_the_defaults() {
        assert_eq!(read("{}"), Ok(OtlpConfig::default()));
    }

    #[test]
    fn every_setting_is_read() {
        let config = read(
            "{translation_strategy: NoUTF8EscapingWithSuffixes, promote_all_resource_attributes: true, ignore_resource_attributes: [' a ', b],
              keep_identifying_resource_attributes: true, convert_histograms_to_nhcb: true, promote_scope_metadata: true,
              label_name_underscore_sanitization: false, label_name_preserve_multiple_underscores: false}",
        );
        let expected = OtlpConfig {
            strategy: TranslationStrategy::NoUtf8EscapingWithSuffixes,
            promote: Promotion::AllBut(vec!["a".to_owned(), "b".to_owned()]),
            keep_identifying: true,
            histograms_to_nhcb: true,
            promote_scope: true,
            prefix_underscore: false,
            keep_underscores: false,
        };
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn contradictions_are_refused_in_the_words_of_prometheus() {
        let refused = |yaml: &str, words: &str| {
            let text = read(yaml).unwrap_err();
            assert!(text.contains(words), "{text}");
        };
        refused(
            "{translation_strategy: Nope}",
            "unsupported OTLP translation strategy \"Nope\"",
        );
        refused(
            "{promote_all_resource_attributes: true, promote_resource_attributes: [a]}",
            "cannot be configured simultaneously",
        );
        refused(
            "{ignore_resource_attributes: [a]}",
            "cannot be configured unless",
        );
        refused(
            "{promote_resource_attributes: [a, ' ', a]}",
            "empty promoted OTel resource attribute\nduplicated promoted OTel resource attribute \"a\"",
        );
        refused("{nope: 1}", "nope");
    }
}
