//! Lines of the text format of Prometheus.

use storage::model::MetricType;

use super::lexer::Token;
use super::{Entry, ParseError, Parser, Sample, Value};

const TYPES: [(&str, MetricType); 5] = [
    ("counter", MetricType::Counter),
    ("gauge", MetricType::Gauge),
    ("histogram", MetricType::Histogram),
    ("summary", MetricType::Summary),
    ("untyped", MetricType::Unknown),
];

impl<'a> Parser<'a> {
    pub(super) fn next_prometheus(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            self.begin();
            let token = self.lexer.next();
            match token {
                Token::Eof => return Ok(None),
                Token::Linebreak => {}
                Token::Comment => self.end_of_line("linebreak expected after comment")?,
                Token::Help | Token::Type => {
                    let (family, text) = self.metadata(token)?;
                    let entry = match token {
                        Token::Type => self.typed(family, text, &TYPES),
                        _ => self.help(family, text),
                    }?;
                    self.end_of_line("linebreak expected after metadata")?;
                    return Ok(Some(entry));
                }
                Token::MName | Token::BraceOpen => {
                    let next = self.name_and_labels(token)?;
                    return self.sample(next).map(Some);
                }
                _ => return Err(self.expected("expected a valid start token", token)),
            }
        }
    }

    fn end_of_line(&mut self, what: &str) -> Result<(), ParseError> {
        match self.lexer.next() {
            Token::Linebreak => Ok(()),
            other => Err(self.expected(what, other)),
        }
    }

    fn sample(&mut self, token: Token) -> Result<Entry<'a>, ParseError> {
        if token != Token::Value {
            return Err(self.expected("expected value after metric", token));
        }
        let value = self.float(self.lexer.bytes())?;
        let t_ms = match self.lexer.next() {
            Token::Linebreak => None,
            Token::Timestamp => {
                let digits = std::str::from_utf8(self.lexer.bytes()).unwrap_or("");
                let t_ms = digits.parse().map_err(|_| {
                    self.while_parsing(&format!(
                        "strconv.ParseInt: parsing {digits:?}: value out of range"
                    ))
                })?;
                self.end_of_line("expected next entry after timestamp")?;
                Some(t_ms)
            }
            other => return Err(self.expected("expected timestamp or new record", other)),
        };
        Ok(Entry::Sample(Sample {
            value: Value::Float(value),
            t_ms,
        }))
    }
}
