//! Rules over a start, a reload and a restart of the server.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use compat_tests::feed;
use compat_tests::http::Client;
use compat_tests::paths;
use compat_tests::server::{Options, Server};
use serde_json::{Value, json};

const CONFIG: &str = "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n";

/// A folder with a configuration and its rule file.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(rules: &str) -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(files.config(), CONFIG).unwrap();
        files.set_rules(rules);
        files
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("prometheus.yml")
    }

    fn set_rules(&self, rules: &str) {
        std::fs::write(self.folder.path().join("rules.yml"), rules).unwrap();
    }

    fn options(&self) -> Options {
        Options::common()
            .with(format!("--config.file={}", self.config().display()))
            .with("--web.enable-lifecycle")
    }
}

fn group(name: &str, rules: &str) -> String {
    format!("- name: {name}\n  rules:\n{rules}")
}

async fn ask(server: &Server, path: &str) -> Value {
    let url = format!("{}{path}", server.urls.web);
    let answer = Client::new().get(&url).await.unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

/// Asks until the answer is good.
async fn until(what: &str, server: &Server, path: &str, good: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask(server, path).await;
        if good(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} did not come: {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn reload(server: &Server) -> (u16, String) {
    let url = format!("{}/-/reload", server.urls.web);
    let answer = Client::new().post(&url, &[], Vec::new()).await.unwrap();
    (answer.status, String::from_utf8(answer.body).unwrap())
}

fn now_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

async fn write(server: &Server, labels: &[(&str, &str)], t_ms: i64, value: f64) {
    let written = feed::metrics::sample(&server.urls.web, labels, t_ms, value).await;
    written.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_rule_file_refuses_the_start_and_the_reload() {
    let good = format!("groups:\n{}", group("g", "  - {record: one, expr: '1'}\n"));
    let bad = format!(
        "groups:\n{}",
        group("g", "  - {record: one, expr: '1 +'}\n")
    );
    let fault = "4:25: group \"g\", rule 1, \"one\": could not parse expression: 1:4: parse error: unexpected end of input";
    let files = Files::new(&bad);
    let output = Command::new(paths::built_binary().unwrap())
        .arg(format!("--config.file={}", files.config().display()))
        .arg(format!(
            "--storage.path={}",
            files.folder.path().join("data").display()
        ))
        .args(["--web.listen-address=127.0.0.1:0", "--upstream-ports=false"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("rules.yml") && said.contains(fault), "{said}");

    files.set_rules(&good);
    let server = Server::start(&files.options()).await.unwrap();
    let one = "/api/v1/query?query=one";
    until("the rule's series", &server, one, |a| {
        a["data"]["result"] != json!([])
    })
    .await;
    files.set_rules(&bad);
    let (status, said) = reload(&server).await;
    assert_eq!(status, 500);
    assert!(said.contains(fault), "{said}");
    let rules = ask(&server, "/api/v1/rules").await;
    assert_eq!(rules["data"]["groups"][0]["rules"][0]["query"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_unchanged_groups_and_ends_the_series_of_removed_ones() {
    let alerts = group(
        "alerts",
        "  - {alert: Always, expr: 'vector(1)', for: 1h}\n",
    );
    let records = group("records", "  - {record: two, expr: '2'}\n");
    let files = Files::new(&format!("groups:\n{alerts}{records}"));
    let server = Server::start(&files.options()).await.unwrap();
    let two = "/api/v1/query?query=two";
    until("the rule's series", &server, two, |a| {
        a["data"]["result"] != json!([])
    })
    .await;
    let alert = "/data/alerts/0/activeAt";
    let before = until("the alert", &server, "/api/v1/alerts", |a| {
        a.pointer(alert).is_some()
    })
    .await;
    files.set_rules(&format!("groups:\n{alerts}"));
    assert_eq!(reload(&server).await.0, 200);
    let groups = "/api/v1/rules";
    until("the new rules", &server, groups, |a| {
        a["data"]["groups"].as_array().unwrap().len() == 1
    })
    .await;
    until("the end of the series", &server, two, |a| {
        a["data"]["result"] == json!([])
    })
    .await;
    let after = ask(&server, "/api/v1/alerts").await;
    assert_eq!(before.pointer(alert), after.pointer(alert));
    let metrics = Client::new()
        .get(&format!("{}/metrics", server.urls.web))
        .await
        .unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    let rules = metrics
        .lines()
        .filter(|l| l.starts_with("prometheus_rule_group_rules{"))
        .count();
    assert_eq!(rules, 1, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_was_pending_before_a_restart_goes_on() {
    let files = Files::new("");
    let options = files.options().with("--rules.alert.for-grace-period=1s");
    let mut server = Server::start(&options).await.unwrap();
    // Pending for 1000 s, ten seconds ago.
    let now = now_ms();
    let labels = [
        ("__name__", "ALERTS_FOR_STATE"),
        ("alertname", "Always"),
        ("team", "a"),
    ];
    write(&server, &labels, now - 10_000, (now / 1000 - 1010) as f64).await;
    let rule = "  - {alert: Always, expr: 'vector(1)', for: 1h, labels: {team: a}}\n";
    files.set_rules(&format!("groups:\n{}", group("g", rule)));
    server.restart().await.unwrap();
    // After two evaluations the state is restored.
    let since_s = |answer: &Value| -> Option<i64> {
        let text = answer.pointer("/data/alerts/0/activeAt")?.as_str()?;
        Some(now / 1000 - seconds(text))
    };
    let path = "/api/v1/alerts";
    let answer = until("the state", &server, path, |a| {
        since_s(a).is_some_and(|s| s > 900)
    })
    .await;
    // The outage, some seconds, does not count.
    let since = since_s(&answer).unwrap();
    assert!((940..=1010).contains(&since), "{since}");
    assert_eq!(answer["data"]["alerts"][0]["state"], "pending");
}

/// Seconds since the epoch of `2026-11-01T00:00:00.123Z`.
fn seconds(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    // Days since the epoch, counted in years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19)
}

#[test]
fn the_sub_commands_check_files() {
    let binary = paths::built_binary().unwrap();
    let files = Files::new(&format!(
        "groups:\n{}",
        group("g", "  - {record: one, expr: '1'}\n")
    ));
    let run = |args: &[&str], file: &Path| {
        let output = Command::new(&binary).args(args).arg(file).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let rules = files.folder.path().join("rules.yml");
    let (code, out, _) = run(&["check", "rules"], &rules);
    assert_eq!(code, Some(0));
    assert_eq!(
        out,
        format!("Checking {}\n  SUCCESS: 1 rules found\n\n", rules.display())
    );
    let (code, out, _) = run(&["check", "config"], &files.config());
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("  SUCCESS: 1 rule files found\n"), "{out}");

    files.set_rules(&format!(
        "groups:\n{0}{1}",
        group("g", "  - {record: one, expr: '1'}\n"),
        group("h", "  - {record: one, expr: '1'}\n")
    ));
    let (code, _, said) = run(&["check", "rules"], &rules);
    assert_eq!(code, Some(0));
    assert!(said.contains("1 duplicate rule(s) found."), "{said}");
    assert_eq!(run(&["check", "rules", "--lint-fatal"], &rules).0, Some(3));

    files.set_rules("groups:\n- name: g\n  rulez: []\n");
    let (code, _, said) = run(&["check", "rules"], &rules);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("line 3: field rulez not found in type rulefmt.RuleGroup"),
        "{said}"
    );
    assert_eq!(run(&["check", "config"], &files.config()).0, Some(1));
    assert_eq!(run(&["check", "nothing"], &rules).0, Some(2));
}
