//! Go's RE2 syntax in terms of the `regex` crate's.
//!
//! Both engines have the same semantics but not the same grammar. What differs: in Go a brace that
//! starts no repetition is a literal, `\Q..\E` quotes, `\123` is octal, the classes `\d \s \w \b`
//! are ASCII, a `[` inside a class is a literal, any punctuation may be escaped, `**` is an error,
//! and a count may be at most 1000. Source: the Go package documentation of `regexp/syntax`.

use regex::{Regex, RegexBuilder};

/// Compiled programs beyond this size are refused.
const SIZE_LIMIT_BYTES: usize = 16 << 20;

/// Compiles a pattern that must match the whole text; `.` matches a newline, as in Prometheus 3.
///
/// # Errors
/// A text worded as Go words it, where the pattern is no RE2 pattern.
pub fn compile_anchored(pattern: &str) -> Result<Regex, String> {
    compile(&format!("^(?s:{})$", translate(pattern)?), pattern)
}

/// Compiles a pattern that may match anywhere in the text.
///
/// # Errors
/// As [`compile_anchored`].
pub fn compile_search(pattern: &str) -> Result<Regex, String> {
    compile(&translate(pattern)?, pattern)
}

fn compile(translated: &str, pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(translated)
        .size_limit(SIZE_LIMIT_BYTES)
        .build()
        .map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => {
                format!(
                    "error parsing regexp: expression nests too deeply or is too large: `{pattern}`"
                )
            }
            _ => format!("error parsing regexp: invalid syntax: `{pattern}`"),
        })
}

/// Rewrites a pattern from Go's syntax to that of the `regex` crate.
///
/// # Errors
/// A text worded as Go words it.
pub fn translate(pattern: &str) -> Result<String, String> {
    let mut t = Translator {
        chars: pattern.chars().collect(),
        at: 0,
        out: String::new(),
        depth: 0,
    };
    t.run()?;
    Ok(t.out)
}

struct Translator {
    chars: Vec<char>,
    at: usize,
    out: String,
    depth: usize,
}

impl Translator {
    fn run(&mut self) -> Result<(), String> {
        // Whether a repetition may follow here, and whether the last thing was one.
        let (mut can_repeat, mut repeated) = (false, false);
        while let Some(c) = self.peek(0) {
            match c {
                '\\' => {
                    can_repeat = self.escape(false)?;
                    repeated = false;
                }
                '[' => {
                    self.class()?;
                    (can_repeat, repeated) = (true, false);
                }
                '(' => {
                    self.open_group()?;
                    (can_repeat, repeated) = (false, false);
                }
                ')' => {
                    if self.depth == 0 {
                        return Err(fault("unexpected )", &self.text(0, self.chars.len())));
                    }
                    self.depth -= 1;
                    self.take();
                    (can_repeat, repeated) = (true, false);
                }
                '|' => {
                    self.take();
                    (can_repeat, repeated) = (false, false);
                }
                '*' | '+' | '?' => {
                    let start = self.at;
                    if !can_repeat {
                        return Err(fault(
                            "missing argument to repetition operator",
                            &c.to_string(),
                        ));
                    }
                    self.take();
                    self.lazy();
                    if repeated {
                        return Err(fault(
                            "invalid nested repetition operator",
                            &self.text(start - 1, self.at),
                        ));
                    }
                    repeated = true;
                }
                '{' => match self.repetition() {
                    Some((text, min, max)) => {
                        if !can_repeat {
                            return Err(fault("missing argument to repetition operator", &text));
                        }
                        if min > 1000 || max.is_some_and(|m| m > 1000 || m < min) {
                            return Err(fault("invalid repeat count", &text));
                        }
                        if repeated {
                            return Err(fault("invalid nested repetition operator", &text));
                        }
                        self.at += text.chars().count();
                        self.out.push_str(&text);
                        self.lazy();
                        repeated = true;
                    }
                    None => {
                        self.at += 1;
                        self.out.push_str("\\{");
                        (can_repeat, repeated) = (true, false);
                    }
                },
                '}' | ']' | '#' | '&' | '~' | '-' => {
                    self.at += 1;
                    self.out.push('\\');
                    self.out.push(c);
                    (can_repeat, repeated) = (true, false);
                }
                _ => {
                    self.take();
                    (can_repeat, repeated) = (true, false);
                }
            }
        }
        if self.depth > 0 {
            return Err(fault("missing closing )", &self.text(0, self.chars.len())));
        }
        Ok(())
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take(&mut self) {
        if let Some(c) = self.peek(0) {
            self.out.push(c);
            self.at += 1;
        }
    }

    fn text(&self, from: usize, to: usize) -> String {
        let part = self.chars.get(from..to.min(self.chars.len()));
        part.unwrap_or_default().iter().collect()
    }

    fn lazy(&mut self) {
        if self.peek(0) == Some('?') {
            self.take();
        }
    }

    /// `{n}`, `{n,}` or `{n,m}` at this place.
    fn repetition(&self) -> Option<(String, u32, Option<u32>)> {
        let close = self.chars[self.at..].iter().position(|&c| c == '}')? + self.at;
        let inner = self.text(self.at + 1, close);
        let number = |s: &str| {
            (!s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()))
                .then(|| s.parse::<u32>().unwrap_or(u32::MAX))
        };
        let (min, max) = match inner.split_once(',') {
            None => (number(&inner)?, Some(number(&inner)?)),
            Some((min, "")) => (number(min)?, None),
            Some((min, max)) => (number(min)?, Some(number(max)?)),
        };
        Some((self.text(self.at, close + 1), min, max))
    }

