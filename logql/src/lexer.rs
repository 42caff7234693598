//! Text to tokens, each with its place.
//!
//! Loki reads tokens with Go's `text/scanner` and looks ahead by hand for operators of several
//! characters, ranges, durations and sizes; after such a token the scanner no longer knows its line,
//! and errors say line 0. That is mirrored, because people see these texts.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{digit1, one_of};
use nom::combinator::{opt, recognize};
use nom::multi::many0_count;
use nom::sequence::{delimited, pair};
use nom::{IResult, Parser};

use crate::error::ParseError;
use crate::units::{parse_bytes, parse_go_duration, parse_model_duration};

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Identifier(String),
    Text(String),
    Number(String),
    Duration(i64),
    Bytes(u64),
    Range(i64),
    /// A word of the grammar or an operator, by its spelling.
    Word(&'static str),
    /// `--strict`, `--keep-empty`.
    Flag(&'static str),
    End,
}

/// A token and its place.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Words that are always words of the grammar.
const WORDS: [&str; 24] = [
    "by",
    "without",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "unwrap",
    "offset",
    "json",
    "logfmt",
    "regexp",
    "pattern",
    "unpack",
    "line_format",
    "label_format",
    "decolorize",
    "drop",
    "keep",
    "of",
    "ip",
];

/// Words that are words of the grammar only where an argument list follows.
const FUNCTIONS: [&str; 33] = [
    "rate",
    "rate_counter",
    "count_over_time",
    "bytes_rate",
    "bytes_over_time",
    "absent_over_time",
    "sum_over_time",
    "avg_over_time",
    "max_over_time",
    "min_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "quantile_over_time",
    "first_over_time",
    "last_over_time",
    "vector",
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "approx_topk",
    "sort",
    "sort_desc",
    "label_replace",
    "bytes",
    "duration",
    "duration_seconds",
    "variants",
];

const LONG_OPERATORS: [&str; 10] = ["|=", "|~", "!=", "!~", "|>", "!>", "=~", "==", ">=", "<="];

const SHORT_OPERATORS: [&str; 16] = [
    "{", "}", "(", ")", ",", "|", "=", ">", "<", "+", "-", "*", "/", "%", "^", ".",
];

/// All tokens of a text, the last of which is [`Kind::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut lexer = Lexer {
        text,
        rest: text,
        at: (1, 1),
        done_until: 0,
    };
    let mut out = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token.kind == Kind::End;
        out.push(token);
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    rest: &'a str,
    /// Line and column of `text[done_until..]`.
    at: (usize, usize),
    done_until: usize,
}

impl<'a> Lexer<'a> {
    fn skip_blanks(&mut self) {
        let comment = recognize(pair(tag("#"), take_while(|c| c != '\n')));
        let blank = take_while1(|c: char| matches!(c, ' ' | '\t' | '\n' | '\r'));
        let result: IResult<&str, usize> = many0_count(alt((blank, comment))).parse(self.rest);
        if let Ok((rest, _)) = result {
            self.rest = rest;
        }
    }

    /// Line and column of the next character.
    fn place(&mut self) -> (usize, usize) {
        let upto = self.text.len() - self.rest.len();
        for c in self.text[self.done_until..upto].chars() {
            if c == '\n' {
                self.at = (self.at.0 + 1, 1);
            } else {
                self.at.1 += 1;
            }
        }
        self.done_until = upto;
        self.at
    }

    fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_blanks();
        let (line, column) = self.place();
        let token = |kind, line| Token { kind, line, column };
        let Some(c) = self.rest.chars().next() else {
            // The scanner starts at column 1 even of an empty text, where Loki names no place at all.
            return Ok(
                if self.text.trim().is_empty() && !self.text.contains('\n') {
                    Token {
                        kind: Kind::End,
                        line: 0,
                        column: 0,
                    }
                } else {
                    token(Kind::End, line)
                },
            );
        };
        if c == '[' {
            return self
                .range()
                .map(|ns| token(Kind::Range(ns), 0))
                .map_err(|m| ParseError::at(0, column, m));
        }
        if c == '"' || c == '`' {
            return match self.string(c) {
                Ok(text) => Ok(token(Kind::Text(text), line)),
                Err(message) => Err(ParseError::at(line, column, message)),
            };
        }
        if c == '\'' {
            self.char_literal();
            return Ok(token(Kind::Identifier("'".to_owned()), line));
        }
        if c.is_ascii_digit()
            || (c == '.' && self.rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            return match self.number() {
                Ok(kind) => {
                    let line = if matches!(kind, Kind::Number(_)) {
                        line
                    } else {
                        0
                    };
                    Ok(token(kind, line))
                }
                Err(message) => Err(ParseError::at(line, column, message)),
            };
        }
        if is_name_start(c) {
            let end = self
                .rest
                .find(|c: char| !is_name_part(c))
                .unwrap_or(self.rest.len());
            let (name, rest) = self.rest.split_at(end);
            self.rest = rest;
            let lower = name.to_lowercase();
            if let Some(word) = FUNCTIONS.iter().find(|w| **w == lower)
                && self.arguments_follow()
            {
                return Ok(token(Kind::Word(word), line));
            }
            if let Some(word) = WORDS.iter().find(|w| **w == lower) {
                return Ok(token(Kind::Word(word), line));
            }
            return Ok(token(Kind::Identifier(name.to_owned()), line));
        }
        for flag in ["--strict", "--keep-empty"] {
            if let Some(rest) = self.rest.strip_prefix(flag) {
                self.rest = rest;
                return Ok(token(Kind::Flag(flag), 0));
            }
        }
        for operator in LONG_OPERATORS {
            if let Some(rest) = self.rest.strip_prefix(operator) {
                self.rest = rest;
                return Ok(token(Kind::Word(operator), 0));
            }
        }
        for operator in SHORT_OPERATORS {
            if let Some(rest) = self.rest.strip_prefix(operator) {
                self.rest = rest;
                return Ok(token(Kind::Word(operator), line));
            }
        }
        self.rest = &self.rest[c.len_utf8()..];
        Ok(token(Kind::Identifier(c.to_string()), line))
    }

    /// Whether what follows makes the name before it a function: `(`, or a grouping and `(`.
    fn arguments_follow(&self) -> bool {
        let mut ahead = Lexer {
            text: self.text,
            rest: self.rest,
            at: self.at,
            done_until: self.done_until,
        };
        ahead.skip_blanks();
        if ahead.rest.starts_with('(') {
            return true;
        }
        let lower: String = ahead
            .rest
            .chars()
            .take(7)
            .collect::<String>()
            .to_lowercase();
        for word in ["without", "by"] {
            if lower.starts_with(word) {
                ahead.rest = &ahead.rest[word.len()..];
                ahead.skip_blanks();
                return ahead.rest.starts_with('(');
            }
        }
        false
    }

    fn range(&mut self) -> Result<i64, String> {
        let inside: IResult<&str, &str> =
            delimited(tag("["), take_while(|c| c != ']'), tag("]")).parse(self.rest);
        let Ok((rest, inside)) = inside else {
            self.rest = "";
            return Err("missing closing ']' in duration".to_owned());
        };
        self.rest = rest;
        parse_model_duration(inside)
    }

    /// A number, and the duration or size that letters right behind it make of it.
    fn number(&mut self) -> Result<Kind, String> {
        let (rest, number) = number_text(self.rest).unwrap_or((self.rest, ""));
        let after = rest.chars().next();
        if matches!(after, Some('p' | 'P')) && !number.starts_with("0x") {
            return Err(format!(
                "'{}' exponent requires hexadecimal mantissa",
                after.unwrap_or('p')
            ));
        }
        if number.ends_with(['e', 'E', '+', '-']) {
            return Err("exponent has no digits".to_owned());
        }
        let take = |allowed: fn(char) -> bool| {
            let end = rest.find(|c| !allowed(c)).unwrap_or(rest.len());
            rest.split_at(end)
        };
        let (letters, behind) = take(|c| c.is_ascii_digit() || "nuµμmshdw.".contains(c));
        if letters.starts_with(|c: char| "nuµμmshdw".contains(c)) {
            let text = format!("{number}{letters}");
            if let Some(ns) = parse_go_duration(&text)
                .ok()
                .or_else(|| parse_model_duration(&text).ok())
            {
                self.rest = behind;
                return Ok(Kind::Duration(ns));
            }
        }
        let (letters, behind) = take(|c| "BikKMGTP".contains(c));
        if !letters.is_empty() {
            let text = format!("{number}{letters}");
            if let Ok(bytes) = parse_bytes(&text) {
                self.rest = behind;
                return Ok(Kind::Bytes(bytes));
            }
        }
        self.rest = rest;
        Ok(Kind::Number(number.to_owned()))
    }

    /// A character in single quotes is one token that no rule takes.
    fn char_literal(&mut self) {
        let end = self.rest[1..]
            .find(['\'', '\n'])
            .map_or(self.rest.len(), |at| at + 2);
        self.rest = &self.rest[end.min(self.rest.len())..];
    }

    fn string(&mut self, quote: char) -> Result<String, &'static str> {
        let body = &self.rest[1..];
        if quote == '`' {
            let Some(end) = body.find('`') else {
                return Err("literal not terminated");
            };
            self.rest = &body[end + 1..];
            return Ok(body[..end].replace('\r', ""));
        }
        let mut out: Vec<u8> = Vec::new();
        let mut rest = body;
        loop {
            let Some(c) = rest.chars().next() else {
                return Err("literal not terminated");
            };
            match c {
                '"' => {
                    self.rest = &rest[1..];
                    return Ok(String::from_utf8_lossy(&out).into_owned());
                }
                '\n' => return Err("literal not terminated"),
                '\\' => match escape(&rest[1..]) {
                    Ok((behind, bytes)) => {
                        out.extend_from_slice(&bytes);
                        rest = behind;
                    }
                    Err(()) => return Err("invalid char escape"),
                },
                c => {
                    let (text, behind) = rest.split_at(c.len_utf8());
                    out.extend_from_slice(text.as_bytes());
                    rest = behind;
                }
            }
        }
    }
}

