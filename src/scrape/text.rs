//! The text formats of a scrape: Prometheus text 0.0.4 and 1.0.0, OpenMetrics 1.0.
//!
//! ```text
//! # TYPE requests counter            ─▶ Entry::Type
//! requests_total{path="/"} 3 # {…} 1 ─▶ Entry::Sample: the series as it is written, value, time, exemplar
//! ```
//! The parser borrows the body and allocates nothing for a sample. Labels are taken apart only when somebody asks for them: a
//! series that was there in the last scrape is known by its bytes. Errors are worded as upstream words them; operators see them as
//! a target's last error.
//!
//! Sources: prometheus.io/docs/instrumenting/exposition_formats, prometheus.io/docs/specs/om/open_metrics_spec.

mod created;
mod lexer;
mod open_metrics;
mod prometheus;

use std::borrow::Cow;

use promql::lexer::{quote, quote_bytes};
use storage::model::{METRIC_NAME, MetricType};

use super::exposition::{
    Entry, ExemplarText, Exposition, ParseError, Sample, TextLabels, TextOptions, Value,
};
use created::Created;
use lexer::{Format, Lexer, Token};

/// Bytes of a body that a message quotes at most.
const MAX_QUOTED: usize = 1024;

type Span = std::ops::Range<usize>;

/// Walks over a body.
#[derive(Clone, Debug)]
pub struct Parser<'a> {
    lexer: Lexer<'a>,
    format: Format,
    options: TextOptions,
    /// Where the line begins.
    line: usize,
    /// The last sample's series as it is written, without value and time.
    series: &'a [u8],
    /// Its metric's name.
    name: Option<Span>,
    labels: Vec<(Span, Span)>,
    exemplar: Option<ExemplarText<'a>>,
    exemplar_labels: Vec<(Span, Span)>,
    family: &'a [u8],
    metric_type: MetricType,
    unit: &'a [u8],
    created: Created,
}

impl<'a> Parser<'a> {
    /// A body in the text format of Prometheus. It must end with a line break, or its last line counts as unfinished.
    #[must_use]
    pub fn prometheus(body: &'a [u8], options: TextOptions) -> Self {
        Self::new(body, Format::Prometheus, options)
    }

    /// A body in OpenMetrics.
    #[must_use]
    pub fn open_metrics(body: &'a [u8], options: TextOptions) -> Self {
        let mut parser = Self::new(body, Format::OpenMetrics, options);
        if options.created_timestamps {
            parser.created = Created::read(parser.clone());
        }
        parser
    }

    fn new(body: &'a [u8], format: Format, options: TextOptions) -> Self {
        Self {
            lexer: Lexer::new(body, format),
            format,
            options,
            line: 0,
            series: b"",
            name: None,
            labels: Vec::new(),
            exemplar: None,
            exemplar_labels: Vec::new(),
            family: b"",
            metric_type: MetricType::Unknown,
            unit: b"",
            created: Created::default(),
        }
    }

