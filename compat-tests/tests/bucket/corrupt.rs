//! Files that are not what was written: on local disk and in the bucket, of each kind and each signal. Whoever needs one
//! is told so; everything else is answered as before.

use std::path::{Path, PathBuf};

use compat_tests::server::{Options, Server};
use futures::StreamExt;

use crate::data::{self, Answers, Of, answers, expected, write};
use crate::s3::{S3, files_below};
use crate::{flush, metric, options, text};

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// A bit changes, at so many hundredths of the file.
    Flip(usize),
    /// So many hundredths are left.
    Cut(usize),
    Removed,
}

const HARMS: [Harm; 6] = [
    Harm::Flip(0),
    Harm::Flip(50),
    Harm::Flip(99),
    Harm::Cut(0),
    Harm::Cut(95),
    Harm::Removed,
];

/// A kind of file, and what cannot be answered without it; nothing, where it is for other readers only or there are two.
const KINDS: [(&str, &[Of]); 11] = [
    ("metrics/series.parquet", &[]),
    // Made anew from the tables.
    ("metrics/index.bin", &[]),
    ("metrics/samples.parquet", &[Of::Samples]),
    ("metrics/histograms.parquet", &[Of::Histograms]),
    ("metrics/manifest.json", &[]),
    ("logs/entries.parquet", &[Of::Lines]),
    ("logs/streams.parquet", &[]),
    ("logs/index.bin", &[Of::Lines]),
    ("logs/manifest.json", &[]),
    ("traces/spans.parquet", &[Of::Spans]),
    ("traces/index.bin", &[Of::Spans]),
];

/// The file of this kind in the block of the first day.
fn find(blocks: &Path, kind: &str) -> PathBuf {
    let (signal, name) = kind.split_once('/').unwrap();
    let mut found = Vec::new();
    files_below(&blocks.join(signal), &mut |path| {
        if path.ends_with(name) {
            found.push(path.to_owned());
        }
    });
    // Names begin with the time: the first day was written first.
    assert_eq!(found.len(), 2, "{kind}: {found:?}");
    found.swap_remove(0)
}