fn number_text(text: &str) -> IResult<&str, &str> {
    fn digits(text: &str) -> IResult<&str, &str> {
        take_while(|c: char| c.is_ascii_digit()).parse(text)
    }
    fn exponent(text: &str) -> IResult<&str, &str> {
        recognize((one_of("eE"), opt(one_of("+-")), digits)).parse(text)
    }
    let hex = recognize(pair(
        alt((tag("0x"), tag("0X"))),
        take_while1(|c: char| c.is_ascii_hexdigit()),
    ));
    let decimal = recognize((digit1, opt(pair(tag("."), digits)), opt(exponent)));
    let fraction = recognize((tag("."), digit1, opt(exponent)));
    alt((hex, decimal, fraction)).parse(text)
}

/// What follows a backslash: the rest, and the bytes that are meant.
pub(crate) fn escape(text: &str) -> Result<(&str, Vec<u8>), ()> {
    let simple: IResult<&str, char> = one_of("abfnrtv\\\"").parse(text);
    if let Ok((rest, c)) = simple {
        let byte = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            c => c as u8,
        };
        return Ok((rest, vec![byte]));
    }
    let fixed = |prefix: &'static str, len: usize, radix: u32| -> Option<(&str, u32)> {
        let rest = text.strip_prefix(prefix)?;
        let digits = rest.get(..len)?;
        let value = digits
            .chars()
            .all(|c| c.is_digit(radix))
            .then(|| u32::from_str_radix(digits, radix).ok())??;
        Some((&rest[len..], value))
    };
    if let Some((rest, byte)) = fixed("x", 2, 16) {
        return Ok((rest, vec![byte as u8]));
    }
    for (prefix, len) in [("u", 4), ("U", 8)] {
        if let Some((rest, code)) = fixed(prefix, len, 16) {
            let c = char::from_u32(code).ok_or(())?;
            return Ok((rest, c.to_string().into_bytes()));
        }
    }
    match fixed("", 3, 8) {
        Some((rest, value)) if value < 256 => Ok((rest, vec![value as u8])),
        _ => Err(()),
    }
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_numeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        tokens(text).unwrap().into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn letters_behind_a_number_make_durations_and_sizes() {
        assert_eq!(kinds("1h30m")[0], Kind::Duration(5_400_000_000_000));
        assert_eq!(kinds("0.5s")[0], Kind::Duration(500_000_000));
        assert_eq!(kinds("1d")[0], Kind::Duration(86_400_000_000_000));
        assert_eq!(kinds("1.5KiB")[0], Kind::Bytes(1536));
        assert_eq!(kinds("1M")[0], Kind::Bytes(1_000_000));
        assert_eq!(kinds("1e3")[0], Kind::Number("1e3".into()));
        assert_eq!(kinds("[1h30m]")[0], Kind::Range(5_400_000_000_000));
    }

    #[test]
    fn functions_are_names_where_no_argument_follows() {
        assert_eq!(kinds("sum")[0], Kind::Identifier("sum".into()));
        assert_eq!(kinds("sum (")[0], Kind::Word("sum"));
        assert_eq!(kinds("sum by (x)")[0], Kind::Word("sum"));
        assert_eq!(kinds("sum by x")[0], Kind::Identifier("sum".into()));
    }

    #[test]
    fn texts_are_unquoted() {
        assert_eq!(
            kinds(r#""a\n\x1b\u00e9\"""#)[0],
            Kind::Text("a\n\u{1b}é\"".into())
        );
        assert_eq!(kinds(r"`q\u`")[0], Kind::Text(r"q\u".into()));
        assert_eq!(
            tokens(r#""\q""#).unwrap_err().to_string(),
            "parse error at line 1, col 1: invalid char escape"
        );
    }
}
