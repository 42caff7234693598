//! YAML as Prometheus prints its configuration: lists flush with their key, as few quotes as possible.

use std::fmt;

/// A tree to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yaml {
    /// A number or a truth value, printed as it is.
    Bare(String),
    /// A text, quoted where it would be read as anything else.
    Text(String),
    /// A list of texts on one line.
    Flow(Vec<String>),
    /// A list, one entry a line.
    List(Vec<Self>),
    /// Keys and values in this order.
    Map(Vec<(String, Self)>),
}

impl Yaml {
    /// An empty map to add to.
    #[must_use]
    pub fn map() -> YamlMap {
        YamlMap::default()
    }

    /// A list of texts, one a line.
    pub fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        let texts = texts.into_iter();
        Self::List(texts.map(|t| Self::Text(t.as_ref().to_owned())).collect())
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Bare(_) | Self::Text(_) => false,
            Self::Flow(list) => list.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
        }
    }
}

/// A map while it is put together.
#[derive(Clone, Debug, Default)]
pub struct YamlMap(Vec<(String, Yaml)>);

impl YamlMap {
    /// Adds a key.
    pub fn add(&mut self, key: &str, value: impl Into<Yaml>) {
        self.0.push((key.to_owned(), value.into()));
    }

    /// Adds a key under a condition.
    pub fn add_if(&mut self, condition: bool, key: &str, value: impl Into<Yaml>) {
        if condition {
            self.add(key, value);
        }
    }

    /// Adds a key unless its list or map is empty.
    pub fn add_some(&mut self, key: &str, value: Yaml) {
        self.add_if(!value.is_empty(), key, value);
    }

    /// The map.
    #[must_use]
    pub fn finish(self) -> Yaml {
        Yaml::Map(self.0)
    }
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Yaml {
    fn from(value: bool) -> Self {
        Self::Bare(value.to_string())
    }
}

impl From<u64> for Yaml {
    fn from(value: u64) -> Self {
        Self::Bare(value.to_string())
    }
}

impl From<usize> for Yaml {
    fn from(value: usize) -> Self {
        Self::Bare(value.to_string())
    }
}

impl fmt::Display for Yaml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        write(&mut out, self, 0, false);
        f.write_str(out.trim_start_matches([' ', '\n']))
    }
}

/// Writes what follows a key or a dash, the line's end included. Nested parts go `indent` deep; `inline` says that the first line has begun behind a dash.
fn write(out: &mut String, yaml: &Yaml, indent: usize, inline: bool) {
    match yaml {
        Yaml::Bare(text) => {
            out.push(' ');
            out.push_str(text);
            out.push('\n');
        }
        Yaml::Text(text) => {
            out.push(' ');
            out.push_str(&scalar(text, false));
            out.push('\n');
        }
        Yaml::Flow(list) => {
            let list: Vec<String> = list.iter().map(|t| scalar(t, true)).collect();
            out.push_str(" [");
            out.push_str(&list.join(", "));
            out.push_str("]\n");
        }
        Yaml::List(list) if list.is_empty() => out.push_str(" []\n"),
        Yaml::Map(map) if map.is_empty() => out.push_str(" {}\n"),
        Yaml::List(list) => {
            out.push('\n');
            for entry in list {
                push_indent(out, indent);
                out.push('-');
                write(out, entry, indent + 2, true);
            }
        }
        Yaml::Map(map) => {
            if !inline {
                out.push('\n');
            }
            for (i, (key, value)) in map.iter().enumerate() {
                if inline && i == 0 {
                    out.push(' ');
                } else {
                    push_indent(out, indent);
                }
                out.push_str(&scalar(key, false));
                out.push(':');
                // Lists are flush with their key.
                let deeper = if matches!(value, Yaml::List(_)) { 0 } else { 2 };
                write(out, value, indent + deeper, false);
            }
        }
    }
}

