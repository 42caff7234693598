//! The bucket, against a genuine S3 protocol server: what is written is there, whatever the server and the network do.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

mod corrupt;
#[allow(dead_code, reason = "shared with the crash matrix and the full disk")]
mod data;
mod s3;

use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use compat_tests::http::Client;
use compat_tests::server::{Options, Server, Urls};
use futures::StreamExt;
use http::Method;

use data::{Answers, Of, answers, expected, write};
use s3::{BUCKET, Fault, Rule, S3, files_below};

const SIGNALS: [&str; 3] = ["metrics", "logs", "traces"];

fn options(s3: &S3) -> Options {
    let mut options = Options::common()
        .with(format!("--storage.bucket=s3://{BUCKET}/some/prefix"))
        .with("--storage.min-free=0")
        .with("--web.enable-admin-api");
    options.env = s3.env();
    options
}

/// Everything is read from the bucket, each time that memory does not have it.
fn uncached(s3: &S3) -> Options {
    options(s3).with("--storage.cache-size=0")
}

async fn post(urls: &Urls, path: &str) -> (u16, String) {
    let url = format!("{}{path}", urls.web);
    let answer = Client::new().post(&url, &[], Vec::new()).await.unwrap();
    (
        answer.status,
        String::from_utf8_lossy(&answer.body).into_owned(),
    )
}

async fn flush(urls: &Urls) {
    assert_eq!(post(urls, "/-/flush").await, (204, String::new()));
}

async fn text(urls: &Urls, path: &str) -> String {
    let answer = Client::new()
        .get(&format!("{}{path}", urls.web))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{path}");
    String::from_utf8(answer.body).unwrap()
}

/// Sum over the samples of a family on `/metrics`.
async fn metric(urls: &Urls, name: &str) -> f64 {
    let text = text(urls, "/metrics").await;
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = rest.rsplit_once(' ')?.1;
        rest.starts_with([' ', '{'])
            .then(|| value.parse::<f64>().unwrap())
    });
    let samples: Vec<f64> = samples.collect();
    assert!(!samples.is_empty(), "{name} is not on /metrics");
    samples.iter().sum()
}

