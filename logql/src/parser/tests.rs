use super::*;

fn f(text: &str) -> String {
    match parse(text) {
        Ok(expr) => expr.to_string(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn queries_print_canonically() {
    for (text, printed) in [
        ("{ job = \"a\" , b=~`c\"d` }", r#"{job="a", b=~"c\"d"}"#),
        (
            r#"{job="a"}|="b"or"c"!="d""#,
            r#"{job="a"} |= "b" or "c" != "d""#,
        ),
        (
            r#"{job="a"}|a=1 or b>2KB and c<=1m30s,d="e" f!=ip("1.1.1.1")"#,
            r#"{job="a"} | ( a==1 or ( b>2.0kB , ( c<=1m30s , ( d="e" , f!=ip("1.1.1.1") ) ) ) )"#,
        ),
        (
            r#"sum(rate({job="a"}|="x"[5m] offset 1h))by(b,c)"#,
            r#"sum by (b,c)(rate({job="a"} |= "x"[5m] offset 1h0m0s))"#,
        ),
        ("1+2*3^4", "163"),
        (
            r#"vector(1.50) or sum(count_over_time({a="b"}[1m])) by ()"#,
            r#"(vector(1.500000) or sum(count_over_time({a="b"}[1m])))"#,
        ),
    ] {
        assert_eq!(f(text), printed);
    }
}

#[test]
fn errors_name_place_and_expectation() {
    for (text, error) in [
        ("", "parse error : syntax error: unexpected $end"),
        (
            "{",
            "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }",
        ),
        (
            r#"{job=="a"}"#,
            "parse error at line 0, col 5: syntax error: unexpected ==, expecting = or =~ or !~ or !=",
        ),
        (
            r#"rate({job="a"}[5])"#,
            "parse error at line 0, col 15: not a valid duration string: \"5\"",
        ),
        (
            r#"sum by (x) sum(rate({job="a"}[5m]))"#,
            "parse error at line 1, col 12: syntax error: unexpected SUM, expecting (",
        ),
        (
            r#"topk(0, rate({job="a"}[5m]))"#,
            "parse error : invalid parameter (must be greater than 0) topk(0",
        ),
    ] {
        assert_eq!(f(text), error);
    }
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(f(&text).contains("nests too deeply"));
    let text = format!("vector(1){}", "+vector(1)".repeat(5000));
    assert!(f(&text).contains("too many operators"));
    let text = format!("{{a=\"b\"}} | a=1{}", " and a=1".repeat(5000));
    assert!(f(&text).contains("too many operators"));
    let text = format!("{{a=\"b\"}} | {}a=1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(f(&text).contains("nests too deeply"));
}

#[test]
fn a_stray_character_as_a_name_parses_again_as_it_is_printed() {
    for text in [
        r#"{a="b"} | logfmt !"#,
        r#"{a="b"} | json ! ="x""#,
        r#"{a="b"} | ! >5"#,
        r#"{a="b"} | ! =~"x""#,
        "{a=\"b\"} | label_format ! = ~",
    ] {
        let expr = crate::parse(text).unwrap();
        assert_eq!(crate::parse(&expr.to_string()).unwrap(), expr, "{text}");
    }
}

#[test]
fn a_long_chain_of_label_filters_parses_again_as_it_is_printed() {
    for join in [" ", " , ", " and ", " or "] {
        let text = format!("{{a=\"b\"}} | a=1{}", format!("{join}a=1").repeat(1000));
        let printed = crate::parse(&text).unwrap().to_string();
        let again = crate::parse(&printed).unwrap().to_string();
        assert_eq!(printed, again);
    }
}
