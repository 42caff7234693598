//! Bytes of a text exposition → tokens, for both text formats.
//!
//! A token is named as upstream names it, because the names stand in the messages that operators see. Where a token cannot be
//! read, `Invalid` points at the byte that does not fit.

use memchr::{memchr, memchr2, memchr3};

/// Which grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus text 0.0.4 and 1.0.0.
    Prometheus,
    /// OpenMetrics text 0.0.1 and 1.0.0.
    OpenMetrics,
}

/// A token's kind; its bytes are [`Lexer::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Invalid,
    Eof,
    Linebreak,
    Help,
    Type,
    Unit,
    EofWord,
    Text,
    Comment,
    MName,
    QString,
    BraceOpen,
    BraceClose,
    LName,
    LValue,
    Comma,
    Equal,
    Timestamp,
    Value,
}

impl Token {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::Eof => "EOF",
            Self::Linebreak => "LINEBREAK",
            Self::Help => "HELP",
            Self::Type => "TYPE",
            Self::Unit => "UNIT",
            Self::EofWord => "EOFWORD",
            Self::Text => "TEXT",
            Self::Comment => "COMMENT",
            Self::MName => "MNAME",
            Self::QString => "QSTRING",
            Self::BraceOpen => "BOPEN",
            Self::BraceClose => "BCLOSE",
            Self::LName => "LNAME",
            Self::LValue => "LVALUE",
            Self::Comma => "COMMA",
            Self::Equal => "EQUAL",
            Self::Timestamp => "TIMESTAMP",
            Self::Value => "VALUE",
        }
    }
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Init,
    MetaName,
    MetaText,
    Labels,
    LabelValue,
    Value,
    Timestamp,
    Exemplar,
    ExemplarValue,
    ExemplarTimestamp,
}