fn push_indent(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(text: &str, flow: bool) -> String {
    if text.chars().any(|c| c.is_control() || c == '\u{feff}') || reads_as_another_type(text) {
        return serde_json::Value::from(text).to_string();
    }
    if needs_quotes(text, flow) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

/// Whether a plain text would be null, a truth value, a number or a time.
fn reads_as_another_type(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let word = matches!(
        lower.as_str(),
        "" | "~"
            | "null"
            | "true"
            | "false"
            | "yes"
            | "no"
            | "on"
            | "off"
            | "y"
            | "n"
            | "<<"
            | ".nan"
            | ".inf"
            | "-.inf"
            | "+.inf"
    );
    let digits = lower.trim_start_matches(['+', '-']).replace('_', "");
    let radix = |prefix: &str, radix: u32| {
        digits
            .strip_prefix(prefix)
            .is_some_and(|d| u64::from_str_radix(d, radix).is_ok())
    };
    let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && (digits.parse::<f64>().is_ok() || radix("0x", 16) || radix("0o", 8) || radix("0b", 2));
    let date = lower.len() >= 8
        && lower.as_bytes().get(4) == Some(&b'-')
        && lower.bytes().take(4).all(|b| b.is_ascii_digit());
    word || number || date
}

fn needs_quotes(text: &str, flow: bool) -> bool {
    let begins = |c: char| "#,[]{}&*!|>'\"%@`".contains(c);
    let marker = ["-", "?", ":"]
        .iter()
        .any(|m| text == *m || text.starts_with(&format!("{m} ")));
    text.starts_with(begins)
        || marker
        || text.starts_with(' ')
        || text.ends_with([' ', ':'])
        || text.contains(": ")
        || text.contains(" #")
        || text.starts_with("---")
        || text.starts_with("...")
        || flow && text.contains(|c: char| ",?[]{}:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_only_where_they_must_be() {
        for (text, block, flow) in [
            ("plain", "plain", "plain"),
            ("(.*):(.*)", "(.*):(.*)", "'(.*):(.*)'"),
            ("a: b", "'a: b'", "'a: b'"),
            ("", "\"\"", "\"\""),
            ("1", "\"1\"", "\"1\""),
            ("true", "\"true\"", "\"true\""),
            ("0x1f", "\"0x1f\"", "\"0x1f\""),
            ("1.2.3", "1.2.3", "1.2.3"),
            ("127.0.0.1:9090", "127.0.0.1:9090", "'127.0.0.1:9090'"),
            ("$1", "$1", "$1"),
            (";", ";", ";"),
            ("it's", "it's", "it's"),
            ("'quoted'", "'''quoted'''", "'''quoted'''"),
            ("-", "'-'", "'-'"),
            ("-x", "-x", "-x"),
            ("two\nlines", "\"two\\nlines\"", "\"two\\nlines\""),
            ("2024-01-01", "\"2024-01-01\"", "\"2024-01-01\""),
            ("ü", "ü", "ü"),
        ] {
            assert_eq!(scalar(text, false), block, "{text}");
            assert_eq!(scalar(text, true), flow, "{text}");
            let back: String = serde_yaml_ng::from_str(&scalar(text, false)).unwrap();
            assert_eq!(back, text);
        }
    }

    #[test]
    fn trees_are_printed_as_go_prints_them() {
        let mut target = Yaml::map();
        target.add("targets", Yaml::texts(["a:1", "b:2"]));
        let mut labels = Yaml::map();
        labels.add("env", "prod");
        target.add("labels", labels.finish());
        let mut job = Yaml::map();
        job.add("job_name", "x");
        job.add("honor_timestamps", true);
        job.add_some("params", Yaml::map().finish());
        job.add("static_configs", Yaml::List(vec![target.finish()]));
        let mut root = Yaml::map();
        root.add("scrape_configs", Yaml::List(vec![job.finish()]));
        assert_eq!(
            root.finish().to_string(),
            "scrape_configs:\n- job_name: x\n  honor_timestamps: true\n  static_configs:\n  - targets:\n    - a:1\n    - b:2\n    labels:\n      env: prod\n"
        );
    }
}
