use super::*;

struct Fixed;

impl Surroundings for Fixed {
    fn query(&self, text: &str) -> Result<Vec<VectorSample>, String> {
        if text == "bad" {
            return Err("1:1: parse error: bad".to_owned());
        }
        let sample = |k: &str, v: f64| VectorSample {
            labels: Labels::from_pairs([("k", k), ("__value__", "text")]),
            t_ms: 0,
            sample: Sample::Float(v),
        };
        Ok(match text {
            "none" => Vec::new(),
            _ => vec![sample("b", 2.0), sample("a", 7.0)],
        })
    }

    fn now_ms(&self) -> i64 {
        1_793_491_200_500
    }

    fn external_url(&self) -> &str {
        "http://here:9090/prom"
    }
}

fn f(text: &str) -> String {
    let template = match AlertTemplate::parse("A", text) {
        Ok(template) => template,
        Err(e) => return e,
    };
    let labels = Labels::from_pairs([("name", "Box"), ("n", "5")]);
    let data = AlertData {
        labels: &labels,
        external_labels: &[("region".to_owned(), "eu".to_owned())],
        external_url: "http://here:9090/prom",
        value: &Sample::Float(2.5),
    };
    template.expand(&data, &Fixed)
}

#[test]
fn data_is_there_as_variables_and_as_fields() {
    for (text, expected) in [
        ("plain", "plain"),
        ("{{ $labels.name }} {{ $labels.nope }}.", "Box ."),
        ("{{ .Labels.name }}={{ .Value }}", "Box=2.5"),
        (
            "{{ $externalLabels.region }} {{ $externalURL }}",
            "eu http://here:9090/prom",
        ),
        (
            "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
            "n=5;name=Box;",
        ),
        ("{{ $labels }} {{ len $labels }}", "map[n:5 name:Box] 2"),
        ("{{ if gt $value 2.0 }}big{{ end }}", "big"),
    ] {
        assert_eq!(f(text), expected, "{text}");
    }
}

#[test]
fn queries_give_samples() {
    for (text, expected) in [
        (
            "{{ range query \"x\" }}{{ .Labels.k }}={{ .Value }};{{ end }}",
            "b=2;a=7;",
        ),
        ("{{ query \"x\" | first | value }}", "2"),
        ("{{ query \"x\" | first | label \"k\" }}", "b"),
        ("{{ query \"x\" | first | strvalue }}", "text"),
        (
            "{{ with query \"none\" }}some{{ else }}none{{ end }}",
            "none",
        ),
        (
            "{{ range query \"x\" | sortByLabel \"k\" }}{{ .Labels.k }}{{ end }}",
            "ab",
        ),
        ("{{ query \"x\" | first }}", "{map[__value__:text k:b] 2}"),
    ] {
        assert_eq!(f(text), expected, "{text}");
    }
}

#[test]
fn functions_compute() {
    for (text, expected) in [
        (
            "{{ graphLink \"up == 0\" }} {{ tableLink \"a b\" }}",
            "/graph?g0.expr=up+%3D%3D+0&g0.tab=0 /graph?g0.expr=a+b&g0.tab=1",
        ),
        (
            "{{ externalURL }} {{ pathPrefix }}",
            "http://here:9090/prom /prom",
        ),
        (
            "{{ now }} {{ (now | toTime).Year }}",
            "1.7934912005e+09 2026",
        ),
        (
            "{{ toDuration 90.5 }} {{ (toDuration 90).Seconds }}",
            "1m30.5s 90",
        ),
        (
            "{{ define \"x\" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template \"x\" (args 1 \"two\") }}",
            "1-two",
        ),
        (
            "{{ reReplaceAll \"(a+)\" \"<$1>\" \"baab\" }} {{ match \"^t\" \"thing\" }}",
            "b<aa>b true",
        ),
        (
            "{{ urlQueryEscape \"a b\" }} {{ parseDuration \"1h\" }} {{ safeHtml \"<b>\" }}",
            "a+b 3600 <b>",
        ),
    ] {
        assert_eq!(f(text), expected, "{text}");
    }
}