/// Reads tokens.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    pub(super) body: &'a [u8],
    format: Format,
    state: State,
    /// Where the token begins.
    pub(super) start: usize,
    /// Where the next one begins.
    pub(super) at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(body: &'a [u8], format: Format) -> Self {
        Self {
            body,
            format,
            state: State::Init,
            start: 0,
            at: 0,
        }
    }

    /// The bytes of the last token.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.body.get(self.start..self.at).unwrap_or(&[])
    }

    fn rest(&self) -> &'a [u8] {
        self.body.get(self.at..).unwrap_or(&[])
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    pub(super) fn next(&mut self) -> Token {
        // The text format has blanks anywhere, OpenMetrics only where its tokens begin with one.
        if self.format == Format::Prometheus && self.state != State::MetaText {
            self.skip_blanks();
        }
        self.start = self.at;
        let Some(byte) = self.peek() else {
            return Token::Eof;
        };
        match self.state {
            State::Init => self.line(byte),
            State::MetaName => match byte {
                b'"' => self.quoted(true, Token::MName, State::MetaText),
                _ => self.name(is_metric_byte, Token::MName, State::MetaText),
            },
            State::MetaText => self.text(),
            State::Labels => self.label_part(byte, State::Value, State::LabelValue, true),
            State::LabelValue => {
                let lines = self.format == Format::Prometheus;
                self.quoted(lines, Token::LValue, State::Labels)
            }
            State::Value if byte == b'{' => self.one(Token::BraceOpen, State::Labels),
            State::Value => self.value(State::Timestamp),
            State::Timestamp => self.timestamp(byte),
            State::Exemplar => {
                self.label_part(byte, State::ExemplarValue, State::ExemplarValue, false)
            }
            State::ExemplarValue if byte == b'"' => {
                self.quoted(false, Token::LValue, State::Exemplar)
            }
            State::ExemplarValue => self.value(State::ExemplarTimestamp),
            State::ExemplarTimestamp if byte == b'\n' => self.one(Token::Linebreak, State::Init),
            State::ExemplarTimestamp => self.word(Token::Timestamp, State::ExemplarTimestamp),
        }
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().iter().take_while(|b| is_blank(**b)).count();
        self.at += blanks;
    }

    fn one(&mut self, token: Token, state: State) -> Token {
        self.at += 1;
        self.state = state;
        token
    }

    /// The start of a line.
    fn line(&mut self, byte: u8) -> Token {
        match byte {
            // A NUL ends the text format, wherever a line begins with it.
            0 if self.format == Format::Prometheus => Token::Eof,
            b'\n' if self.format == Format::Prometheus => self.one(Token::Linebreak, State::Init),
            b'#' if self.format == Format::Prometheus => self.comment(),
            b'#' => self.open_metrics_comment(),
            b'{' => self.one(Token::BraceOpen, State::Labels),
            _ => self.name(is_metric_byte, Token::MName, State::Value),
        }
    }

    fn comment(&mut self) -> Token {
        self.at += 1;
        let before = self.at;
        self.skip_blanks();
        if self.at > before {
            for (word, token) in [(b"HELP", Token::Help), (b"TYPE", Token::Type)] {
                let after = self.rest().strip_prefix(word);
                if after.and_then(<[u8]>::first).is_some_and(|b| is_blank(*b)) {
                    self.at += word.len();
                    self.skip_blanks();
                    self.state = State::MetaName;
                    return token;
                }
            }
        }
        self.at += memchr(b'\n', self.rest()).unwrap_or(self.rest().len());
        Token::Comment
    }

    fn open_metrics_comment(&mut self) -> Token {
        self.at += 1;
        if self.peek() != Some(b' ') {
            return Token::Invalid;
        }
        self.at += 1;
        for (word, token) in [
            (&b"HELP "[..], Token::Help),
            (b"TYPE ", Token::Type),
            (b"UNIT ", Token::Unit),
        ] {
            if self.rest().starts_with(word) {
                self.at += word.len();
                self.state = State::MetaName;
                return token;
            }
        }
        if self.rest().starts_with(b"EOF") {
            self.at += 3;
            self.at += usize::from(self.peek() == Some(b'\n'));
            return Token::EofWord;
        }
        Token::Invalid
    }

    /// The rest of a line of metadata, the blank before it included; in OpenMetrics the line's end too.
    fn text(&mut self) -> Token {
        let rest = self.rest();
        let Some(end) = memchr(b'\n', rest) else {
            self.at = self.body.len();
            return if self.format == Format::Prometheus {
                self.state = State::Init;
                Token::Text
            } else {
                Token::Invalid
            };
        };
        if self.format == Format::OpenMetrics {
            if rest.first() != Some(&b' ') {
                return Token::Invalid;
            }
            self.at += end + 1;
        } else {
            self.at += end;
            // Blanks alone are no text.
            if rest[..end].iter().all(|b| is_blank(*b)) {
                self.start = self.at;
            }
        }
        self.state = State::Init;
        Token::Text
    }

    fn name(&mut self, is_name: fn(u8, bool) -> bool, token: Token, state: State) -> Token {
        let mut bytes = self.rest().iter().enumerate();
        let length = bytes
            .find(|(i, b)| !is_name(**b, *i == 0))
            .map_or(self.rest().len(), |(i, _)| i);
        if length == 0 {
            return Token::Invalid;
        }
        self.at += length;
        self.state = state;
        token
    }

    /// A text in double quotes. `lines` says whether it may hold line breaks.
    fn quoted(&mut self, lines: bool, token: Token, state: State) -> Token {
        if self.peek() != Some(b'"') {
            return Token::Invalid;
        }
        self.at += 1;
        loop {
            let rest = self.rest();
            let found = if lines {
                memchr2(b'"', b'\\', rest)
            } else {
                memchr3(b'"', b'\\', b'\n', rest)
            };
            let Some(found) = found else {
                self.at = self.body.len();
                return Token::Invalid;
            };
            self.at += found;
            match rest[found] {
                b'"' => return self.one(token, state),
                b'\\' if rest.get(found + 1).is_some_and(|b| *b != b'\n') => self.at += 2,
                _ => return Token::Invalid,
            }
        }
    }

    /// Something between braces.
    fn label_part(&mut self, byte: u8, closed: State, equal: State, lines: bool) -> Token {
        let state = self.state;
        match byte {
            b'"' => self.quoted(lines, Token::QString, state),
            b'}' => self.one(Token::BraceClose, closed),
            b'=' => self.one(Token::Equal, equal),
            b',' => self.one(Token::Comma, state),
            _ => self.name(is_label_byte, Token::LName, state),
        }
    }

    fn value(&mut self, state: State) -> Token {
        if self.format == Format::OpenMetrics {
            return self.word(Token::Value, state);
        }
        let is_end = |b: &u8| matches!(b, b'{' | b' ' | b'\t' | b'\n');
        let length = self.rest().iter().position(is_end);
        let length = length.unwrap_or(self.rest().len());
        if length == 0 {
            return Token::Invalid;
        }
        self.at += length;
        self.state = state;
        Token::Value
    }

    fn timestamp(&mut self, byte: u8) -> Token {
        if byte == b'\n' {
            return self.one(Token::Linebreak, State::Init);
        }
        if self.format == Format::OpenMetrics {
            if self.rest().starts_with(b" # {") {
                self.at += 4;
                self.state = State::Exemplar;
                return Token::Comment;
            }
            return self.word(Token::Timestamp, State::Timestamp);
        }
        let digits = self.rest().iter().take_while(|b| b.is_ascii_digit());
        let length = digits.count();
        if length == 0 {
            return Token::Invalid;
        }
        self.at += length;
        Token::Timestamp
    }

    /// A blank and what follows it up to the next blank or the line's end.
    fn word(&mut self, token: Token, state: State) -> Token {
        let rest = self.rest();
        if rest.first() != Some(&b' ') {
            return Token::Invalid;
        }
        self.at += 1;
        let length = memchr2(b' ', b'\n', &rest[1..]).unwrap_or(rest.len() - 1);
        if length == 0 {
            return Token::Invalid;
        }
        self.at += length;
        self.state = state;
        token
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const fn is_label_byte(byte: u8, first: bool) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !first && byte.is_ascii_digit()
}

const fn is_metric_byte(byte: u8, first: bool) -> bool {
    byte == b':' || is_label_byte(byte, first)
}
