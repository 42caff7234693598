//! The functions on texts.

use std::net::IpAddr;

/// Replaces all matches; `$1` and `${name}` stand for groups.
///
/// # Errors
/// A pattern that is none.
pub(super) fn replace_all(pattern: &str, with: &str, text: &str) -> Result<String, String> {
    let regex = storage::model::compile_search(pattern).map_err(|e| {
        let quoted = if pattern.contains('`') {
            promql::lexer::quote(pattern)
        } else {
            format!("`{pattern}`")
        };
        format!("regexp: Compile({quoted}): {e}")
    })?;
    Ok(regex.replace_all(text, with).into_owned())
}

/// The path of a URL, without a slash at its end.
pub(super) fn path_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = behind.find('/').map_or("", |at| &behind[at..]);
    path.trim_end_matches('/')
}

/// The first letter of each word in upper case, the others as they are. Digits before it do not count; a word ends at what is
/// neither a letter nor a digit nor an underscore, but not at an apostrophe, a point or a colon between two letters.
pub(super) fn title(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for (at, &c) in chars.iter().enumerate() {
        if !inside && c.is_alphabetic() {
            push_title(&mut out, c);
            inside = true;
            continue;
        }
        out.push(c);
        let is_letter = |at: Option<usize>| {
            at.and_then(|at| chars.get(at))
                .is_some_and(|c| c.is_alphabetic())
        };
        let between = is_letter(at.checked_sub(1)) && is_letter(at.checked_add(1));
        let joins = between && matches!(c, '\'' | '’' | '.' | ':' | '·');
        inside = inside && (c.is_alphanumeric() || c == '_' || joins || is_mark(c));
    }
    out
}

/// Whether a character goes on top of the one before.
const fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// A letter as words begin: of those that are two in one only the first is large.
fn push_title(out: &mut String, c: char) {
    match c {
        'Ǆ'..='ǆ' => out.push('ǅ'),
        'Ǉ'..='ǉ' => out.push('ǈ'),
        'Ǌ'..='ǌ' => out.push('ǋ'),
        'Ǳ'..='ǳ' => out.push('ǲ'),
        c => {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
    }
}

/// Host and port of `host:port` and `[host]:port`; nothing where there is no port, or where it is not clear.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let at = text.rfind(':')?;
    let (host, port) = (&text[..at], &text[at + 1..]);
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    if host.contains(['[', ']']) || port.contains(['[', ']']) {
        return None;
    }
    Some((host, port))
}

/// The host of an address.
pub(super) fn strip_port(text: &str) -> String {
    split_host_port(text)
        .map_or(text, |(host, _)| host)
        .to_owned()
}

/// An address with the first element of its host's name alone; IP addresses stay.
pub(super) fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or(host);
    match port {
        "" => host.to_owned(),
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    }
}

/// A Prometheus duration, which may be negative, in seconds.
///
/// # Errors
/// In upstream's words.
pub(super) fn parse_duration(text: &str) -> Result<f64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text),
    };
    crate::config::parse_duration(digits).map(|d| sign * d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_port_and_domain() {
        for (text, expected) in [
            ("h:9", "h"),
            ("[::1]:9", "::1"),
            ("::1", "::1"),
            ("h", "h"),
            ("a:b:c", "a:b:c"),
        ] {
            assert_eq!(strip_port(text), expected, "{text}");
        }
        for (text, expected) in [
            ("web.example.org:8080", "web:8080"),
            ("web.example.org", "web"),
            ("10.0.0.1:9100", "10.0.0.1:9100"),
            ("[::1]:9100", "[::1]:9100"),
            ("web:1", "web:1"),
        ] {
            assert_eq!(strip_domain(text), expected, "{text}");
        }
    }

    #[test]
    fn words_begin_in_upper_case() {
        for (text, expected) in [
            ("two words", "Two Words"),
            ("it's a-b foo_bar LOUD", "It's A-B Foo_bar LOUD"),
            ("1st 2nd-place x1y _a 1.5a", "1St 2Nd-Place X1y _A 1.5A"),
            ("a.b.c a:b 'quoted' x'", "A.b.c A:b 'Quoted' X'"),
            ("a,b a/b a@b .z", "A,B A/B A@B .Z"),
            (
                "a\u{301}b ß ﬁx ǆx 日本 iPhone",
                "A\u{301}b Ss Fix ǅx 日本 IPhone",
            ),
            ("", ""),
        ] {
            assert_eq!(title(text), expected, "{text}");
        }
    }

    #[test]
    fn urls_have_paths() {
        assert_eq!(path_of("http://h:9090/prom/"), "/prom");
        assert_eq!(path_of("http://h:9090"), "");
    }

    #[test]
    fn durations_may_be_negative() {
        assert_eq!(parse_duration("1h30m"), Ok(5400.0));
        assert_eq!(parse_duration("-1s"), Ok(-1.0));
        assert!(parse_duration("x").is_err());
    }
}
