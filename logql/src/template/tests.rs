use super::{LineTemplate, fields};
use crate::labels::LabelBuilder;

fn f(template: &str) -> String {
    let mut labels = LabelBuilder::new([("app", "web"), ("n", "5")].into_iter().collect());
    labels.set_metadata("took", "1.5s");
    let run = LineTemplate::new("line", template, 0)
        .and_then(|t| t.run(1_793_498_394_608_762_736, r#"{"a":[1,"x",null]}"#, &labels));
    run.unwrap_or_else(|e| e)
}

#[test]
fn actions_and_blocks() {
    for (template, text) in [
        ("{{.app}}-{{ .nosuch }}.", "web-."),
        ("{{- .app -}}   x", "webx"),
        ("{{/* c */}}a", "a"),
        (
            "{{ if eq .app \"web\" }}A{{ else if .n }}B{{ else }}C{{ end }}",
            "A",
        ),
        (
            "{{ if .nosuch }}A{{ else if .n }}B{{ else }}C{{ end }}",
            "B",
        ),
        (
            "{{ with .took }}{{ . }}{{ end }}{{ with .no }}x{{ else }}y{{ end }}",
            "1.5sy",
        ),
        (
            "{{ range $i, $e := (fromJson __line__).a }}{{ $i }}={{ $e }};{{ end }}",
            "0=1;1=x;2=<no value>;",
        ),
        (
            "{{ $x := .n }}{{ if true }}{{ $x = \"6\" }}{{ end }}{{ $x }}{{ $.app }}",
            "6web",
        ),
        (
            "{{ define \"T\" }}[{{ . }}]{{ end }}{{ template \"T\" .app }}",
            "[web]",
        ),
        (
            "{{ range fromJson \"[1,2,3]\" }}{{ if eq . 2.0 }}{{ continue }}{{ end }}{{ . }}{{ end }}",
            "13",
        ),
        ("{{ .app | printf \"%s/%s\" .n }}", "5/web"),
        (
            "{{ __timestamp__.Unix }} {{ __timestamp__.Format \"2006\" }}",
            "1793498394 2026",
        ),
        ("{{ index . \"app\" }}", "web"),
    ] {
        assert_eq!(f(template), text, "{template}");
    }
}

#[test]
fn functions_work_on_texts_and_numbers() {
    for (template, text) in [
        (
            "{{ substr 2 6 \"abcdefgh\" }}|{{ substr -1 3 \"abcdef\" }}|{{ substr 2 -1 \"abcd\" }}",
            "cdef|abc|cd",
        ),
        ("{{ trunc 2 .app }}{{ trunc -2 .app }}", "weeb"),
        (
            "{{ round 1.2345 2 }} {{ round 2.5 0 }} {{ ceil 1.2 }}",
            "1.23 3 2",
        ),
        (
            "{{ add 1 2 3 }} {{ mul .n 2 }} {{ divf 7 2 }} {{ int \"12.7\" }} {{ int \"x\" }}",
            "6 10 3.5 12 0",
        ),
        (
            "{{ default \"none\" .nosuch }} {{ .app | default \"x\" }}",
            "none web",
        ),
        ("{{ print 1 \"a\" 2 }}{{ print 1 2 }}", "1a21 2"),
        ("{{ if gt (duration .took) 1.0 }}slow{{ end }}", "slow"),
        ("{{ alignLeft 5 .app }}|{{ alignRight 2 .app }}", "web  |eb"),
        ("{{ regexReplaceAll \"(w)e\" .app \"${1}_\" }}", "w_b"),
        (
            "{{ unixToTime \"19437\" | unixEpochNanos }}",
            "1679356800000000000",
        ),
        ("{{ b64dec \"!!\" }}", "illegal base64 data at input byte 0"),
        (
            "{{ js \"it's\" }} {{ html \"<a&b>\" }} {{ urlquery \"a b\" }}",
            "it\\'s &lt;a&amp;b&gt; a+b",
        ),
    ] {
        assert_eq!(f(template), text, "{template}");
    }
}

#[test]
fn errors_are_gos() {
    for (template, text) in [
        ("{{", "template: line:1: unclosed action"),
        (
            "{{ .a | nosuchfn }}",
            "template: line:1: function \"nosuchfn\" not defined",
        ),
        ("{{ if }}", "template: line:1: missing value for if"),
        ("{{ if .a }}", "template: line:1: unexpected EOF"),
        ("{{ end }}", "template: line:1: unexpected {{end}}"),
        ("{{ $x }}", "template: line:1: undefined variable \"$x\""),
        (
            "{{ index (fromJson __line__).a 9 }}",
            "template: line:1:3: executing \"line\" at <index (fromJson __line__).a 9>: error calling index: index out of range: 9",
        ),
        (
            "{{ substr 50 60 .app }}",
            "template: line:1:3: executing \"line\" at <substr 50 60 .app>: error calling substr: runtime error: slice bounds out of range [50:3]",
        ),
    ] {
        assert_eq!(f(template), text, "{template}");
    }
}

#[test]
fn templates_are_bounded_in_time_and_size() {
    let line = "{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}";
    assert_eq!(f(line), "template runs too long");
    let line =
        "{{ $x := repeat 1000 \"ab\" }}{{ replace \"a\" $x $x }}{{ len (replace \"\" $x $x) }}";
    assert!(f(line).ends_with("text is too long"));
}

#[test]
fn fields_are_known_where_labels_are_not_used_as_a_whole() {
    assert_eq!(
        fields("{{.a}} {{ if .b }}{{ $.c }}{{ end }}"),
        Some(vec!["a".into(), "b".into(), "c".into()])
    );
    assert_eq!(fields("{{ index . \"a\" }}"), None);
}
