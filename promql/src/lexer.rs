//! Splits a query into tokens with their places.
//!
//! What a character means depends on the brackets around it: within braces words are only names, within square brackets
//! only numbers, durations and their arithmetic occur. The text behind a fault is not looked at: the last token is then the
//! fault itself, which the parser reports when it gets there.

mod float;
mod number;
mod text;

pub use float::format_float;
pub use number::format_duration;
pub(crate) use number::{parse_duration, parse_number};
pub use text::{quote, quote_bytes};

use crate::ast::{AggregateOp, BinaryOp};

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    /// A name without a colon that is no keyword.
    Identifier,
    /// A name with a colon.
    MetricIdentifier,
    /// A number as written; also `Inf` and `NaN`.
    Number,
    /// Digits with units.
    Duration,
    /// A quoted text, its escapes resolved.
    String(Vec<u8>),
    Keyword(Keyword),
    Aggregate(AggregateOp),
    /// Any operator but `-`'s and `+`'s use as a sign, which the parser tells apart.
    Operator(BinaryOp),
    /// `=` within braces; elsewhere always wrong.
    Equal,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotRegex,
    At,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// The end of the text.
    End,
    /// No token can stand here; the message says why.
    Fault(String),
}

/// Words that are neither operators nor aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Anchored,
    Smoothed,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
}

/// A token and its bytes, `start..end`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The tokens of a query, comments and blanks left out. The last one is [`TokenKind::End`] or [`TokenKind::Fault`].
pub(crate) fn tokens(input: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        input,
        at: 0,
        parens: 0,
        brackets: None,
        braces: false,
        counted: false,
        out: Vec::new(),
    };
    while lexer.step() {}
    lexer.out
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    parens: usize,
    brackets: Option<Bracket>,
    braces: bool,
    /// A number has opened some brackets of this text; upstream does not ask again in later ones.
    counted: bool,
    out: Vec<Token>,
}

/// State within square brackets.
struct Bracket {
    /// No number has come yet: upstream is stricter, and words faults otherwise, until one has.
    opening: bool,
    /// A colon has come.
    colon: bool,
}

