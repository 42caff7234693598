use super::*;

fn rules(yaml: &str) -> Result<Vec<RelabelConfig>, String> {
    serde_yaml_ng::from_str(yaml).map_err(|e| e.to_string())
}

/// Relabels `before` by rules in YAML and prints what is left.
fn check(yaml: &str, before: &[(&str, &str)]) -> String {
    let labels = Labels::from_pairs(before.iter().copied());
    relabel(&rules(yaml).unwrap(), &labels).map_or_else(|| "dropped".to_owned(), |l| l.to_string())
}

const LABELS: [(&str, &str); 3] = [("a", "foo"), ("b", "Bar"), ("c", "baz-7")];

#[test]
fn replace_writes_what_the_captures_say() {
    for (rule, expected) in [
        (
            "{source_labels: [a], target_label: d}",
            r#"{a="foo", b="Bar", c="baz-7", d="foo"}"#,
        ),
        (
            "{source_labels: [a, b], separator: '@', regex: 'f(.*)@(.*)r', target_label: d, replacement: '${2}-$1'}",
            r#"{a="foo", b="Bar", c="baz-7", d="Ba-oo"}"#,
        ),
        (
            "{source_labels: [c], regex: '(.*)-([0-9]+)', target_label: '${1}_n', replacement: '$2'}",
            r#"{a="foo", b="Bar", baz_n="7", c="baz-7"}"#,
        ),
        // The whole value must match.
        (
            "{source_labels: [a], regex: 'fo', target_label: a, replacement: x}",
            r#"{a="foo", b="Bar", c="baz-7"}"#,
        ),
        // An empty result removes the label.
        (
            "{source_labels: [a], regex: 'foo', target_label: b, replacement: ''}",
            r#"{a="foo", c="baz-7"}"#,
        ),
        (
            "{source_labels: [nope], target_label: b}",
            r#"{a="foo", c="baz-7"}"#,
        ),
        (
            "{target_label: d, replacement: constant}",
            r#"{a="foo", b="Bar", c="baz-7", d="constant"}"#,
        ),
        // A name that follows the number belongs to the reference.
        (
            "{source_labels: [a], regex: '(.*)', target_label: d, replacement: 'x$1y'}",
            r#"{a="foo", b="Bar", c="baz-7", d="x"}"#,
        ),
        (
            "{source_labels: [a], regex: '(?P<all>.*)', target_label: d, replacement: '$$$all'}",
            r#"{a="foo", b="Bar", c="baz-7", d="$foo"}"#,
        ),
    ] {
        assert_eq!(check(&format!("[{rule}]"), &LABELS), expected, "{rule}");
    }
}

#[test]
fn keep_and_drop_decide_by_the_joined_value() {
    for (rule, kept) in [
        (
            "{source_labels: [a, b], regex: 'foo;Bar', action: keep}",
            true,
        ),
        ("{source_labels: [a], regex: 'fo', action: keep}", false),
        ("{source_labels: [nope], regex: '', action: keep}", true),
        ("{source_labels: [a], regex: 'foo|x', action: drop}", false),
        ("{source_labels: [a], regex: 'f', action: Drop}", true),
        ("{action: drop}", false),
        (
            "{source_labels: [a], target_label: a, action: keepequal}",
            true,
        ),
        (
            "{source_labels: [a], target_label: b, action: keepequal}",
            false,
        ),
        (
            "{source_labels: [a], target_label: a, action: dropequal}",
            false,
        ),
        (
            "{source_labels: [a], target_label: b, action: dropequal}",
            true,
        ),
    ] {
        assert_eq!(
            check(&format!("[{rule}]"), &LABELS) != "dropped",
            kept,
            "{rule}"
        );
    }
}