async fn wait_until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(40);
    while !done().await {
        assert!(Instant::now() < until, "{what} within 40 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn local_files(storage: &Path) -> Vec<String> {
    let mut files = Vec::new();
    files_below(&storage.join("blocks"), &mut |path| {
        files.push(path.display().to_string());
    });
    files
}

/// How long a start may take that is to be refused.
const REFUSAL_LIMIT: Duration = Duration::from_secs(20);

/// How a start ends that is to be refused: its exit code, and what it said.
async fn refused_start(options: &Options, storage: &Path) -> (Option<i32>, String) {
    let mut said = tempfile::tempfile().unwrap();
    let mut child = Command::new(compat_tests::paths::built_binary().unwrap())
        .args(["--upstream-ports=false", "--web.listen-address=127.0.0.1:0"])
        .arg(format!("--storage.path={}", storage.display()))
        .args(&options.args)
        .envs(options.env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone().unwrap())
        .spawn()
        .unwrap();
    let until = Instant::now() + REFUSAL_LIMIT;
    let status = loop {
        match child.try_wait().unwrap() {
            None if Instant::now() < until => tokio::time::sleep(Duration::from_millis(20)).await,
            status => break status,
        }
    };
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut text = String::new();
    said.rewind().unwrap();
    said.read_to_string(&mut text).unwrap();
    let status = status.unwrap_or_else(|| panic!("not refused within {REFUSAL_LIMIT:?}: {text}"));
    (status.code(), text)
}

fn folders(keys: &[String], signal: &str) -> BTreeSet<String> {
    let below = format!("some/prefix/blocks/{signal}/");
    let files = keys.iter().filter(|k| k.starts_with(&below));
    files
        .map(|k| k.rsplit_once('/').unwrap().0.to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_go_up_and_a_lost_disk_costs_nothing_that_was_flushed() {
    let s3 = S3::start().await;
    let mut server = Server::start(&options(&s3)).await.unwrap();
    for n in 0..3 {
        write(&server.urls, n).await.unwrap();
    }
    flush(&server.urls).await;
    assert_eq!(answers(&server.urls).await, expected(0..3));

    // Files first, the manifest last and only where none was.
    let keys = s3.keys();
    let seen = s3.seen();
    for signal in SIGNALS {
        let folders = folders(&keys, signal);
        assert_eq!(folders.len(), 1, "{keys:?}");
        for folder in folders {
            let puts: Vec<_> = seen
                .iter()
                .filter(|s| s.method == Method::PUT && s.key.starts_with(&folder))
                .collect();
            let last = puts.last().unwrap();
            assert_eq!(last.key, format!("{folder}/manifest.json"));
            assert!(last.if_absent, "{puts:?}");
            assert!(puts.len() > 2, "{puts:?}");
        }
    }
    assert_eq!(local_files(&server.storage()), Vec::<String>::new());
    assert_eq!(
        metric(&server.urls, "trilobite_bucket_reachable").await,
        1.0
    );
    assert_eq!(
        metric(&server.urls, "trilobite_bucket_waiting_blocks").await,
        0.0
    );
    assert!(metric(&server.urls, "trilobite_bucket_uploaded_bytes_total").await > 1000.0);
    let ready = text(&server.urls, "/-/ready").await;
    assert_eq!(
        ready,
        "Prometheus Server is Ready.\nbucket s3://blocks/some/prefix is reached, nothing waits for it\n"
    );

    server.restart().await.unwrap();
    assert_eq!(answers(&server.urls).await, expected(0..3));
    write(&server.urls, 3).await.unwrap();
    flush(&server.urls).await;

    // The folder is as good as gone: what was flushed is served by another one, once that is said.
    server.kill();
    let folder = tempfile::tempdir().unwrap();
    let mut another = options(&s3);
    another.storage = Some(folder.path().to_owned());
    let (code, said) = refused_start(&another, folder.path()).await;
    assert_eq!(code, Some(1), "{said}");
    let owner = std::fs::read_to_string(server.storage().join("OWNER")).unwrap();
    let flag = format!("--storage.bucket-take-over={}", owner.trim());
    assert!(said.contains(&flag), "{said}");
    let (code, said) = refused_start(
        &another.clone().with("--storage.bucket-take-over=somebody"),
        folder.path(),
    )
    .await;
    assert_eq!(code, Some(1), "a name that is not the owner's: {said}");
    let mut heir = Server::start(&another.clone().with(&flag)).await.unwrap();
    assert_eq!(answers(&heir.urls).await, expected(0..4));
    write(&heir.urls, 4).await.unwrap();
    flush(&heir.urls).await;
    // With the flag left in place, and without it.
    heir.restart().await.unwrap();
    assert_eq!(answers(&heir.urls).await, expected(0..5));
    drop(heir);
    let heir = Server::start(&another).await.unwrap();
    assert_eq!(answers(&heir.urls).await, expected(0..5));

    let (code, said) = refused_start(&options(&s3), &server.storage()).await;
    assert_eq!(code, Some(1), "the lost folder is back: {said}");
    let (code, said) = refused_start(&options(&s3).with(&flag), &server.storage()).await;
    assert_eq!(
        code,
        Some(1),
        "nor may it take its place back by the old name: {said}"
    );
    let mut without = options(&s3);
    without.args.retain(|a| !a.starts_with("--storage.bucket="));
    let (code, said) = refused_start(&without, folder.path()).await;
    assert_eq!(code, Some(1), "it is in use: {said}");
    assert!(said.contains("another process uses"), "{said}");
    drop(heir);
    let (code, said) = refused_start(&without, folder.path()).await;
    assert_eq!(code, Some(1), "its blocks are in a bucket: {said}");
    assert!(
        said.contains("--storage.bucket=s3://blocks/some/prefix"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_puts_the_new_block_before_it_removes_the_old_ones_manifest_first() {
    let s3 = S3::start().await;
    let mut server = Server::start(&options(&s3)).await.unwrap();
    for n in 0..4 {
        write(&server.urls, n).await.unwrap();
        flush(&server.urls).await;
    }
    let before = s3.keys();
    let done = s3.seen().len();
    assert_eq!(post(&server.urls, "/-/compact").await.0, 204);
    assert_eq!(answers(&server.urls).await, expected(0..4));
    let after = s3.keys();
    let seen = &s3.seen()[done..];
    for signal in SIGNALS {
        let old = folders(&before, signal);
        let new = folders(&after, signal);
        assert_eq!((old.len(), new.len()), (4, 1), "{after:?}");
        let merged = new.first().unwrap();
        let at = |method: Method, key: &str| {
            let found = seen.iter().position(|s| s.method == method && s.key == key);
            found.unwrap_or_else(|| panic!("no {method} of {key}: {seen:?}"))
        };
        let visible = at(Method::PUT, &format!("{merged}/manifest.json"));
        for folder in &old {
            let gone = at(Method::DELETE, &format!("{folder}/manifest.json"));
            assert!(visible < gone);
            for key in before.iter().filter(|k| k.starts_with(folder.as_str())) {
                if !key.ends_with("/manifest.json") {
                    assert!(gone < at(Method::DELETE, key));
                }
            }
        }
    }
    server.restart().await.unwrap();
    assert_eq!(answers(&server.urls).await, expected(0..4));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_bucket_stops_neither_writes_nor_queries_of_what_is_local() {
    let mut s3 = S3::start().await;
    let mut server = Server::start(&uncached(&s3)).await.unwrap();
    write(&server.urls, 0).await.unwrap();
    flush(&server.urls).await;

    s3.stop().await;
    write(&server.urls, data::NEXT_DAY).await.unwrap();
    let (status, said) = post(&server.urls, "/-/flush").await;
    assert_eq!(status, 503, "{said}");
    let urls = &server.urls;
    assert_eq!(answers_of_next_day(urls).await, expected([data::NEXT_DAY]));
    assert_eq!(metric(urls, "trilobite_bucket_reachable").await, 0.0);
    assert_eq!(metric(urls, "trilobite_bucket_waiting_blocks").await, 3.0);
    assert!(metric(urls, "trilobite_bucket_waiting_bytes").await > 1000.0);
    assert!(metric(urls, "trilobite_bucket_request_failures_total").await > 0.0);
    let ready = text(urls, "/-/ready").await;
    assert!(
        ready.starts_with(
            "Prometheus Server is Ready.\nbucket s3://blocks/some/prefix cannot be reached for "
        ),
        "{ready}"
    );
    assert!(ready.contains("3 blocks of "), "{ready}");
    let done = Instant::now();
    for of in Of::ALL {
        let refusal = data::refusal_of_first_day(urls, of).await;
        assert!(refusal.contains("cannot be reached"), "{refusal}");
    }
    assert!(
        done.elapsed() < Duration::from_secs(20),
        "and nobody waits long for it"
    );

    // It need not be there for a start either, and a crash costs nothing.
    write(&server.urls, data::NEXT_DAY + 1).await.unwrap();
    server.restart().await.unwrap();
    let urls = &server.urls;
    assert_eq!(answers_of_next_day(urls).await.lines, 2 * data::LINES);
    assert_eq!(metric(urls, "trilobite_bucket_reachable").await, 0.0);
    for of in Of::ALL {
        let refusal = data::refusal_of_first_day(urls, of).await;
        assert!(refusal.contains("cannot be reached"), "{refusal}");
    }
    write(&server.urls, data::NEXT_DAY + 2).await.unwrap();
    assert_eq!(post(&server.urls, "/-/flush").await.0, 503);

    s3.resume().await;
    wait_until("waiting blocks go up", async || {
        metric(&server.urls, "trilobite_bucket_waiting_blocks").await == 0.0
    })
    .await;
    let all = [0, data::NEXT_DAY, data::NEXT_DAY + 1, data::NEXT_DAY + 2];
    assert_eq!(answers(&server.urls).await, expected(all));
    assert_eq!(
        metric(&server.urls, "trilobite_bucket_reachable").await,
        1.0
    );
    wait_until("local files go", async || {
        local_files(&server.storage()).is_empty()
    })
    .await;
    server.restart().await.unwrap();
    assert_eq!(answers(&server.urls).await, expected(all));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_up_lately_is_served_from_local_disk_when_the_bucket_is_away() {
    let mut s3 = S3::start().await;
    let mut server = Server::start(&options(&s3)).await.unwrap();
    for n in 0..4 {
        write(&server.urls, n).await.unwrap();
        flush(&server.urls).await;
    }
    assert_eq!(post(&server.urls, "/-/compact").await.0, 204);
    s3.stop().await;
    server.restart().await.unwrap();
    assert_eq!(answers(&server.urls).await, expected(0..4));
    assert_eq!(
        metric(&server.urls, "trilobite_bucket_reachable").await,
        0.0
    );
    assert!(metric(&server.urls, "trilobite_bucket_cache_bytes").await > 1000.0);

    // What is wrong in the cache is as good as not there.
    server.kill();
    files_below(&server.storage().join("cache"), &mut |path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    });
    server.restart().await.unwrap();
    for of in Of::ALL {
        let refusal = data::refusal_of_first_day(&server.urls, of).await;
        assert!(refusal.contains("cannot be reached"), "{refusal}");
    }
    s3.resume().await;
    wait_until("the bucket is reached", async || {
        metric(&server.urls, "trilobite_bucket_reachable").await == 1.0
    })
    .await;
    assert_eq!(answers(&server.urls).await, expected(0..4));
    // And what was fetched is there the next time.
    s3.stop().await;
    server.restart().await.unwrap();
    assert_eq!(answers(&server.urls).await, expected(0..4));
}

async fn answers_of_next_day(urls: &Urls) -> Answers {
    data::answers_since(urls, data::DAY_S).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_wants_its_bucket() {
    let mut s3 = S3::start().await;
    s3.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = refused_start(&options(&s3), folder.path()).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("s3://blocks/some/prefix cannot be reached"),
        "{said}"
    );
    assert!(said.contains("Connection refused"), "{said}");
    assert!(said.contains("check --storage.bucket"), "{said}");
    s3.resume().await;
    let mut unknown = options(&s3);
    unknown.args.retain(|a| !a.starts_with("--storage.bucket="));
    let (code, said) = refused_start(
        &unknown.with("--storage.bucket=s3://there-is-none/x"),
        folder.path(),
    )
    .await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is no such bucket"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_does_not_wait_for_a_bucket_that_takes_requests_and_never_answers() {
    let s3 = S3::start().await;
    s3.inject(&[rule(Fault::Hanging, None, "", usize::MAX)]);
    let mut patient = options(&s3);
    // The client itself would wait longer.
    patient
        .env
        .push(("AWS_TIMEOUT".to_owned(), "60s".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = refused_start(&patient, folder.path()).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no answer within 6 s"), "{said}");
    assert!(said.contains("check --storage.bucket"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_a_local_store_go_up_when_a_bucket_is_named() {
    let s3 = S3::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut local = options(&s3);
    local.storage = Some(folder.path().to_owned());
    let with_bucket = local.clone();
    local.args.retain(|a| !a.starts_with("--storage.bucket="));
    let server = Server::start(&local).await.unwrap();
    write(&server.urls, 0).await.unwrap();
    flush(&server.urls).await;
    write(&server.urls, 1).await.unwrap();
    drop(server);
    assert!(!local_files(folder.path()).is_empty());
    let server = Server::start(&with_bucket).await.unwrap();
    flush(&server.urls).await;
    wait_until("local files go", async || {
        local_files(folder.path()).is_empty()
    })
    .await;
    assert_eq!(answers(&server.urls).await, expected(0..2));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_refused_when_the_disks_reserve_is_reached() {
    let s3 = S3::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut plenty = options(&s3);
    plenty.storage = Some(folder.path().to_owned());
    let server = Server::start(&plenty).await.unwrap();
    write(&server.urls, 0).await.unwrap();
    drop(server);
    let server = Server::start(&plenty.clone().with("--storage.min-free=1000000TiB"))
        .await
        .unwrap();
    for refusal in data::refused_writes(&server.urls, 1).await {
        assert_eq!(refusal.0, 503, "{}", refusal.1);
        assert!(refusal.1.contains("--storage.min-free"), "{}", refusal.1);
    }
    assert_eq!(answers(&server.urls).await, expected([0]));
    flush(&server.urls).await;
    assert_eq!(answers(&server.urls).await, expected([0]));
}

fn rule(fault: Fault, method: Option<Method>, suffix: &'static str, times: usize) -> Rule {
    Rule {
        fault,
        method,
        suffix,
        times,
    }
}

/// Each fault, on its way up and on its way down: nothing that was acknowledged is lost, nothing is doubled, and no
/// answer is less than all.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_bucket_does_nothing_is_lost_and_no_answer_is_short() {
    let put = || Some(Method::PUT);
    let get = || Some(Method::GET);
    let slow = Fault::Slow(Duration::from_millis(300));
    let cases: Vec<(&str, Rule)> = vec![
        ("500s", rule(Fault::Broken, None, "", 6)),
        ("503 SlowDown", rule(Fault::SlowDown, None, "", 6)),
        ("slow answers", rule(slow, None, "", 40)),
        ("no answer", rule(Fault::Hanging, None, "", 2)),
        ("no answer to an upload", rule(Fault::Hanging, put(), "", 2)),
        ("reset connections", rule(Fault::Reset, None, "", 6)),
        ("resets of uploads", rule(Fault::Reset, put(), "", 6)),
        ("cut bodies", rule(Fault::CutBody, get(), "", 6)),
        (
            "cut manifests",
            rule(Fault::CutBody, get(), "manifest.json", 6),
        ),
        ("short bodies", rule(Fault::ShortBody, get(), ".parquet", 2)),
        ("short indexes", rule(Fault::ShortBody, get(), ".bin", 2)),
        (
            "short manifests",
            rule(Fault::ShortBody, get(), "manifest.json", 2),
        ),
        (
            "flipped bits",
            rule(Fault::FlippedBit, get(), ".parquet", 2),
        ),
        (
            "flipped bits of manifests",
            rule(Fault::FlippedBit, get(), "manifest.json", 2),
        ),
        ("done but 500", rule(Fault::DoneBut500, None, "", 4)),
        (
            "uploads done but 500",
            rule(Fault::DoneBut500, put(), "", 12),
        ),
        (
            "manifest done but 500, then 412",
            rule(Fault::DoneBut500, put(), "manifest.json", 1),
        ),
        (
            "manifests done but 500, twice",
            rule(Fault::DoneBut500, put(), "manifest.json", 5),
        ),
        (
            "manifest done but reset",
            rule(Fault::DoneButReset, put(), "manifest.json", 3),
        ),
        (
            "owner done but 500",
            rule(Fault::DoneBut500, put(), "owner.json", 1),
        ),
        (
            "removals done but 500",
            rule(Fault::DoneBut500, Some(Method::POST), "", 3),
        ),
    ];
    // Most of each is pauses, so several run at once.
    futures::stream::iter(cases)
        .for_each_concurrent(6, |(name, rule)| {
            whatever_happens_nothing_is_lost(name, rule)
        })
        .await;
}

async fn whatever_happens_nothing_is_lost(name: &str, rule: Rule) {
    let s3 = S3::start().await;
    println!("{name}");
    // From the first request on, uploads included.
    s3.inject(std::slice::from_ref(&rule));
    let mut server = Server::start(&uncached(&s3)).await.unwrap();
    for n in 0..2 {
        write(&server.urls, n).await.unwrap();
        wait_until("a flush", async || {
            post(&server.urls, "/-/flush").await.0 == 204
        })
        .await;
    }
    assert_eq!(
        answers(&server.urls).await,
        expected(0..2),
        "{name}: after uploads"
    );
    s3.inject(std::slice::from_ref(&rule));
    wait_until("a compaction", async || {
        post(&server.urls, "/-/compact").await.0 == 204
    })
    .await;
    assert_eq!(
        answers(&server.urls).await,
        expected(0..2),
        "{name}: after a compaction"
    );
    // And at a start, when nothing is in the cache and no manifest is known.
    server.kill();
    for signal in SIGNALS {
        std::fs::remove_dir_all(server.storage().join("bucket").join(signal)).unwrap();
    }
    s3.inject(std::slice::from_ref(&rule));
    server.restart().await.unwrap();
    assert_eq!(
        answers(&server.urls).await,
        expected(0..2),
        "{name}: after a restart"
    );
    assert!(s3.met() > 0, "{name}: the fault was never met");
    s3.inject(&[]);
    server.restart().await.unwrap();
    assert_eq!(
        answers(&server.urls).await,
        expected(0..2),
        "{name}: when all is over"
    );
    let damaged = text(&server.urls, "/metrics").await;
    assert!(
        !damaged.contains("trilobite_damaged_file{"),
        "{name}: {damaged}"
    );
}

/// A file of many parts, and faults among them.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_up_in_parts() {
    let s3 = S3::start().await;
    let server = Server::start(&options(&s3)).await.unwrap();
    data::write_noise(&server.urls, 24 << 20).await;
    let before = data::noise_digest(&server.urls).await;
    s3.inject(&[
        rule(Fault::DoneBut500, Some(Method::POST), "entries.parquet", 2),
        rule(Fault::Reset, Some(Method::PUT), "entries.parquet", 1),
        rule(Fault::Broken, Some(Method::PUT), "entries.parquet", 1),
    ]);
    wait_until("a flush", async || {
        post(&server.urls, "/-/flush").await.0 == 204
    })
    .await;
    assert!(s3.met() >= 4);
    let seen = s3.seen();
    let parts = seen
        .iter()
        .filter(|s| s.method == Method::PUT && s.key.ends_with("entries.parquet"));
    assert!(parts.count() >= 2, "{seen:?}");
    assert_eq!(data::noise_digest(&server.urls).await, before);
}