impl Lexer<'_> {
    /// Reads one token; false at the end.
    fn step(&mut self) -> bool {
        self.skip_blanks();
        let start = self.at;
        let Some(c) = self.peek() else {
            return self.end();
        };
        if self.braces {
            return self.within_braces(c);
        }
        let rest = &self.input[self.at..];
        if self.opens_brackets() && !may_open_brackets(rest) {
            return self.unknown_duration(c);
        }
        match c {
            ',' if self.brackets.is_none() || self.parens > 0 => self.one(TokenKind::Comma),
            '*' => self.operator(BinaryOp::Mul),
            '/' => self.operator(BinaryOp::Div),
            '%' => self.operator(BinaryOp::Mod),
            '+' => self.operator(BinaryOp::Add),
            '-' => self.operator(BinaryOp::Sub),
            '^' => self.operator(BinaryOp::Pow),
            '=' if rest.starts_with("==") => self.operator(BinaryOp::Eq),
            '=' if rest.starts_with("=~") => {
                self.fault(start, "unexpected character after '=': '~'".to_owned())
            }
            '=' => self.one(TokenKind::Equal),
            '!' if rest.starts_with("!=") => self.operator(BinaryOp::Ne),
            '!' => self.fault(
                start,
                format!(
                    "unexpected character after '!': {}",
                    text::quote_char(self.peek_second())
                ),
            ),
            '<' if rest.starts_with("</") => self.operator(BinaryOp::TrimUpper),
            '<' if rest.starts_with("<=") => self.operator(BinaryOp::Le),
            '<' => self.operator(BinaryOp::Lt),
            '>' if rest.starts_with(">/") => self.operator(BinaryOp::TrimLower),
            '>' if rest.starts_with(">=") => self.operator(BinaryOp::Ge),
            '>' => self.operator(BinaryOp::Gt),
            '"' | '\'' | '`' => self.string(c),
            '(' => {
                self.parens += 1;
                self.one(TokenKind::LeftParen)
            }
            ')' if self.parens == 0 => {
                self.fault(start + 1, "unexpected right parenthesis ')'".to_owned())
            }
            ')' => {
                self.parens -= 1;
                self.one(TokenKind::RightParen)
            }
            '{' => {
                self.braces = true;
                self.one(TokenKind::LeftBrace)
            }
            '[' if self.brackets.is_some() => {
                self.fault(start, "unexpected left bracket '['".to_owned())
            }
            '[' => {
                self.brackets = Some(Bracket {
                    colon: false,
                    opening: true,
                });
                self.one(TokenKind::LeftBracket)
            }
            ']' if self.brackets.is_none() => {
                self.fault(start, "unexpected right bracket ']'".to_owned())
            }
            ']' => {
                self.brackets = None;
                self.one(TokenKind::RightBracket)
            }
            '@' => self.one(TokenKind::At),
            _ if c.is_ascii_digit() => self.number(),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            ':' | '_' | 'a'..='z' | 'A'..='Z' => match &mut self.brackets {
                None => self.word(),
                Some(bracket) if c == ':' => {
                    if bracket.opening && (bracket.colon || !self.counted) {
                        let fault = if self.counted {
                            "unexpected repeated colon in duration expression"
                        } else {
                            "unexpected colon before duration in duration expression"
                        };
                        self.one(TokenKind::Colon);
                        return self.fault(self.at, fault.to_owned());
                    }
                    if bracket.colon {
                        return self.fault(start, "unexpected colon ':'".to_owned());
                    }
                    bracket.colon = true;
                    self.one(TokenKind::Colon)
                }
                Some(_) => self.word_within_brackets(c),
            },
            _ => self.fault(
                start,
                format!("unexpected character: {}", text::quote_char(Some(c))),
            ),
        }
    }

    fn within_braces(&mut self, c: char) -> bool {
        let start = self.at;
        let rest = &self.input[self.at..];
        match c {
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = self.input.len() - rest.trim_start_matches(is_word).len();
                self.emit(TokenKind::Identifier, end)
            }
            ',' => self.one(TokenKind::Comma),
            '"' | '\'' | '`' => self.string(c),
            '=' if rest.starts_with("=~") => self.emit(TokenKind::EqualRegex, start + 2),
            '=' => self.one(TokenKind::Equal),
            '!' if rest.starts_with("!~") => self.emit(TokenKind::NotRegex, start + 2),
            '!' if rest.starts_with("!=") => self.operator(BinaryOp::Ne),
            '!' => self.fault(
                start,
                format!(
                    "unexpected character after '!' inside braces: {}",
                    text::quote_char(self.peek_second())
                ),
            ),
            '{' => self.fault(start, "unexpected left brace '{'".to_owned()),
            '}' => {
                self.braces = false;
                self.one(TokenKind::RightBrace)
            }
            _ => self.fault(
                start,
                format!(
                    "unexpected character inside braces: {}",
                    text::quote_char(Some(c))
                ),
            ),
        }
    }

    fn end(&mut self) -> bool {
        let start = self.at;
        let fault = if self.braces {
            "unexpected end of input inside braces"
        } else if self.opens_brackets() {
            "unexpected end of input in duration expression"
        } else if self.parens > 0 {
            "unclosed left parenthesis"
        } else if self.brackets.is_some() {
            "unclosed left bracket"
        } else {
            self.emit(TokenKind::End, start);
            return false;
        };
        self.fault(start, fault.to_owned())
    }

    fn word(&mut self) -> bool {
        let rest = &self.input[self.at..];
        let len = rest.len() - rest.trim_start_matches(|c| is_word(c) || c == ':').len();
        let kind = classify(&rest[..len]);
        self.emit(kind, self.at + len)
    }

    fn word_within_brackets(&mut self, c: char) -> bool {
        let rest = &self.input[self.at..];
        let len = rest.len() - rest.trim_start_matches(is_word).len();
        let kind = match rest[..len].to_ascii_lowercase().as_str() {
            "step" => TokenKind::Keyword(Keyword::Step),
            "range" => TokenKind::Keyword(Keyword::Range),
            "min_of" | "max_of" => TokenKind::Identifier,
            _ if self.opens_brackets() => return self.unknown_duration(c),
            _ => {
                let message = format!(
                    "unexpected character: {}, expected ':'",
                    text::quote_char(Some(c))
                );
                return self.fault(self.at, message);
            }
        };
        self.emit(kind, self.at + len)
    }

    /// Whether it stands in brackets before the first number.
    fn opens_brackets(&self) -> bool {
        self.brackets.as_ref().is_some_and(|b| b.opening)
    }

    fn unknown_duration(&mut self, c: char) -> bool {
        let message = format!(
            "unexpected character in duration expression: {}",
            text::quote_char(Some(c))
        );
        self.fault(self.at, message)
    }

    fn number(&mut self) -> bool {
        if let Some(bracket) = &mut self.brackets {
            self.counted |= bracket.opening;
            bracket.opening = false;
        }
        let rest = &self.input[self.at..];
        match number::scan(rest) {
            Ok(number::Scanned::Number(len)) => self.emit(TokenKind::Number, self.at + len),
            Ok(number::Scanned::Duration(len)) => self.emit(TokenKind::Duration, self.at + len),
            Err(len) => {
                let message = format!(
                    "bad number or duration syntax: {}",
                    text::quote(&rest[..len])
                );
                self.fault(self.at, message)
            }
        }
    }

    fn string(&mut self, quote: char) -> bool {
        match text::unquote(&self.input[self.at..], quote) {
            Ok((value, len)) => self.emit(TokenKind::String(value), self.at + len),
            Err(message) => self.fault(self.at, message),
        }
    }

    fn operator(&mut self, op: BinaryOp) -> bool {
        self.emit(TokenKind::Operator(op), self.at + op.as_str().len())
    }

    fn one(&mut self, kind: TokenKind) -> bool {
        self.emit(kind, self.at + 1)
    }

    fn emit(&mut self, kind: TokenKind, end: usize) -> bool {
        self.out.push(Token {
            kind,
            start: self.at,
            end,
        });
        self.at = end;
        true
    }

    fn fault(&mut self, start: usize, message: String) -> bool {
        self.out.push(Token {
            kind: TokenKind::Fault(message),
            start,
            end: self.input.len().max(start),
        });
        false
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.input[self.at..].trim_start_matches([' ', '\t', '\n', '\r']);
            self.at = self.input.len() - rest.len();
            if !rest.starts_with('#') {
                return;
            }
            self.at = rest
                .find(['\n', '\r'])
                .map_or(self.input.len(), |end| self.at + end);
        }
    }

    fn peek(&self) -> Option<char> {
        self.input[self.at..].chars().next()
    }

    fn peek_second(&self) -> Option<char> {
        self.input[self.at..].chars().nth(1)
    }
}