    fn slice(&self, span: Span) -> &'a [u8] {
        self.lexer.body.get(span).unwrap_or(b"")
    }

    fn unescaped(&self, span: Span) -> Result<Cow<'a, str>, ParseError> {
        let bytes = self.slice(span);
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(unescape(text, true)),
            Err(_) => Err(ParseError(format!(
                "invalid metric name or label names: {}",
                quoted(bytes)
            ))),
        }
    }

    /// Where the last name or quoted text lies, without its quotes.
    fn unquoted(&self) -> Span {
        unquoted_span(self.lexer.body, self.lexer.start..self.lexer.at)
    }

    fn expected(&self, what: &str, got: Token) -> ParseError {
        let end = self.lexer.body.len().min(self.lexer.at + 1);
        ParseError(format!(
            "{what}, got {} ({}) while parsing: {}",
            quoted(self.slice(self.lexer.start..end)),
            quote(got.as_str()),
            quoted(self.slice(self.line..end))
        ))
    }

    fn while_parsing(&self, fault: &str) -> ParseError {
        let line = quoted(self.slice(self.line..self.lexer.at));
        ParseError(format!("{fault} while parsing: {line}"))
    }

    /// Reads labels up to the closing brace. In a series a quoted text alone is the metric's name.
    fn label_list(&mut self, exemplar: bool) -> Result<(), ParseError> {
        let mut token = self.lexer.next();
        loop {
            let span = self.lexer.start..self.lexer.at;
            let is_quoted = match token {
                Token::BraceClose => return Ok(()),
                Token::LName => false,
                Token::QString => true,
                _ => return Err(self.expected("expected label name", token)),
            };
            token = self.lexer.next();
            if is_quoted && matches!(token, Token::Comma | Token::BraceClose) {
                if exemplar {
                    return Err(self.expected("expected label name", token));
                }
                if self.name.is_some() {
                    return Err(self.while_parsing("metric name already set"));
                }
                self.name = Some(unquoted_span(self.lexer.body, span));
                if token == Token::BraceClose {
                    return Ok(());
                }
                token = self.lexer.next();
                continue;
            }
            if token != Token::Equal {
                return Err(self.expected("expected equal", token));
            }
            token = self.lexer.next();
            if token != Token::LValue {
                return Err(self.expected("expected label value", token));
            }
            if std::str::from_utf8(self.lexer.bytes()).is_err() {
                let value = quoted(self.lexer.bytes());
                return Err(ParseError(format!("invalid UTF-8 label value: {value}")));
            }
            let name = unquoted_span(self.lexer.body, span);
            let value = self.unquoted();
            if exemplar {
                self.exemplar_labels.push((name, value));
            } else {
                self.labels.push((name, value));
            }
            token = self.lexer.next();
            // The text format does without commas, by accident or not.
            if token == Token::Comma {
                token = self.lexer.next();
            } else if self.format == Format::OpenMetrics && token != Token::BraceClose {
                return Err(self.expected("expected comma or brace close", token));
            }
        }
    }

    /// Begins a line.
    fn begin(&mut self) {
        self.line = self.lexer.at;
        self.name = None;
        self.labels.clear();
        self.exemplar = None;
        self.exemplar_labels.clear();
    }

    /// Reads name and labels, of which the first token is given. Returns the token behind them.
    fn name_and_labels(&mut self, first: Token) -> Result<Token, ParseError> {
        let start = self.lexer.start;
        let mut open = first == Token::BraceOpen;
        let mut end = self.lexer.at;
        let mut next = first;
        if !open {
            self.name = Some(start..end);
            next = self.lexer.next();
            open = next == Token::BraceOpen;
        }
        if open {
            self.label_list(false)?;
            end = self.lexer.at;
            next = self.lexer.next();
        }
        if self.name.is_none() {
            return Err(self.while_parsing("metric name not set"));
        }
        self.series = self.slice(start..end);
        Ok(next)
    }

    fn float(&self, text: &[u8]) -> Result<f64, ParseError> {
        parse_float(text).map_err(|e| self.while_parsing(&e))
    }

    /// The family's name and the text of a line of metadata.
    fn metadata(&mut self, token: Token) -> Result<(&'a [u8], &'a [u8]), ParseError> {
        let name = self.lexer.next();
        if name != Token::MName {
            let what = format!("expected metric name after {}", token.as_str());
            return Err(self.expected(&what, name));
        }
        let family = self.slice(self.unquoted());
        let text = self.lexer.next();
        if text != Token::Text {
            return Err(ParseError(match self.format {
                Format::Prometheus => {
                    format!("expected text in {}, got {}", token.as_str(), text.as_str())
                }
                Format::OpenMetrics => format!("expected text in {}", token.as_str()),
            }));
        }
        let text = self.lexer.bytes();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        if self.family != family {
            self.family = family;
            self.unit = b"";
        }
        Ok((family, text.get(1..).unwrap_or(b"")))
    }

    fn help(&self, family: &'a [u8], text: &'a [u8]) -> Result<Entry<'a>, ParseError> {
        let Ok(valid) = std::str::from_utf8(text) else {
            let text = quoted(text);
            return Err(ParseError(format!(
                "help text {text} is not a valid utf8 string"
            )));
        };
        // Only OpenMetrics escapes quotes here.
        let quotes = self.format == Format::OpenMetrics;
        Ok(Entry::Help(family, unescape(valid, quotes)))
    }

    fn typed(
        &mut self,
        family: &'a [u8],
        text: &[u8],
        words: &[(&str, MetricType)],
    ) -> Result<Entry<'a>, ParseError> {
        let found = words.iter().find(|(word, _)| word.as_bytes() == text);
        let Some((_, metric_type)) = found else {
            return Err(ParseError(format!("invalid metric type {}", quoted(text))));
        };
        self.metric_type = *metric_type;
        Ok(Entry::Type(family, *metric_type))
    }
}

