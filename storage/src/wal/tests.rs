//! Acknowledged means present: files cut at every byte, every bit flipped, disks that fail.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::error::Error;
use crate::model::{Record, Tenant};

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    seq: u64,
    tenant: String,
    refused: Vec<u32>,
    kind: u8,
    flags: u32,
    received_ms: i64,
    payload: Vec<u8>,
}

fn options(dir: &Path) -> WalOptions {
    WalOptions {
        segment_bytes: 400,
        step_bytes: 256,
        ..WalOptions::new(dir.to_owned(), Duration::from_secs(1), Arc::default())
    }
}

fn append(wal: &Wal, tenant: &str, refused: &[u32], payload: &[u8]) -> Result<u64, Error> {
    let tenant = Tenant::new(tenant).unwrap();
    let record = Record {
        kind: 7,
        flags: 0xdead_beef,
        received_ms: -5,
        payload,
    };
    let room = wal.reserve(&tenant, payload.len(), 1)?;
    wal.append(room, &tenant, refused, record)
}

fn read(wal: &Wal) -> (Vec<Seen>, ReplayStats) {
    let mut seen = Vec::new();
    let stats = wal
        .replay(&mut |records| {
            for r in records {
                seen.push(Seen {
                    seq: r.seq,
                    tenant: r.tenant.as_str().to_owned(),
                    refused: r.refused.clone(),
                    kind: r.record.kind,
                    flags: r.record.flags,
                    received_ms: r.record.received_ms,
                    payload: r.record.payload.to_vec(),
                });
            }
            Ok(())
        })
        .unwrap();
    (seen, stats)
}

fn reopen(dir: &Path) -> (Wal, Vec<Seen>, ReplayStats) {
    let wal = Wal::open(options(dir)).unwrap();
    let (seen, stats) = read(&wal);
    (wal, seen, stats)
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let all = segment::list(dir).unwrap();
    all.into_iter().map(|(_, path)| path).collect()
}

/// A folder with one segment of five records of different shapes.
fn five(dir: &Path) -> Vec<Seen> {
    let wal = Wal::open(options(dir)).unwrap();
    append(&wal, "a", &[], b"first").unwrap();
    append(&wal, "tenant-b", &[0, 3, 4000], b"").unwrap();
    append(&wal, "a", &[], &[0; 40]).unwrap();
    append(&wal, "a", &[9], b"TRILOWAL").unwrap();
    append(&wal, "c", &[], b"last").unwrap();
    wal.close().unwrap();
    let (_, seen, stats) = reopen(dir);
    assert_eq!(stats.records, 5);
    seen
}

/// A segment of layout version 1 with one record, as `docs/wal-format.md` describes it.
const VERSION_1: &[&str] = &[
    "5452494c4f57414c0100000001000000000000002100000054db7939010000000000000007010100efbeaddefbffffff",
    "ffffffff020000006101047879",
];

#[test]
fn segments_of_the_first_version_stay_readable_and_are_what_is_written() {
    let hex: String = VERSION_1.concat();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = segment::path(dir.path(), 1);
    std::fs::write(&path, &bytes).unwrap();
    let (_, seen, _) = reopen(dir.path());
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].refused.as_slice(), seen[0].payload.as_slice()),
        (&[1, 5][..], &b"xy"[..])
    );
    std::fs::remove_file(&path).unwrap();
    let wal = Wal::open(options(dir.path())).unwrap();
    append(&wal, "a", &[1, 5], b"xy").unwrap();
    wal.close().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn records_come_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let seen = five(dir.path());
    assert_eq!(
        seen[1],
        Seen {
            seq: 2,
            tenant: "tenant-b".to_owned(),
            refused: vec![0, 3, 4000],
            kind: 7,
            flags: 0xdead_beef,
            received_ms: -5,
            payload: Vec::new(),
        }
    );
    let numbers: Vec<_> = seen.iter().map(|s| s.seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[test]
fn a_file_cut_at_any_byte_keeps_the_whole_records_before_it_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let seen = five(dir.path());
    let path = segments(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    for len in 0..=whole.len() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(path.file_name().unwrap()), &whole[..len]).unwrap();
        let (wal, found, stats) = reopen(dir.path());
        assert_eq!(found, seen[..found.len()], "cut at {len}");
        assert_eq!(stats.corrupt, 0, "cut at {len}");
        if len == whole.len() {
            assert_eq!(found.len(), 5);
        }
        append(&wal, "d", &[], b"after").unwrap();
        wal.close().unwrap();
        let (_, again, stats) = reopen(dir.path());
        assert_eq!(again.len(), found.len() + 1, "cut at {len}");
        assert_eq!(again.last().unwrap().payload, b"after");
        assert_eq!((stats.corrupt, stats.torn_bytes), (0, 0), "cut at {len}");
    }
}

