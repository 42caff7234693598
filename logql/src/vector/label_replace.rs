//! `label_replace(v, "dst", "$1", "src", "(.*)")`.

use storage::model::compile_search;

use crate::ast::LabelReplaceText;
use crate::error::{Error, ParseError};
use crate::eval::Series;

/// Series that become equal are left as they are: Loki does not mind.
pub(crate) fn label_replace(
    text: &LabelReplaceText,
    mut series: Vec<Series>,
) -> Result<Vec<Series>, Error> {
    let regex = compile_search(&format!("^(?:{})$", text.regex))
        .map_err(|e| ParseError::whole(format!("invalid regex in label_replace: {e}")))?;
    for one in &mut series {
        let source = one.labels.get(&text.src).unwrap_or("");
        if let Some(captures) = regex.captures(source) {
            let mut value = String::new();
            captures.expand(&text.replacement, &mut value);
            one.labels = one.labels.with(&text.dst, &value);
        }
    }
    Ok(series)
}