fn harm(path: &Path, harm: Harm) {
    let mut bytes = std::fs::read(path).unwrap();
    match harm {
        Harm::Flip(at) => {
            let at = bytes.len() * at / 100;
            bytes[at] ^= 0x10;
        }
        Harm::Cut(left) => bytes.truncate(bytes.len() * left / 100),
        Harm::Removed => return std::fs::remove_file(path).unwrap(),
    }
    std::fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// What can be asked of the first day and the next, where some of the first cannot be read.
async fn check(server: &Server, when: &str, named: &[(&str, &[Of])]) {
    let urls = &server.urls;
    let unanswered: Vec<(&str, Of)> = named
        .iter()
        .flat_map(|(kind, of)| of.iter().map(|of| (*kind, *of)))
        .collect();
    let next_day = data::answers_since(urls, data::DAY_S).await;
    assert_eq!(next_day, expected([data::NEXT_DAY]), "{when}");
    if unanswered.is_empty() {
        let all = answers(urls).await;
        assert_eq!(all, expected([0, data::NEXT_DAY]), "{when}");
    }
    for (kind, of) in &unanswered {
        let refusal = data::refusal_of_first_day(urls, *of).await;
        assert!(
            refusal.contains(kind.split_once('/').unwrap().1),
            "{when}: {refusal}"
        );
    }
    for of in Of::ALL {
        if !unanswered.iter().any(|(_, o)| *o == of) {
            let whole: Answers = data::first_day_of(urls, of).await;
            assert_eq!(whole, data::only(&expected([0]), of), "{when}: {of:?}");
        }
    }
    write(urls, 7).await.unwrap();
}

async fn assert_named(server: &Server, when: &str, kind: &str) {
    let (signal, name) = kind.split_once('/').unwrap();
    let metrics = text(&server.urls, "/metrics").await;
    let named = metrics.lines().any(|line| {
        line.starts_with("trilobite_damaged_file{") && line.contains(signal) && line.contains(name)
    });
    assert!(named, "{when}: {kind} is not on /metrics");
    assert!(metric(&server.urls, "trilobite_damage_found_total").await >= 1.0);
    let log = std::fs::read_to_string(server.log()).unwrap();
    let logged = log.lines().any(|line| {
        line.contains("a file is damaged") && line.contains(signal) && line.contains(name)
    });
    assert!(logged, "{when}: {kind} is not in the log");
}

type Kinds = Vec<(&'static str, &'static [Of])>;

/// Kinds that are harmed together: one of each signal, so that fewer starts do.
fn together() -> Vec<Kinds> {
    let of = |signal: &str| -> Kinds {
        let own = KINDS.iter().filter(|(kind, _)| kind.starts_with(signal));
        own.copied().collect()
    };
    let signals = [of("metrics/"), of("logs/"), of("traces/")];
    (0..5)
        .map(|n| {
            signals
                .iter()
                .filter_map(|kinds| kinds.get(n).copied())
                .collect()
        })
        .collect()
}

/// Every harm to every kind.
fn cases() -> Vec<(Harm, Kinds)> {
    let of = |what: Harm, mut kinds: Kinds| {
        // Without a manifest there is no block, and nothing that could say so.
        kinds.retain(|(kind, _)| {
            !(matches!(what, Harm::Removed) && kind.ends_with("manifest.json"))
        });
        (what, kinds)
    };
    let all = HARMS.into_iter();
    all.flat_map(|what| together().into_iter().map(move |kinds| of(what, kinds)))
        .collect()
}

/// Does something with each case, a few of them at once.
async fn in_turns(cases: Vec<(Harm, Kinds)>, each: impl AsyncFn(Harm, Kinds)) {
    let each = &each;
    futures::stream::iter(cases)
        .for_each_concurrent(4, async |(what, kinds)| {
            println!("{what:?} of {kinds:?}");
            each(what, kinds).await;
        })
        .await;
}

/// What is harmed is named, and everything else is answered.
async fn check_harmed(server: &Server, what: Harm, kinds: &[(&'static str, &'static [Of])]) {
    let when = format!("{what:?} of {kinds:?}");
    check(server, &when, kinds).await;
    for (kind, of) in kinds {
        if !of.is_empty() || kind.ends_with("manifest.json") {
            assert_named(server, &when, kind).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_local_disk_costs_what_it_holds_and_nothing_else() {
    let pristine = tempfile::tempdir().unwrap();
    let mut opts = Options::common()
        .with("--storage.min-free=0")
        .with("--web.enable-admin-api");
    opts.storage = Some(pristine.path().to_owned());
    let server = Server::start(&opts).await.unwrap();
    for batch in [0, data::NEXT_DAY] {
        write(&server.urls, batch).await.unwrap();
        flush(&server.urls).await;
    }
    drop(server);
    let (opts, pristine) = (&opts, pristine.path());
    in_turns(cases(), async |what, kinds| {
        let folder = tempfile::tempdir().unwrap();
        copy(pristine, folder.path());
        for (kind, _) in &kinds {
            harm(&find(&folder.path().join("blocks"), kind), what);
        }
        let mut opts = opts.clone();
        opts.storage = Some(folder.path().to_owned());
        let server = Server::start(&opts).await.unwrap();
        check_harmed(&server, what, &kinds).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_bucket_costs_what_it_holds_and_nothing_else() {
    let s3 = S3::start().await;
    let server = Server::start(&options(&s3)).await.unwrap();
    for batch in [0, data::NEXT_DAY] {
        write(&server.urls, batch).await.unwrap();
        flush(&server.urls).await;
    }
    let owner = std::fs::read_to_string(server.storage().join("OWNER")).unwrap();
    let take_over = format!("--storage.bucket-take-over={}", owner.trim());
    drop(server);
    let (pristine, take_over) = (s3.folder(), &take_over);
    in_turns(cases(), async |what, kinds| {
        let s3 = S3::start().await;
        copy(&pristine, &s3.folder());
        for (kind, _) in &kinds {
            harm(&find(&s3.folder().join("some/prefix/blocks"), kind), what);
        }
        // A folder of its own each time, which knows nothing but what the bucket says.
        let heir = options(&s3).with(take_over);
        let server = Server::start(&heir).await.unwrap();
        check_harmed(&server, what, &kinds).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_nothing_is_known_of_fails_queries_until_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut opts = Options::common()
        .with("--storage.min-free=0")
        .with("--web.enable-admin-api");
    opts.storage = Some(folder.path().to_owned());
    let server = Server::start(&opts).await.unwrap();
    for batch in [0, data::NEXT_DAY] {
        write(&server.urls, batch).await.unwrap();
        flush(&server.urls).await;
    }
    drop(server);
    let blocks = folder.path().join("blocks");
    for name in ["logs/manifest.json", "logs/manifest.copy.json"] {
        harm(&find(&blocks, name), Harm::Flip(50));
    }
    let mut server = Server::start(&opts).await.unwrap();
    let refusal = data::refusal_of_first_day(&server.urls, Of::Lines).await;
    assert!(refusal.contains("manifest.json"), "{refusal}");
    for of in [Of::Samples, Of::Histograms, Of::Spans] {
        let whole = data::first_day_of(&server.urls, of).await;
        assert_eq!(whole, data::only(&expected([0]), of));
    }
    assert_named(&server, "both copies", "logs/manifest.json").await;
    // What stays is served when the folder is taken away, which is what the log says.
    server.kill();
    let block = find(&blocks, "logs/index.bin");
    std::fs::remove_dir_all(block.parent().unwrap()).unwrap();
    server.restart().await.unwrap();
    let next_day = data::answers_since(&server.urls, data::DAY_S).await;
    assert_eq!(next_day, expected([data::NEXT_DAY]));
    let lines = data::first_day_of(&server.urls, Of::Lines).await;
    assert_eq!(lines, Answers::default());
}

/// Damage on local disk must not be carried into the bucket, and one such block holds no other up.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_block_does_not_go_up() {
    let s3 = S3::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut local = options(&s3);
    local.storage = Some(folder.path().to_owned());
    let with_bucket = local.clone();
    local.args.retain(|a| !a.starts_with("--storage.bucket="));
    let server = Server::start(&local).await.unwrap();
    for batch in [0, data::NEXT_DAY] {
        write(&server.urls, batch).await.unwrap();
        flush(&server.urls).await;
    }
    drop(server);
    harm(
        &find(&folder.path().join("blocks"), "logs/entries.parquet"),
        Harm::Flip(50),
    );
    let server = Server::start(&with_bucket).await.unwrap();
    crate::wait_until("five of six blocks go up", async || {
        metric(&server.urls, "trilobite_bucket_waiting_blocks").await == 1.0
    })
    .await;
    assert_named(&server, "damaged", "logs/entries.parquet").await;
    let named = [("logs/entries.parquet", &[Of::Lines][..])];
    check(&server, "one block cannot go up", &named).await;
    let manifests = s3
        .keys()
        .iter()
        .filter(|k| k.ends_with("manifest.json"))
        .count();
    assert_eq!(manifests, 5);
}