#[test]
fn a_flipped_bit_costs_one_record_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let seen = five(dir.path());
    let path = segments(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    // Headers of segments are looked at by another test.
    for bit in segment::SEGMENT_HEADER_LEN * 8..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut found = Vec::new();
        let scan = segment::scan(&bytes, 0, &mut |r| {
            found.push(r.seq);
            Ok(())
        })
        .unwrap();
        let missing = seen.iter().filter(|s| !found.contains(&s.seq)).count();
        assert_eq!(missing, 1, "bit {bit}: {found:?}");
        assert!(found.is_sorted());
        assert_eq!(scan.corrupt + u64::from(scan.torn), 1, "bit {bit}");
    }
}

#[test]
fn a_damaged_segment_header_costs_no_record_but_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    five(dir.path());
    let path = segments(dir.path()).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[0] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(reopen(dir.path()).1.len(), 5);
    let mut bytes = whole;
    bytes[8] = 2;
    std::fs::write(&path, &bytes).unwrap();
    let wal = Wal::open(options(dir.path())).unwrap();
    let refusal = wal.replay(&mut |_| Ok(())).unwrap_err();
    assert!(refusal.to_string().contains("newer version"), "{refusal}");
}

#[test]
fn a_crash_leaves_zeros_which_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(options(dir.path())).unwrap();
    append(&wal, "a", &[], b"x").unwrap();
    drop(wal);
    let path = segments(dir.path()).remove(0);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 256);
    let (_, seen, stats) = reopen(dir.path());
    assert_eq!(seen.len(), 1);
    assert_eq!((stats.corrupt, stats.torn_bytes), (0, 0));
}

#[test]
fn segments_follow_each_other_and_go_when_they_are_covered() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(options(dir.path())).unwrap();
    for n in 0..20u8 {
        append(&wal, "a", &[], &[n; 60]).unwrap();
    }
    append(&wal, "a", &[], &[20; 3000]).unwrap();
    assert_eq!(wal.last_seq(), 21);
    let all = segments(dir.path());
    assert!(all.len() > 4, "{all:?}");
    wal.drop_through(1).unwrap();
    assert_eq!(
        segments(dir.path()),
        all,
        "the first segment holds newer records"
    );
    wal.drop_through(20).unwrap();
    assert_eq!(segments(dir.path()), all[all.len() - 1..]);
    wal.seal();
    wal.drop_through(21).unwrap();
    assert!(segments(dir.path()).is_empty());
    assert_eq!(wal.size(), (0, 0));
    append(&wal, "a", &[], b"on").unwrap();
    wal.close().unwrap();
    let (_, seen, _) = reopen(dir.path());
    assert_eq!(seen[0].seq, 22);
}

#[test]
fn numbers_go_on_behind_what_blocks_cover() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(options(dir.path())).unwrap();
    read(&wal);
    wal.skip_to(1 << 40);
    assert_eq!(append(&wal, "a", &[], b"x").unwrap(), (1 << 40) + 1);
    wal.close().unwrap();
    let (wal, seen, _) = reopen(dir.path());
    assert_eq!(seen.len(), 1);
    assert_eq!(append(&wal, "a", &[], b"y").unwrap(), (1 << 40) + 2);
}

#[test]
fn more_refused_items_than_expected_find_their_room() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(options(dir.path())).unwrap();
    let refused: Vec<u32> = (0..300).map(|i| i * 1000).collect();
    append(&wal, "a", &refused, b"x").unwrap();
    append(&wal, "a", &[], b"y").unwrap();
    drop(wal);
    let (_, seen, stats) = reopen(dir.path());
    assert_eq!(seen[0].refused, refused);
    assert_eq!(seen.len(), 2);
    assert_eq!(stats.corrupt, 0);
}

#[test]
fn after_a_failure_nothing_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::open(options(dir.path())).unwrap();
    append(&wal, "a", &[], b"x").unwrap();
    wal.poison("disk on fire");
    let refusal = append(&wal, "a", &[], b"y").unwrap_err();
    assert!(matches!(&refusal, Error::Poisoned(why) if why == "disk on fire"));
    assert!(matches!(wal.sync(), Err(Error::Poisoned(_))));
    drop(wal);
    assert_eq!(reopen(dir.path()).1.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_zero_interval_an_answer_waits_for_its_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions {
        sync_interval: Duration::ZERO,
        ..options(dir.path())
    };
    let wal = std::sync::Arc::new(Wal::open(options).unwrap());
    let stop = tokio::sync::watch::Sender::new(false);
    let task = tokio::spawn(std::sync::Arc::clone(&wal).run_sync(stop.subscribe()));
    for n in 1..=3 {
        let seq = append(&wal, "a", &[], b"x").unwrap();
        wal.commit(seq).await.unwrap();
        assert!(wal.synced.borrow().as_ref().is_ok_and(|&s| s >= n));
    }
    assert!(wal.syncs() >= 1);
    stop.send_replace(true);
    task.await.unwrap();
    wal.poison("gone");
    assert!(matches!(wal.commit(4).await, Err(Error::Poisoned(_))));
}