#[test]
fn the_other_actions_change_names_and_values() {
    for (rule, expected) in [
        (
            "{source_labels: [a], modulus: 1000, target_label: h, action: hashmod}",
            r#"{a="foo", b="Bar", c="baz-7", h="696"}"#,
        ),
        (
            "{regex: '(b|c)', replacement: 'copy_$1', action: labelmap}",
            r#"{a="foo", b="Bar", c="baz-7", copy_b="Bar", copy_c="baz-7"}"#,
        ),
        ("{regex: 'a|c', action: labeldrop}", r#"{b="Bar"}"#),
        (
            "{regex: 'a|c', action: labelkeep}",
            r#"{a="foo", c="baz-7"}"#,
        ),
        (
            "{source_labels: [b], target_label: b, action: lowercase}",
            r#"{a="foo", b="bar", c="baz-7"}"#,
        ),
        (
            "{source_labels: [a, b], target_label: b, action: uppercase}",
            r#"{a="foo", b="FOO;BAR", c="baz-7"}"#,
        ),
    ] {
        assert_eq!(check(&format!("[{rule}]"), &LABELS), expected, "{rule}");
    }
    assert_eq!(single('ß', 'ß'.to_uppercase()), 'ß');
}

#[test]
fn hashes_are_those_of_upstream() {
    // From recorded targets of a genuine server.
    assert_eq!(hash_mod("127.0.0.1:19501", 16), 9);
}

#[test]
fn rules_follow_one_another_until_one_drops() {
    let yaml = "[{source_labels: [a], target_label: d}, {source_labels: [d], regex: foo, action: drop}, {target_label: e, replacement: x}]";
    assert_eq!(check(yaml, &LABELS), "dropped");
    assert_eq!(check("[]", &[("a", "1")]), r#"{a="1"}"#);
}

#[test]
fn senseless_rules_are_refused_in_upstreams_words() {
    for (rule, fault) in [
        ("{action: nope}", "unknown relabel action \"nope\""),
        (
            "{action: hashmod, target_label: a}",
            "requires non-zero modulus",
        ),
        (
            "{source_labels: [a]}",
            "replace action requires 'target_label' value",
        ),
        (
            "{action: uppercase, source_labels: [a]}",
            "uppercase action requires 'target_label' value",
        ),
        (
            "{action: lowercase, target_label: a, replacement: x}",
            "'replacement' can not be set for lowercase action",
        ),
        (
            "{action: dropequal, target_label: a, regex: x}",
            "dropequal action requires only 'source_labels' and `target_label`",
        ),
        (
            "{action: labeldrop, regex: x, source_labels: [a]}",
            "labeldrop action requires only 'regex'",
        ),
        (
            "{action: labelkeep, regex: x, separator: a}",
            "labelkeep action requires only 'regex'",
        ),
        (
            "{action: labelmap, replacement: ''}",
            "is invalid 'replacement' for labelmap action",
        ),
        ("{regex: '(', target_label: a}", "missing closing )"),
        ("{colour: red}", "unknown field `colour`"),
    ] {
        let error = rules(&format!("[{rule}]")).unwrap_err();
        assert!(error.contains(fault), "{rule}: {error}");
    }
}

#[test]
fn names_before_utf8_are_checked_where_asked_for() {
    let legacy = |rule: &str| rules(&format!("[{rule}]")).unwrap()[0].check_legacy_names();
    for good in [
        "{target_label: a_1}",
        "{target_label: '${1}_$name'}",
        "{action: labelmap, replacement: 'x_$1'}",
        "{action: drop}",
    ] {
        assert_eq!(legacy(good), Ok(()), "{good}");
    }
    for bad in [
        "{target_label: a.b}",
        "{target_label: 1a}",
        "{target_label: '${1'}",
        "{action: labelmap, replacement: 'a.$1'}",
        "{action: lowercase, target_label: '$1'}",
    ] {
        assert!(legacy(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_rule_prints_as_upstream_prints_it() {
    let rules = rules("[{source_labels: [a, b], regex: 'x:(.*)', target_label: c}]").unwrap();
    assert_eq!(
        rules[0].to_yaml().to_string(),
        "source_labels: [a, b]\nseparator: ;\nregex: x:(.*)\ntarget_label: c\nreplacement: $1\naction: replace\n"
    );
    assert_eq!(
        rules[0].to_json().to_string(),
        r#"{"source_labels":["a","b"],"separator":";","regex":"x:(.*)","target_label":"c","replacement":"$1","action":"replace"}"#
    );
}
