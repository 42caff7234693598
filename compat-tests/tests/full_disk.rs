//! A disk without room, not even a reserve: writes are refused until there is some again, and nothing that was acknowledged is lost.
//!
//! The disk is one in memory that the test mounts for itself. Where it may not, it says so and passes.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test")]

#[path = "bucket/data.rs"]
#[allow(dead_code, reason = "shared with the tests of the bucket")]
mod data;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use compat_tests::sample::T0;
use compat_tests::server::{Options, Server, Urls};

use data::{answers, expected, pad, write};

/// The disk, and what is taken away from it at first. The rest is less than what a log grows to before the head is written down in its place.
const DISK: &str = "size=64m";
const BALLAST_BYTES: usize = 46 << 20;
/// Far more than fits.
const MAX_PADDINGS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(20);

/// A disk, mounted as long as this lives.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", DISK, "none"]);
        let mount = mount.arg(disk.0.path()).stderr(Stdio::null()).status();
        mount.is_ok_and(|s| s.success()).then_some(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Without a mount it fails, and nothing is lost by that.
        let mut unmount = Command::new("umount");
        let _ = unmount.arg(self.path()).stderr(Stdio::null()).status();
    }
}

async fn count_paddings(urls: &Urls) -> usize {
    let (web, at) = (&urls.web, T0 + 3600);
    let url = format!("{web}/api/v1/query?query=padding%5B2h%5D&time={at}");
    let found = data::get(&url).await.unwrap();
    let values = found.pointer("/data/result/0/values");
    values.and_then(|v| v.as_array()).map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_loses_nothing_that_was_acknowledged() {
    let Some(disk) = Disk::mount() else {
        println!("skipped: no disk can be mounted here");
        return;
    };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST_BYTES]).unwrap();
    let mut options = Options::common().with("--storage.min-free=0");
    options.storage = Some(disk.path().join("data"));
    let mut server = Server::start(&options).await.unwrap();
    write(&server.urls, 0).await.unwrap();

    let mut acknowledged = 0;
    loop {
        let answer = pad(&server.urls, acknowledged).await.unwrap();
        if answer.status != 204 {
            let said = String::from_utf8_lossy(&answer.body);
            assert_eq!(answer.status, 503, "{said}");
            break;
        }
        acknowledged += 1;
        assert!(acknowledged < MAX_PADDINGS, "the disk does not become full");
    }
    println!("{acknowledged} paddings were taken");
    assert!(acknowledged > 0);
    assert_eq!(count_paddings(&server.urls).await, acknowledged);
    assert_eq!(answers(&server.urls).await, expected([0]));

    // Another refusal changes nothing, and room lets writes go on without a restart.
    let again = pad(&server.urls, acknowledged).await.unwrap();
    assert_eq!(again.status, 503);
    std::fs::remove_file(&ballast).unwrap();
    let until = Instant::now() + PATIENCE;
    while pad(&server.urls, acknowledged).await.unwrap().status != 204 {
        assert!(Instant::now() < until, "{}", server.last_words());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    acknowledged += 1;
    write(&server.urls, 1).await.unwrap();
    for _ in 0..2 {
        assert_eq!(count_paddings(&server.urls).await, acknowledged);
        assert_eq!(answers(&server.urls).await, expected([0, 1]));
        server.restart().await.unwrap();
    }
}