/// A character of a name behind the first one.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn classify(word: &str) -> TokenKind {
    let lower = word.to_ascii_lowercase();
    if let Some(keyword) = keyword(&lower) {
        return keyword;
    }
    if word.contains(':') {
        TokenKind::MetricIdentifier
    } else {
        TokenKind::Identifier
    }
}

fn keyword(lower: &str) -> Option<TokenKind> {
    if let Some(op) = AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower) {
        return Some(TokenKind::Aggregate(op));
    }
    let keyword = match lower {
        "and" => return Some(TokenKind::Operator(BinaryOp::And)),
        "or" => return Some(TokenKind::Operator(BinaryOp::Or)),
        "unless" => return Some(TokenKind::Operator(BinaryOp::Unless)),
        "atan2" => return Some(TokenKind::Operator(BinaryOp::Atan2)),
        "inf" | "nan" => return Some(TokenKind::Number),
        "offset" => Keyword::Offset,
        "anchored" => Keyword::Anchored,
        "smoothed" => Keyword::Smoothed,
        "by" => Keyword::By,
        "without" => Keyword::Without,
        "on" => Keyword::On,
        "ignoring" => Keyword::Ignoring,
        "group_left" => Keyword::GroupLeft,
        "group_right" => Keyword::GroupRight,
        "fill" => Keyword::Fill,
        "fill_left" => Keyword::FillLeft,
        "fill_right" => Keyword::FillRight,
        "bool" => Keyword::Bool,
        "start" => Keyword::Start,
        "end" => Keyword::End,
        "step" => Keyword::Step,
        "range" => Keyword::Range,
        _ => return None,
    };
    Some(TokenKind::Keyword(keyword))
}