#[test]
fn faults_stand_in_the_text_as_upstream_shows_them() {
    let failed = |what: &str| {
        format!(
            "<error expanding template: error executing template __alert_A: template: __alert_A:1:{what}>"
        )
    };
    for (text, expected) in [
        (
            "{{ humanize \"abc\" }}",
            failed(
                "115: executing \"__alert_A\" at <humanize \"abc\">: error calling humanize: strconv.ParseFloat: parsing \"abc\": invalid syntax",
            ),
        ),
        (
            "{{ query \"none\" | first | value }}",
            failed(
                "130: executing \"__alert_A\" at <first>: error calling first: first() called on vector with no elements",
            ),
        ),
        (
            "{{ $labels.name.first }}",
            failed(
                "122: executing \"__alert_A\" at <$labels.name.first>: can't evaluate field first in type string",
            ),
        ),
        (
            "{{ toUpper $value }}",
            failed(
                "123: executing \"__alert_A\" at <$value>: wrong type for value; expected string; got float64",
            ),
        ),
        (
            "{{ toUpper 5 }}",
            failed("123: executing \"__alert_A\" at <5>: expected string; found 5"),
        ),
        (
            "{{ humanize 1 2 }}",
            failed(
                "115: executing \"__alert_A\" at <humanize>: wrong number of args for humanize: want 1 got 2",
            ),
        ),
        (
            "{{ query \"bad\" }}",
            failed(
                "115: executing \"__alert_A\" at <query \"bad\">: error calling query: 1:1: parse error: bad",
            ),
        ),
        (
            "{{ nope }}",
            "template: __alert_A:1: function \"nope\" not defined".to_owned(),
        ),
        (
            "{{ $nope }}",
            "template: __alert_A:1: undefined variable \"$nope\"".to_owned(),
        ),
    ] {
        assert_eq!(f(text), expected, "{text}");
    }
}

