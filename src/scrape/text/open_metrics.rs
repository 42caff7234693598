//! Lines of OpenMetrics.

use storage::model::MetricType;

use super::lexer::Token;
use super::{Entry, ExemplarText, ParseError, Parser, Sample, Value, has_start, quoted};

const TYPES: [(&str, MetricType); 8] = [
    ("counter", MetricType::Counter),
    ("gauge", MetricType::Gauge),
    ("histogram", MetricType::Histogram),
    ("gaugehistogram", MetricType::GaugeHistogram),
    ("summary", MetricType::Summary),
    ("info", MetricType::Info),
    ("stateset", MetricType::StateSet),
    ("unknown", MetricType::Unknown),
];

fn no_end() -> ParseError {
    ParseError("data does not end with # EOF".to_owned())
}

impl<'a> Parser<'a> {
    pub(super) fn next_open_metrics(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        loop {
            self.begin();
            let token = self.lexer.next();
            match token {
                Token::EofWord => {
                    return match self.lexer.next() {
                        Token::Eof => Ok(None),
                        _ => Err(ParseError("unexpected data after # EOF".to_owned())),
                    };
                }
                Token::Eof => return Err(no_end()),
                Token::Help | Token::Type | Token::Unit => {
                    let (family, text) = self.metadata(token)?;
                    return match token {
                        Token::Help => self.help(family, text),
                        Token::Type => self.typed(family, text, &TYPES),
                        _ => self.unit_line(family, text),
                    }
                    .map(Some);
                }
                Token::MName | Token::BraceOpen => {
                    let next = self.name_and_labels(token)?;
                    let sample = self.open_metrics_sample(next)?;
                    if self.options.created_timestamps && self.is_created() {
                        continue;
                    }
                    return Ok(Some(Entry::Sample(sample)));
                }
                _ => return Err(self.expected("expected a valid start token", token)),
            }
        }
    }

    /// Whether the last sample tells when another series began.
    pub(super) fn is_created(&self) -> bool {
        let name = self.slice(self.name.clone().unwrap_or(0..0));
        has_start(self.metric_type) && name.ends_with(b"_created")
    }

    fn unit_line(&mut self, family: &'a [u8], unit: &'a [u8]) -> Result<Entry<'a>, ParseError> {
        let before = family.strip_suffix(unit);
        if !unit.is_empty() && !before.is_some_and(|b| b.ends_with(b"_")) {
            return Err(ParseError(format!(
                "unit {} not a suffix of metric {}",
                quoted(unit),
                quoted(family)
            )));
        }
        self.unit = unit;
        Ok(Entry::Unit(family, unit))
    }

    fn open_metrics_sample(&mut self, token: Token) -> Result<Sample, ParseError> {
        let value = self.value_after("metric", token)?;
        let mut sample = Sample {
            value: Value::Float(value),
            t_ms: None,
        };
        let mut next = self.lexer.next();
        if next == Token::Timestamp {
            sample.t_ms = Some(self.seconds("timestamp")?);
            next = self.lexer.next();
            if !matches!(next, Token::Linebreak | Token::Comment) {
                return Err(self.expected("expected next entry after timestamp", next));
            }
        }
        match next {
            Token::Linebreak => Ok(sample),
            Token::Comment => {
                self.exemplar = Some(self.read_exemplar()?);
                Ok(sample)
            }
            Token::Eof => Err(no_end()),
            other => Err(self.expected("expected a valid start token", other)),
        }
    }

    fn read_exemplar(&mut self) -> Result<ExemplarText<'a>, ParseError> {
        let start = self.lexer.at;
        self.label_list(true)?;
        let token = self.lexer.next();
        let value = self.value_after("exemplar labels", token)?;
        let end = self.lexer.at;
        let mut exemplar = ExemplarText {
            text: self.slice(start..end),
            value,
            t_ms: None,
        };
        match self.lexer.next() {
            Token::Linebreak => Ok(exemplar),
            Token::Timestamp => {
                exemplar.t_ms = Some(self.seconds("exemplar timestamp")?);
                exemplar.text = self.slice(start..self.lexer.at);
                match self.lexer.next() {
                    Token::Linebreak => Ok(exemplar),
                    other => {
                        Err(self.expected("expected next entry after exemplar timestamp", other))
                    }
                }
            }
            Token::Eof => Err(no_end()),
            other => Err(self.expected("expected timestamp or comment", other)),
        }
    }

    fn value_after(&self, what: &str, token: Token) -> Result<f64, ParseError> {
        if token != Token::Value {
            return Err(self.expected(&format!("expected value after {what}"), token));
        }
        self.float(self.lexer.bytes().get(1..).unwrap_or(b""))
    }

    /// The time in the last token, which is in seconds and begins with a blank.
    fn seconds(&self, what: &str) -> Result<i64, ParseError> {
        let seconds = self.float(self.lexer.bytes().get(1..).unwrap_or(b""))?;
        if !seconds.is_finite() {
            let word = match seconds.is_nan() {
                true => "NaN",
                false if seconds > 0.0 => "+Inf",
                false => "-Inf",
            };
            return Err(ParseError(format!("invalid {what} {word}")));
        }
        Ok((seconds * 1000.0) as i64)
    }
}
