//! Label sets as text: `{name="value", ..}`, read and written as Loki does.

use logql::quote;
use storage::model::Labels;

use super::PushError;

/// A label set as text.
pub(super) fn print(labels: &Labels) -> String {
    print_pairs(labels.iter())
}

/// Pairs as text, in their order.
pub(super) fn print_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let all: Vec<String> = pairs.map(|(n, v)| format!("{n}={}", quote(v))).collect();
    format!("{{{}}}", all.join(", "))
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'a> {
    Open,
    Close,
    Comma,
    Equals,
    Name(&'a str),
    Text(String),
    End,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    /// The next token and where it begins.
    fn next(&mut self) -> Result<(usize, Token<'a>), PushError> {
        let rest = self.text[self.at..].trim_start();
        self.at = self.text.len() - rest.len();
        let start = self.at;
        let Some(c) = rest.chars().next() else {
            return Ok((start, Token::End));
        };
        let token = match c {
            '{' => Token::Open,
            '}' => Token::Close,
            ',' => Token::Comma,
            '=' => Token::Equals,
            '"' | '\'' | '`' => return Ok((start, self.string(c)?)),
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                self.at += length;
                return Ok((start, Token::Name(&rest[..length])));
            }
            c => {
                return Err(fault(
                    start,
                    &format!("unexpected character inside braces: '{c}'"),
                ));
            }
        };
        self.at += c.len_utf8();
        Ok((start, token))
    }

    fn string(&mut self, mark: char) -> Result<Token<'a>, PushError> {
        let start = self.at;
        let open = || fault(start, "unterminated quoted string");
        let mut out = String::new();
        let rest = &self.text[start + 1..];
        let mut chars = rest.char_indices();
        while let Some((i, c)) = chars.next() {
            if c == mark {
                self.at = start + 1 + i + 1;
                return Ok(Token::Text(out));
            }
            if c != '\\' || mark == '`' {
                out.push(c);
                continue;
            }
            let (_, c) = chars.next().ok_or_else(open)?;
            let bad = || fault(start, "unknown escape sequence in quoted string");
            let mut digits = |count: usize, radix: u32, first: Option<char>| {
                let mut code = 0_u32;
                for k in 0..count {
                    let c = match (k, first) {
                        (0, Some(c)) => c,
                        _ => chars.next().map(|(_, c)| c).ok_or_else(open)?,
                    };
                    let digit = c.to_digit(radix).ok_or_else(bad)?;
                    code = code.saturating_mul(radix).saturating_add(digit);
                }
                char::from_u32(code).ok_or_else(bad)
            };
            out.push(match c {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                '\\' | '"' | '\'' => c,
                'x' => digits(2, 16, None)?,
                'u' => digits(4, 16, None)?,
                'U' => digits(8, 16, None)?,
                '0'..='7' => digits(3, 8, Some(c))?,
                _ => return Err(bad()),
            });
        }
        Err(open())
    }
}

fn fault(at: usize, what: &str) -> PushError {
    PushError::bad(format!(
        "couldn't parse labels: 1:{}: parse error: {what}",
        at + 1
    ))
}

fn unexpected(at: usize, token: &Token<'_>, expected: &str) -> PushError {
    let token = match token {
        Token::Open => "\"{\"".to_owned(),
        Token::Close => "\"}\"".to_owned(),
        Token::Comma => "\",\"".to_owned(),
        Token::Equals => "\"=\"".to_owned(),
        Token::Name(name) => format!("identifier {}", quote(name)),
        Token::Text(text) => format!("string {}", quote(text)),
        Token::End => "end of input".to_owned(),
    };
    fault(
        at,
        &format!("unexpected {token} in label set, expected {expected}"),
    )
}

/// Reads a label set. Empty text is the empty set; labels with an empty value are dropped.
pub(super) fn parse(text: &str) -> Result<Labels, PushError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut pairs: Vec<(&str, String)> = Vec::new();
    match lexer.next()? {
        (_, Token::End) => return Ok(Labels::empty()),
        (_, Token::Open) => {}
        (at, token) => return Err(unexpected(at, &token, "\"{\"")),
    }
    loop {
        let name = match lexer.next()? {
            (_, Token::Close) => break,
            (_, Token::Name(name)) => name,
            (at, token) => return Err(unexpected(at, &token, "identifier or \"}\"")),
        };
        match lexer.next()? {
            (_, Token::Equals) => {}
            (at, token) => return Err(unexpected(at, &token, "\"=\"")),
        }
        match lexer.next()? {
            (_, Token::Text(value)) => pairs.push((name, value)),
            (at, token) => return Err(unexpected(at, &token, "string")),
        }
        match lexer.next()? {
            (_, Token::Comma) => {}
            (_, Token::Close) => break,
            (at, token) => return Err(unexpected(at, &token, "\",\" or \"}\"")),
        }
    }
    match lexer.next()? {
        (_, Token::End) => {}
        (at, token) => return Err(unexpected(at, &token, "end of input")),
    }
    // Stable: of equal names the order stays, for the message.
    pairs.sort_by_key(|(name, _)| *name);
    let twice = pairs.windows(2).find(|w| w[0].0 == w[1].0);
    if let Some([(name, _), _]) = twice {
        let labels = Labels::from_pairs(pairs.iter().rev().map(|(n, v)| (*n, v.as_str())));
        let service = logql::discover_service_name(&labels).map(|s| ("service_name", s));
        let all = pairs.iter().map(|(n, v)| (*n, v.as_str())).chain(service);
        return Err(PushError::bad(format!(
            "stream '{}' has duplicate label name: '{name}'",
            print_pairs(all)
        )));
    }
    Ok(Labels::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_round_trip() {
        for text in ["{}", r#"{a="b"}"#, r#"{a="q\"u\\o\n", b="ü"}"#] {
            assert_eq!(print(&parse(text).unwrap()), text);
        }
        assert_eq!(
            print(&parse(r#"{job="p",a="1",}"#).unwrap()),
            r#"{a="1", job="p"}"#
        );
        assert_eq!(parse("").unwrap(), Labels::empty());
    }

    #[test]
    fn faults_are_worded_as_loki_words_them() {
        for (text, what) in [
            (
                r#"{bad-name="x"}"#,
                "1:5: parse error: unexpected character inside braces: '-'",
            ),
            (
                r#"{1a="x"}"#,
                "1:2: parse error: unexpected character inside braces: '1'",
            ),
            (
                r#"{a b="x"}"#,
                "1:4: parse error: unexpected identifier \"b\" in label set, expected \"=\"",
            ),
            (
                r#"{="x"}"#,
                "1:2: parse error: unexpected \"=\" in label set, expected identifier or \"}\"",
            ),
            (
                "{job=unquoted}",
                "1:6: parse error: unexpected identifier \"unquoted\" in label set, expected string",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.text, format!("couldn't parse labels: {what}"));
        }
    }
}