/// What promtool prints for the same templates.
#[test]
fn texts_are_those_of_the_upstream() {
    let failed = |what: &str| {
        format!(
            "<error expanding template: error executing template __alert_A: template: __alert_A:{what}>"
        )
    };
    for (text, expected) in [
        (
            "{{ args 1 \"a\" }} {{ (args 1).arg0 }} {{ (args 1).nope }}",
            "map[arg0:1 arg1:a] 1 <no value>".to_owned(),
        ),
        (
            "{{ printf \"%v %T\" $labels $labels }} {{ printf \"%T\" $value }}",
            "map[n:5 name:Box] map[string]string float64".to_owned(),
        ),
        (
            "{{ toTime 1793491200.123456 }} {{ (toTime 1.5).Unix }} {{ (toTime 1793491200).Format \"2006-01-02\" }}",
            "2026-11-01 00:00:00.123 +0000 UTC 1 2026-11-01".to_owned(),
        ),
        (
            "{{ $labels.name | toUpper | printf \"%s-%s\" \"a\" }}",
            "a-BOX".to_owned(),
        ),
        (
            "{{ index $labels \"name\" }} {{ index $labels \"nope\" }}|",
            "Box |".to_owned(),
        ),
        (
            "{{ stripDomain \"[::1]:80\" }} {{ stripDomain \":80\" }} {{ stripPort \"a:b:c\" }} {{ stripPort \":80\" }}.",
            "[::1]:80 :80 a:b:c .".to_owned(),
        ),
        (
            "{{ humanizeTimestamp 1793491200.5 }} {{ humanizeTimestamp \"1793491200\" }}",
            "2026-11-01 00:00:00.5 +0000 UTC 2026-11-01 00:00:00 +0000 UTC".to_owned(),
        ),
        (
            "{{ humanizeDuration 0.5 }} {{ humanizeDuration \"90\" }}",
            "500ms 1m 30s".to_owned(),
        ),
        (
            "{{ range $i, $e := query \"x\" }}{{ $i }}{{ $e.Labels.k }}{{ end }}",
            "0b1a".to_owned(),
        ),
        (
            "{{ with $x := 5 }}{{ $x }}{{ end }} {{ slice \"abcdef\" 1 3 }} {{ html \"<a>\" }} {{ js \"a'b\" }} {{ urlquery \"a b\" }}",
            "5 bc &lt;a&gt; a\\'b a+b".to_owned(),
        ),
        (
            "{{ printf \"%.2f %5.1f|%-8s|%x %q %d %s\" $value $value \"ab\" \"hi\" \"q\" 5 5 }}",
            "2.50   2.5|ab      |6869 \"q\" 5 %!s(int=5)".to_owned(),
        ),
        (
            "{{ print 1 2 \"a\" 3.5 true }} {{ println \"x\" }}",
            "1 2a3.5 true x\n".to_owned(),
        ),
        (
            "{{ eq $labels.name \"Box\" \"x\" }} {{ ne 1 2 }} {{ lt 1.5 2.5 }} {{ and 1 0 2 }} {{ or 0 \"\" \"z\" }} {{ not 0 }}",
            "true true true 0 z true".to_owned(),
        ),
        (
            "{{ (query \"x\" | first).Labels.k }} {{ (index (query \"x\") 0).Value }}",
            "b 2".to_owned(),
        ),
        (
            "{{ if $labels.name }}a{{ else if $value }}b{{ end }}{{/* c */}}{{- \" t \" -}} x",
            "a t x".to_owned(),
        ),
        (
            "{{ printf \"%d%%\" 5 }} {{ printf \"%s\" }} {{ printf \"x\" 1 }} {{ printf \"%!\" 1 }} {{ printf \"%6d|%-6d|%06d\" 5 5 5 }} {{ printf \"%t %v %c\" true nil 65 }}",
            "5% %!s(MISSING) x%!(EXTRA int=1) %!!(int=1)      5|5     |000005 true <nil> A"
                .to_owned(),
        ),
        (
            "{{ 1e3 }} {{ 0x10 }} {{ 1.0 }} {{ 1_000 }} {{ true }} {{ \"q\" }} {{ `raw` }}",
            "1000 16 1 1000 true q raw".to_owned(),
        ),
        (
            "{{ $value | printf \"%e %g %G\" 1.5 1e21 }}",
            "1.500000e+00 1e+21 2.5".to_owned(),
        ),
        (
            "{{ first 5 }}",
            failed(
                "1:121: executing \"__alert_A\" at <5>: can't handle 5 for arg of type template.queryResult",
            ),
        ),
        (
            "{{ first $value }}",
            failed(
                "1:121: executing \"__alert_A\" at <$value>: wrong type for value; expected template.queryResult; got float64",
            ),
        ),
        (
            "{{ label \"x\" $value }}",
            failed(
                "1:125: executing \"__alert_A\" at <$value>: wrong type for value; expected *template.sample; got float64",
            ),
        ),
        (
            "{{ reReplaceAll \"(\" \"x\" \"y\" }}",
            failed(
                "1:115: executing \"__alert_A\" at <reReplaceAll \"(\" \"x\" \"y\">: error calling reReplaceAll: regexp: Compile(`(`): error parsing regexp: missing closing ): `(`",
            ),
        ),
        (
            "{{ match \"(\" \"y\" }}",
            failed(
                "1:115: executing \"__alert_A\" at <match \"(\" \"y\">: error calling match: error parsing regexp: missing closing ): `(`",
            ),
        ),
        (
            "{{ if gt $value 2 }}x{{ end }}",
            failed(
                "1:118: executing \"__alert_A\" at <gt $value 2>: error calling gt: incompatible types for comparison",
            ),
        ),
        (
            "{{ len 5 }}",
            failed("1:115: executing \"__alert_A\" at <len 5>: error calling len: len of type int"),
        ),
        (
            "{{ .Foo }}",
            failed(
                "1:115: executing \"__alert_A\" at <.Foo>: can't evaluate field Foo in type struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }",
            ),
        ),
        (
            "{{ $value.Foo }}",
            failed(
                "1:121: executing \"__alert_A\" at <$value.Foo>: can't evaluate field Foo in type float64",
            ),
        ),
        (
            "{{ 1 | query }}",
            failed(
                "1:119: executing \"__alert_A\" at <query>: wrong type for value; expected string; got int",
            ),
        ),
        (
            "{{ template \"nope\" }}",
            failed(
                "1:124: executing \"__alert_A\" at <{{template \"nope\"}}>: template \"nope\" not defined",
            ),
        ),
        (
            "{{ humanize }}",
            failed(
                "1:115: executing \"__alert_A\" at <humanize>: wrong number of args for humanize: want 1 got 0",
            ),
        ),
        (
            "{{ $labels.name \"x\" }}",
            failed(
                "1:122: executing \"__alert_A\" at <$labels.name>: name is not a method but has arguments",
            ),
        ),
        (
            "{{ \"x\" | $labels.name }}",
            failed(
                "1:128: executing \"__alert_A\" at <$labels.name>: name is not a method but has arguments",
            ),
        ),
        (
            "{{ parseDuration \"x\" }}",
            failed(
                "1:115: executing \"__alert_A\" at <parseDuration \"x\">: error calling parseDuration: not a valid duration string: \"x\"",
            ),
        ),
        (
            "multi\nline {{ humanize \"x\" }}",
            failed(
                "2:8: executing \"__alert_A\" at <humanize \"x\">: error calling humanize: strconv.ParseFloat: parsing \"x\": invalid syntax",
            ),
        ),
        (
            "{{ break }}",
            "template: __alert_A:1: {{break}} outside {{range}}".to_owned(),
        ),
    ] {
        assert_eq!(f(text), expected, "{text}");
    }
}