    fn open_group(&mut self) -> Result<(), String> {
        self.take();
        self.depth += 1;
        if self.peek(0) != Some('?') {
            return Ok(());
        }
        let start = self.at - 1;
        self.take();
        let left = self.chars.len() - start;
        let is_named = match self.peek(0) {
            Some('P') => self.peek(1) == Some('<') && left > 4,
            Some('<') => left > 3,
            _ => false,
        };
        if is_named {
            let close = self.chars[self.at..].iter().position(|&c| c == '>');
            let Some(close) = close.map(|i| i + self.at) else {
                return Err(fault(
                    "invalid named capture",
                    &self.text(start, self.chars.len()),
                ));
            };
            let open = self.at + usize::from(self.peek(0) == Some('P'));
            let name = self.text(open + 1, close);
            let good =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !good {
                return Err(fault("invalid named capture", &self.text(start, close + 1)));
            }
            while self.at <= close {
                self.take();
            }
            return Ok(());
        }
        while let Some(c) = self.peek(0) {
            match c {
                'i' | 'm' | 's' | 'U' | '-' => self.take(),
                ':' => {
                    self.take();
                    return Ok(());
                }
                ')' => {
                    self.take();
                    self.depth -= 1;
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(fault(
            "invalid or unsupported Perl syntax",
            &self.text(start, self.at + 1),
        ))
    }

    /// Translates an escape and says whether it can be repeated.
    fn escape(&mut self, in_class: bool) -> Result<bool, String> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.peek(0) else {
            return Err("error parsing regexp: trailing backslash at end of expression: ``".into());
        };
        self.at += 1;
        let ascii = |class: &str| {
            if in_class {
                class.to_owned()
            } else {
                format!("[{class}]")
            }
        };
        match c {
            'd' => self.out.push_str(&ascii("0-9")),
            's' => self.out.push_str(&ascii("\\t\\n\\x0C\\r ")),
            'w' => self.out.push_str(&ascii("0-9A-Za-z_")),
            'D' => self.out.push_str("[^0-9]"),
            'S' => self.out.push_str("[^\\t\\n\\x0C\\r ]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            'b' | 'B' if !in_class => {
                self.out.push_str("(?-u:\\");
                self.out.push(c);
                self.out.push(')');
            }
            'A' | 'z' if !in_class => {
                self.out.push('\\');
                self.out.push(c);
            }
            'a' | 'f' | 't' | 'n' | 'r' | 'v' => {
                self.out.push('\\');
                self.out.push(c);
            }
            'Q' if !in_class => {
                let mut any = false;
                while let Some(c) = self.peek(0) {
                    if c == '\\' && self.peek(1) == Some('E') {
                        self.at += 2;
                        break;
                    }
                    any = true;
                    self.out.push_str(&regex::escape(&c.to_string()));
                    self.at += 1;
                }
                return Ok(any);
            }
            'p' | 'P' => self.unicode_class(c, start)?,
            'x' => self.hex(start)?,
            '0'..='7' => {
                let octal = |c: Option<char>| c.is_some_and(|c| ('0'..='7').contains(&c));
                if c != '0' && !octal(self.peek(0)) {
                    return Err(fault("invalid escape sequence", &self.text(start, self.at)));
                }
                let mut n = c as u32 - '0' as u32;
                for _ in 0..2 {
                    if let Some(d) = self.peek(0).filter(|_| octal(self.peek(0))) {
                        n = n * 8 + (d as u32 - '0' as u32);
                        self.at += 1;
                    }
                }
                self.out.push_str(&format!("\\x{{{n:x}}}"));
            }
            c if c.is_ascii_alphanumeric() || !c.is_ascii() => {
                return Err(fault("invalid escape sequence", &self.text(start, self.at)));
            }
            c => self.out.push_str(&format!("\\x{{{:x}}}", c as u32)),
        }
        Ok(true)
    }

    fn unicode_class(&mut self, letter: char, start: usize) -> Result<(), String> {
        let name = match self.peek(0) {
            Some('{') => {
                let close = self.chars[self.at..].iter().position(|&c| c == '}');
                let Some(close) = close.map(|i| i + self.at) else {
                    return Err(fault(
                        "invalid character class range",
                        &self.text(start, self.chars.len()),
                    ));
                };
                let name = self.text(self.at + 1, close);
                self.at = close + 1;
                name
            }
            Some(c) => {
                self.at += 1;
                c.to_string()
            }
            None => {
                return Err(fault(
                    "invalid character class range",
                    &self.text(start, self.at),
                ));
            }
        };
        let (negated, name) = match name.strip_prefix('^') {
            Some(rest) => (letter == 'p', rest.to_owned()),
            None => (letter == 'P', name),
        };
        self.out.push_str(if negated { "\\P{" } else { "\\p{" });
        self.out.push_str(&name);
        self.out.push('}');
        Ok(())
    }

    fn hex(&mut self, start: usize) -> Result<(), String> {
        let digits = if self.peek(0) == Some('{') {
            let close = self.chars[self.at..].iter().position(|&c| c == '}');
            let Some(close) = close.map(|i| i + self.at) else {
                return Err(fault(
                    "invalid escape sequence",
                    &self.text(start, self.chars.len()),
                ));
            };
            let digits = self.text(self.at + 1, close);
            self.at = close + 1;
            digits
        } else {
            let digits = self.text(self.at, self.at + 2);
            self.at = (self.at + 2).min(self.chars.len());
            if digits.len() < 2 {
                String::new()
            } else {
                digits
            }
        };
        match u32::from_str_radix(&digits, 16)
            .ok()
            .and_then(char::from_u32)
        {
            Some(c) => {
                self.out.push_str(&format!("\\x{{{:x}}}", c as u32));
                Ok(())
            }
            None => Err(fault("invalid escape sequence", &self.text(start, self.at))),
        }
    }

    fn class(&mut self) -> Result<(), String> {
        let start = self.at;
        self.take();
        if self.peek(0) == Some('^') {
            self.take();
        }
        let mut first = true;
        loop {
            let Some(c) = self.peek(0) else {
                return Err(fault(
                    "missing closing ]",
                    &self.text(start, self.chars.len()),
                ));
            };
            match c {
                ']' if !first => {
                    self.take();
                    return Ok(());
                }
                '[' if self.peek(1) == Some(':') => {
                    let rest = self.text(self.at, self.chars.len());
                    match rest.find(":]") {
                        Some(end) => {
                            let name = &rest[..end + 2];
                            self.at += name.chars().count();
                            self.out.push_str(name);
                        }
                        None => {
                            self.at += 1;
                            self.out.push_str("\\[");
                        }
                    }
                }
                '\\' => {
                    self.escape(true)?;
                }
                '[' | ']' | '&' | '~' => {
                    self.at += 1;
                    self.out.push('\\');
                    self.out.push(c);
                }
                // A minus between two characters is a range; at either end it is itself.
                '-' if first || self.peek(1) == Some(']') => {
                    self.at += 1;
                    self.out.push_str("\\-");
                }
                _ => self.take(),
            }
            first = false;
        }
    }
}

fn fault(what: &str, where_: &str) -> String {
    format!("error parsing regexp: {what}: `{where_}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_patterns_match_as_in_go() {
        #[rustfmt::skip]
        let cases = [
            ("{gid}", "{gid}", true), ("a{,5}", "a{,5}", true), ("a{2,3}", "aaa", true), ("a{2}", "a", false),
            (r"\Qa.b\E+", "a.bbb", true), (r"\Qa.b", "a.b", true), (r"\d+", "١٢", false), (r"\d+", "12", true),
            (r"\101", "A", true), (r"\x{41}\x42", "AB", true), ("[[a]", "[", true), ("[a&&b]", "&", true),
            ("[]a]+", "a]", true), ("[^]a]", "b", true), (r"\_\<\-", "_<-", true), ("a.b", "a\nb", true),
            ("foo|bar", "bar", true), ("foo|bar", "xbar", false), ("(?i)abc", "ABC", true), (r"\pL+", "ä", true),
            (r"\p{^Greek}", "α", false), ("[[:alpha:]]+", "abc", true), (r"[\w-]+", "a-b", true), ("[a-]+", "a-", true),
            ("}", "}", true), ("", "", true), (r"\bfoo\b", "foo", true), (r"[\d.]+", "1.2", true), ("(?U)a+", "aa", true),
            ("a#b", "a#b", true), ("x-y", "x-y", true), (r"\s", "\u{b}", false), ("(?P<n>a)", "a", true), ("(?<n>a)", "a", true),
        ];
        for (pattern, text, expected) in cases {
            let regex = compile_anchored(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(regex.is_match(text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        #[rustfmt::skip]
        let cases = [
            ("a**", "error parsing regexp: invalid nested repetition operator: `**`"),
            ("*", "error parsing regexp: missing argument to repetition operator: `*`"),
            ("(", "error parsing regexp: missing closing ): `(`"),
            (")", "error parsing regexp: unexpected ): `)`"),
            ("[a", "error parsing regexp: missing closing ]: `[a`"),
            ("a{1001}", "error parsing regexp: invalid repeat count: `{1001}`"),
            (r"\1", r"error parsing regexp: invalid escape sequence: `\1`"),
            ("(?=a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
            ("(?P>x>a+)", "error parsing regexp: invalid or unsupported Perl syntax: `(?P`"),
            ("(?P=x)", "error parsing regexp: invalid or unsupported Perl syntax: `(?P`"),
            ("(?P<", "error parsing regexp: invalid or unsupported Perl syntax: `(?P`"),
            ("(?<", "error parsing regexp: invalid or unsupported Perl syntax: `(?<`"),
            ("(?P<>a)", "error parsing regexp: invalid named capture: `(?P<>`"),
            ("(?P<a b>a)", "error parsing regexp: invalid named capture: `(?P<a b>`"),
            ("(?P<a", "error parsing regexp: invalid named capture: `(?P<a`"),
            ("a\\", "error parsing regexp: trailing backslash at end of expression: ``"),
        ];
        for (pattern, expected) in cases {
            assert_eq!(
                compile_anchored(pattern).map(|_| ()),
                Err(expected.to_owned()),
                "{pattern}"
            );
        }
    }
}