impl<'a> Exposition<'a> for Parser<'a> {
    fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        match self.format {
            Format::Prometheus => self.next_prometheus(),
            Format::OpenMetrics => self.next_open_metrics(),
        }
    }

    fn series(&self) -> &[u8] {
        self.series
    }

    fn labels(&self, out: &mut TextLabels<'a>) -> Result<(), ParseError> {
        out.clear();
        let name = self.unescaped(self.name.clone().unwrap_or(0..0))?;
        out.push((Cow::Borrowed(METRIC_NAME), name));
        let own = if self.options.type_and_unit_labels {
            [
                ("__type__", type_label(self.metric_type)),
                ("__unit__", std::str::from_utf8(self.unit).unwrap_or("")),
            ]
        } else {
            [("", ""); 2]
        };
        let own = own.into_iter().filter(|(_, value)| !value.is_empty());
        for (name, value) in own.clone() {
            out.push((Cow::Borrowed(name), Cow::Borrowed(value)));
        }
        for (name, value) in &self.labels {
            let name = self.unescaped(name.clone())?;
            if own.clone().any(|(own, _)| own == name) {
                continue;
            }
            let value = self.unescaped(value.clone())?;
            let value = normalized(self.metric_type, &name, value);
            out.push((name, value));
        }
        Ok(())
    }

    fn exemplars(&self) -> &[ExemplarText<'a>] {
        self.exemplar.as_slice()
    }

    fn exemplar_labels(&self, _: usize, out: &mut TextLabels<'a>) -> Result<(), ParseError> {
        out.clear();
        for (name, value) in &self.exemplar_labels {
            out.push((
                self.unescaped(name.clone())?,
                self.unescaped(value.clone())?,
            ));
        }
        Ok(())
    }

    fn start_ms(&self) -> Option<i64> {
        let counts = self.options.created_timestamps && has_start(self.metric_type);
        counts.then(|| self.created.get(self)).flatten()
    }
}

/// Whether a type has a time at which its counting began.
const fn has_start(metric_type: MetricType) -> bool {
    matches!(
        metric_type,
        MetricType::Counter | MetricType::Histogram | MetricType::Summary
    )
}

pub(super) const fn type_label(metric_type: MetricType) -> &'static str {
    match metric_type {
        MetricType::Unknown => "",
        known => known.as_str(),
    }
}

fn unquoted_span(body: &[u8], span: Span) -> Span {
    match body.get(span.clone()) {
        Some([b'"', .., b'"']) => span.start + 1..span.end - 1,
        _ => span,
    }
}

fn quoted(bytes: &[u8]) -> String {
    match bytes.get(..MAX_QUOTED) {
        Some(begin) if begin.len() < bytes.len() => format!("{}...", quote_bytes(begin)),
        _ => quote_bytes(bytes),
    }
}

/// Resolves `\\`, `\n` and, where `quotes` says so, `\"`. Other escapes stay as they are.
fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (with, taken) = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => ("\\", 2),
            Some(b'n') => ("\n", 2),
            Some(b'"') if quotes => ("\"", 2),
            _ => ("\\", 1),
        };
        out.push_str(with);
        rest = &rest[at + taken..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// A number as Go reads it, without the forms that are newer than the formats. NaN is the ordinary one.
fn parse_float(text: &[u8]) -> Result<f64, String> {
    if text.iter().any(|b| matches!(b, b'p' | b'P' | b'_')) {
        return Err("unsupported character in float".to_owned());
    }
    let fault = |what: &str| format!("strconv.ParseFloat: parsing {}: {what}", quoted(text));
    let plain = std::str::from_utf8(text).map_err(|_| fault("invalid syntax"))?;
    let value: f64 = plain.parse().map_err(|_| fault("invalid syntax"))?;
    if value.is_nan() {
        // A sign before it is refused by Go and taken by Rust.
        return match text[0] {
            b'+' | b'-' => Err(fault("invalid syntax")),
            _ => Ok(f64::from_bits(NORMAL_NAN_BITS)),
        };
    }
    if value.is_infinite() && text.iter().any(u8::is_ascii_digit) {
        return Err(fault("value out of range"));
    }
    Ok(value)
}

/// The NaN that is no staleness marker.
pub(super) const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Bucket bounds and quantiles are written as OpenMetrics writes numbers, so that both formats name the same series.
fn normalized<'a>(metric_type: MetricType, name: &str, value: Cow<'a, str>) -> Cow<'a, str> {
    let is_number = matches!(
        (metric_type, name),
        (MetricType::Histogram, "le") | (MetricType::Summary, "quantile")
    );
    if !is_number {
        return value;
    }
    match parse_float(value.as_bytes()) {
        Ok(number) => {
            let text = open_metrics_float(number);
            if text == value {
                value
            } else {
                Cow::Owned(text)
            }
        }
        Err(_) => value,
    }
}

/// `1.0`, `0.1`, `1e+21`, `+Inf`: a point or an exponent is always there.
pub(super) fn open_metrics_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return "0.0".to_owned();
    }
    // The exponent decides, as in Go's shortest form.
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests;
