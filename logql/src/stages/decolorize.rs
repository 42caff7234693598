//! `decolorize`: takes ANSI escape sequences out of the line.

use std::borrow::Cow;

use regex::Regex;

use super::Stage;
use crate::labels::LabelBuilder;

pub(super) struct Decolorize(Regex);

impl Decolorize {
    pub(super) fn new() -> Result<Self, String> {
        // ECMA-48: CSI, parameters, a final character; and OSC up to its bell.
        Regex::new("[\u{1b}\u{9b}](?:\\][^\u{7}]*\u{7}|[\\[()#;?]*(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-nqry=><~])")
            .map(Self)
            .map_err(|e| e.to_string())
    }
}

impl Stage for Decolorize {
    fn process<'a>(
        &self,
        _t_ns: i64,
        line: Cow<'a, str>,
        _labels: &mut LabelBuilder,
    ) -> Option<Cow<'a, str>> {
        if !line.contains(['\u{1b}', '\u{9b}']) {
            return Some(line);
        }
        Some(Cow::Owned(self.0.replace_all(&line, "").into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use crate::stages::run;

    #[test]
    fn colours_go() {
        assert_eq!(
            run(
                "| decolorize",
                "\u{1b}[38;5;208mNOTICE\u{1b}[0m \u{1b}[2Ktest \u{1b}[1mdone"
            )
            .unwrap()
            .0,
            "NOTICE test done"
        );
    }
}