impl Token {
    /// How an error message names the token found.
    pub(crate) fn describe(&self, input: &str) -> String {
        let text = input.get(self.start..self.end).unwrap_or_default();
        match &self.kind {
            TokenKind::End => "end of input".to_owned(),
            TokenKind::Identifier => format!("identifier {}", quote(text)),
            TokenKind::MetricIdentifier => format!("metric identifier {}", quote(text)),
            TokenKind::Number => format!("number {}", abbreviated(text)),
            TokenKind::Duration => format!("duration {}", abbreviated(text)),
            TokenKind::String(_) => format!("string {}", abbreviated(text)),
            TokenKind::Keyword(Keyword::Start | Keyword::End) => quote(text),
            TokenKind::Keyword(_) => format!("<{text}>"),
            TokenKind::EqualRegex | TokenKind::NotRegex => format!("<op:{text}>"),
            TokenKind::Operator(BinaryOp::Ne) if text == "!=" => "<op:!=>".to_owned(),
            TokenKind::Operator(_) => format!("<op:{text}>"),
            TokenKind::At => "<op:@>".to_owned(),
            TokenKind::Aggregate(_) => format!("<aggr:{text}>"),
            TokenKind::Fault(message) => message.clone(),
            _ => quote(text),
        }
    }
}

/// Whether brackets may go on so before their first number; words are looked at by themselves.
fn may_open_brackets(rest: &str) -> bool {
    match rest.as_bytes() {
        [b'.', next, ..] => next.is_ascii_digit(),
        [first, ..] => first.is_ascii_alphanumeric() || b"]:()+-*/%^,_".contains(first),
        [] => false,
    }
}

fn abbreviated(text: &str) -> String {
    if text.len() > 10 {
        format!("{}...", quote(&text.chars().take(10).collect::<String>()))
    } else {
        quote(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(input: &str) -> Vec<&str> {
        tokens(input)
            .iter()
            .filter(|t| !matches!(t.kind, TokenKind::End | TokenKind::Fault(_)))
            .map(|t| &input[t.start..t.end])
            .collect()
    }

    fn fault(input: &str) -> Option<(usize, String)> {
        match tokens(input).pop() {
            Some(Token {
                kind: TokenKind::Fault(message),
                start,
                ..
            }) => Some((start, message)),
            _ => None,
        }
    }

    #[test]
    fn operators_of_two_characters_are_one_token() {
        assert_eq!(
            words("a</b>/c<=d>=e==f!=g"),
            [
                "a", "</", "b", ">/", "c", "<=", "d", ">=", "e", "==", "f", "!=", "g"
            ]
        );
    }

    #[test]
    fn blanks_and_comments_are_left_out() {
        assert_eq!(
            words("# one\n up\t# two\r\n{a='b'} # three"),
            ["up", "{", "a", "=", "'b'", "}"]
        );
    }

    #[test]
    fn keywords_are_known_in_any_case_outside_of_braces_only() {
        assert_eq!(
            tokens("SUM")[0].kind,
            TokenKind::Aggregate(AggregateOp::Sum)
        );
        assert_eq!(tokens("{by")[1].kind, TokenKind::Identifier);
        assert_eq!(tokens("Inf")[0].kind, TokenKind::Number);
        assert_eq!(tokens("inf_")[0].kind, TokenKind::Identifier);
        assert_eq!(tokens("a:sum")[0].kind, TokenKind::MetricIdentifier);
    }

    #[test]
    fn faults_tell_where_and_what() {
        let cases = [
            ("up $", 3, "unexpected character: '$'"),
            ("µ", 0, "unexpected character: 'µ'"),
            ("!", 0, "unexpected character after '!': '\u{fffd}'"),
            ("sum)", 4, "unexpected right parenthesis ')'"),
            ("up[5m]]", 6, "unexpected right bracket ']'"),
            ("up[5m", 5, "unclosed left bracket"),
            ("up[", 3, "unexpected end of input in duration expression"),
            ("(up", 3, "unclosed left parenthesis"),
            ("up{a", 4, "unexpected end of input inside braces"),
            ("up[1m:1m:1m]", 8, "unexpected colon ':'"),
            (
                "up[m]",
                3,
                "unexpected character in duration expression: 'm'",
            ),
            (
                "up[@",
                3,
                "unexpected character in duration expression: '@'",
            ),
            ("up[1m +", 7, "unclosed left bracket"),
            (
                "up[step():]",
                10,
                "unexpected colon before duration in duration expression",
            ),
            ("up[1m * up]", 8, "unexpected character: 'u', expected ':'"),
        ];
        for (input, start, message) in cases {
            assert_eq!(fault(input), Some((start, message.to_owned())), "{input}");
        }
    }
}
