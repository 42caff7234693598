//! Faults of a YAML file in one line each, worded as upstream words them where it has words; and the merge keys of
//! YAML 1.1, which `serde` does not know.

use std::borrow::Cow;

use serde_yaml_ng::{Error, Value};

/// A key that is not known.
pub(super) fn unknown_field(name: &str, of_type: &str) -> String {
    format!("field {name} not found in type {of_type}")
}

/// A fault with its line.
pub(super) fn yaml_fault(error: &Error) -> String {
    let text = error.to_string();
    let unknown = text.split_once("unknown field `");
    let name = unknown.and_then(|(path, rest)| Some((path, rest.split_once('`')?.0)));
    let Some((path, name)) = name else {
        return text;
    };
    let of_type = [
        ("relabel_configs", "relabel.plain"),
        ("file_sd_configs", "file.plain"),
        ("static_configs", "targetgroup.Group"),
        ("tls_config", "config.TLSConfig"),
        ("authorization", "config.Authorization"),
    ];
    let of_type = of_type.iter().find(|(key, _)| path.contains(key));
    let fault = unknown_field(name, of_type.map_or("config.plain", |(_, t)| t));
    match error.location() {
        Some(at) => format!("line {}: {fault}", at.line()),
        None => fault,
    }
}

/// The text with its merge keys (`<<: *anchor`) resolved; as it is where it has none.
pub(super) fn merged(text: &str) -> Cow<'_, str> {
    if !text.contains("<<") {
        return Cow::Borrowed(text);
    }
    let resolved = serde_yaml_ng::from_str::<Value>(text).and_then(|mut value| {
        value.apply_merge()?;
        serde_yaml_ng::to_string(&value)
    });
    // Whatever is wrong is found, with its line, when the text itself is read.
    resolved.map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_keys_are_resolved() {
        let text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n";
        let value: Value = serde_yaml_ng::from_str(&merged(text)).unwrap();
        assert_eq!(value["b"]["x"], 1);
        assert_eq!(value["b"]["y"], 3);
        assert_eq!(merged("a: 1"), "a: 1");
    }
}
