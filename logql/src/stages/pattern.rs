//! `pattern "<ip> - <_> [<ts>]"` and the line filters `|>` and `!>`: literal texts with captures
//! between them, read from the start of the line.

use std::borrow::Cow;

use super::{Hints, Stage};
use crate::labels::LabelBuilder;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Literal(String),
    /// A capture; `_` has no name.
    Capture(Option<String>),
}

fn parse(text: &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((name, behind)) = capture(rest) {
            if !literal.is_empty() {
                nodes.push(Node::Literal(std::mem::take(&mut literal)));
            }
            nodes.push(Node::Capture((name != "_").then(|| name.to_owned())));
            rest = behind;
        } else {
            literal.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    if !literal.is_empty() {
        nodes.push(Node::Literal(literal));
    }
    nodes
}

/// `<name>` at the start of a text: the name and what follows.
fn capture(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('<')?;
    let end = inside.find('>')?;
    let name = &inside[..end];
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let continues = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (starts && continues).then_some((name, &inside[end + 1..]))
}

fn show(node: &Node) -> String {
    match node {
        Node::Literal(text) => text.clone(),
        Node::Capture(name) => format!("<{}>", name.as_deref().unwrap_or("_")),
    }
}

fn check_neighbours(nodes: &[Node]) -> Result<(), String> {
    for pair in nodes.windows(2) {
        if let [a @ Node::Capture(_), b @ Node::Capture(_)] = pair {
            return Err(format!(
                "found consecutive capture '{}{}': invalid expression",
                show(a),
                show(b)
            ));
        }
    }
    Ok(())
}

/// Checks the text of a pattern parser.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parser_nodes(text).map(drop)
}

fn parser_nodes(text: &str) -> Result<Vec<Node>, String> {
    let nodes = parse(text);
    if nodes.is_empty() {
        return Err(
            "parse error at line 1, col 1: syntax error: unexpected $end, expecting IDENTIFIER or LITERAL"
                .to_owned(),
        );
    }
    let names: Vec<&String> = nodes
        .iter()
        .filter_map(|n| match n {
            Node::Capture(name) => name.as_ref(),
            Node::Literal(_) => None,
        })
        .collect();
    if names.is_empty() {
        return Err("at least one capture is required".to_owned());
    }
    check_neighbours(&nodes)?;
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(format!(
                "duplicate capture name ({name}): invalid expression"
            ));
        }
    }
    Ok(nodes)
}

/// The parser stage.
pub(super) struct PatternParser {
    nodes: Vec<Node>,
    no_labels: bool,
}

impl PatternParser {
    pub(super) fn new(text: &str, hints: &Hints) -> Result<Self, String> {
        Ok(Self {
            nodes: parser_nodes(text)?,
            no_labels: hints.no_labels,
        })
    }

    /// Gives each named capture to `found`. What a literal is missing for takes the rest of the line.
    fn captures<'l>(&self, line: &'l str, mut found: impl FnMut(&str, &'l str)) {
        let mut nodes = self.nodes.as_slice();
        let mut rest = line;
        if line.is_empty() {
            return;
        }
        if let [Node::Literal(text), behind @ ..] = nodes {
            let Some(after) = rest.strip_prefix(text.as_str()) else {
                return;
            };
            rest = after;
            nodes = behind;
        }
        while let [Node::Capture(name), behind @ ..] = nodes {
            let end = match behind.first() {
                Some(Node::Literal(text)) => {
                    rest.find(text.as_str()).map(|at| (at, at + text.len()))
                }
                _ => None,
            };
            let (value_end, next) = end.unwrap_or((rest.len(), rest.len()));
            if let Some(name) = name {
                found(name, &rest[..value_end]);
            }
            if end.is_none() {
                return;
            }
            rest = &rest[next..];
            nodes = &behind[1..];
        }
    }
}

impl Stage for PatternParser {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        if !self.no_labels {
            self.captures(&line, |name, value| {
                labels.set_found(name, value);
            });
        }
        Some(line)
    }
}

/// The pattern of a line filter.
pub(super) struct LinePattern(Vec<Node>);

impl LinePattern {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let nodes = parse(text);
        if let Some(named) = nodes.iter().find(|n| matches!(n, Node::Capture(Some(_)))) {
            return Err(format!(
                "named captures are not allowed: found '{}'",
                show(named)
            ));
        }
        check_neighbours(&nodes)?;
        Ok(Self(nodes))
    }

    pub(super) fn matches(&self, line: &str) -> bool {
        let mut rest = line;
        let mut open = false;
        for (i, node) in self.0.iter().enumerate() {
            match node {
                Node::Capture(_) => open = true,
                Node::Literal(text) => {
                    let last = i + 1 == self.0.len();
                    let after = if !open {
                        rest.strip_prefix(text.as_str())
                    } else if last {
                        return rest.ends_with(text.as_str());
                    } else {
                        rest.find(text.as_str()).map(|at| &rest[at + text.len()..])
                    };
                    let Some(after) = after else {
                        return false;
                    };
                    rest = after;
                    open = false;
                }
            }
        }
        open || rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::run;

    #[test]
    fn captures_end_at_the_next_literal() {
        let labels = |stage: &str, line: &str| run(stage, line).unwrap().1;
        assert_eq!(
            labels(
                r#"| pattern "<ip> - <_> [<ts>] <rest>""#,
                "1.1.1.1 - bob [now] GET /"
            ),
            r#"{app="a", ip="1.1.1.1", rest="GET /", ts="now"}"#
        );
        assert_eq!(labels(r#"| pattern "[<x>] y""#, "no"), r#"{app="a"}"#);
        assert_eq!(
            labels(r#"| pattern "<x>, <y>""#, "one two"),
            r#"{app="a", x="one two"}"#
        );
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for (text, message) in [
            ("nocapture", "at least one capture is required"),
            ("<_>", "at least one capture is required"),
            (
                "<a><b>",
                "found consecutive capture '<a><b>': invalid expression",
            ),
            ("<a> <a>", "duplicate capture name (a): invalid expression"),
        ] {
            assert_eq!(check(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn line_patterns_describe_the_whole_line() {
        let f = |pattern: &str, line: &str| LinePattern::new(pattern).unwrap().matches(line);
        assert!(f("<_> 404 <_>", "a 404 b"));
        assert!(!f("<_> 404", "a 404 b"));
        assert!(f("a <_> c", "a b c"));
        assert!(!f("", "x"));
        assert!(!f("b <_>", "a b c"));
    }
}
