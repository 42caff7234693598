//! Fail points: places at which a test kills the process, so that it can see what the next start makes of what lies on disk.
//!
//! A test names one in the environment: `TRILOBITE_FAIL_POINT=cut.frozen` ends the process the first time that it gets there,
//! `TRILOBITE_FAIL_POINT=cut.frozen=3` the third time. It ends as with `kill -9`: no destructor runs, nothing is flushed.
//!
//! This is for tests only. Where none is named, and that is everywhere else, a point costs one load of an atomic; none
//! lies on the path of a sample, and those of the log only where a segment is begun, extended, ended or removed.

use std::io::Write;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

macro_rules! points {
    ($($point:ident $name:literal $doc:literal)*) => {
        /// A place in the program, in the order of the work that gets there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FailPoint {
            $(#[doc = $doc] $point,)*
        }

        impl FailPoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// As it is named in the environment.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    SegmentCreated "wal.segment-created" "A segment is an empty file."
    SegmentAllocated "wal.segment-allocated" "A segment has its room and no header."
    SegmentStarted "wal.segment-started" "A segment has its header and no record."
    SegmentExtended "wal.segment-extended" "A segment has more room than a moment ago."
    SegmentSealed "wal.segment-sealed" "A segment was ended; there is no other one yet."
    SegmentRemoved "wal.segment-removed" "One of the segments that are not needed is gone."

    FileBeforeRename "file.before-rename" "A small file (version, owner, manifest, tombstone, …) lies beside its place."
    RememberedWritten "remembered.written" "What no block holds is on disk."

    CutFrozen "cut.frozen" "The head is frozen, nothing is written."
    CutStaged "cut.staged" "A tenant's blocks are written below `tmp`."
    BlockFilePut "block.file" "A file of a block is at its place, there or in the bucket; not by an upload."
    BlockBeforeManifest "block.before-manifest" "All files of blocks are at their places, no manifest is."
    BlockManifestCopy "block.manifest-copy" "The copy of a manifest is there, the manifest is not."
    BlockManifest "block.manifest" "A manifest is there, others of the same cut or merge may not be; not by an upload."
    CutBeforeSwitch "cut.before-switch" "All manifests are there; queries still see the frozen head."
    CutBeforeLog "cut.before-log" "Queries see the blocks; the log still has all of them."
    CutSnapshotsDropped "cut.snapshots-dropped" "Snapshots of the head are gone, the log is not."
    CutDone "cut.done" "The log has nothing of the cut any more."

    HeadSnapshotMidst "head-snapshot.midst" "A snapshot of the head is written in part."
    HeadSnapshotBeforeRename "head-snapshot.before-rename" "A snapshot of the head is whole and lies beside its place."
    HeadSnapshotBeforeLog "head-snapshot.before-log" "A snapshot of the head is at its place, older ones and the log are too."
    HeadSnapshotOldRemoved "head-snapshot.old-removed" "An older snapshot of the head is gone, the log is not."

    UploadTombstone "upload.tombstone" "A tombstone is in the bucket."
    UploadTombstoneRemoved "upload.tombstone-removed" "A tombstone is gone from the bucket."
    UploadBeforeFiles "upload.before-files" "A block is about to go up."
    UploadFile "upload.file" "A file of a block is in the bucket."
    UploadBeforeManifest "upload.before-manifest" "All files of a block are in the bucket, its manifest is not."
    UploadManifest "upload.manifest" "A block is in the bucket and on local disk; the folder does not know."
    UploadEntered "upload.entered" "The folder knows that a block is in the bucket; queries still read local disk."
    UploadBeforeRemoval "upload.before-removal" "Queries read the bucket; the block is on local disk still."
    UploadRemembered "upload.remembered" "What no block holds is in the bucket."

    CompactWritten "compact.written" "A merged block is written below `tmp`."
    CompactPublished "compact.published" "A merged block and those it replaces are there."
    CompactEntered "compact.entered" "The folder knows that a merged block is in the bucket."
    CompactCutCompleted "compact.cut-completed" "Of a block that completes its cut from now on the manifest's copy says so, or both do."
    CompactBeforeRemoval "compact.before-removal" "All is ready for the replaced blocks to go."

    RetentionBeforeRemoval "retention.before-removal" "Blocks are chosen to be dropped."

    RemovalLeft "removal.left" "The folder says no more that blocks are in the bucket."
    RemovalSwitched "removal.switched" "Queries do not see the blocks; all of them are there."
    RemovalManifest "removal.manifest" "A block's manifest is gone, its files are there."
    RemovalFile "removal.file" "One of the files of a block is gone."
    RemovalDone "removal.done" "One of the blocks is gone."

    DeleteApplied "delete.applied" "Queries do not see what is deleted; no tombstone is on disk."
    DeleteKept "delete.kept" "A tombstone is on disk, others of the same request may not be."
    DeleteDone "delete.done" "A deletion is done and not answered."
    CleanCut "clean.cut" "The head is cut, no block is rewritten."
    CleanRewritten "clean.rewritten" "One of the blocks with deleted samples is rewritten."
    CleanBeforeTombstones "clean.before-tombstones" "All blocks are rewritten; the tombstones are there."
    TombstoneBeforeRemoval "tombstone.before-removal" "Tombstones are not needed any more, and are there."
    TombstoneRemoved "tombstone.removed" "One of the tombstones is gone."

    SnapshotBlockCopied "snapshot.block-copied" "A block is in an unfinished snapshot of the storage."
    SnapshotBeforeRename "snapshot.before-rename" "A snapshot of the storage is whole and lies beside its place."

    CloseBeforeCut "close.before-cut" "A stop was asked for, background work has ended."
    CloseBeforeUpload "close.before-upload" "The heads are cut, nothing went up."
    CloseBeforeLog "close.before-log" "All is done but the log is not closed."
    CloseDone "close.done" "The storage is closed."

    StartGoneRemoved "start.gone-removed" "A start has removed the manifest of a block that does not count."
    StartReplayed "start.replayed" "A start has replayed the log of a signal."
}

/// At which point to end, and the how many-th time it is reached (from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailAt {
    point: FailPoint,
    time: u32,
}

impl FromStr for FailAt {
    type Err = String;

    /// Reads `NAME` or `NAME=N`; an unknown name is answered with all that there are.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, time) = text.split_once('=').unwrap_or((text, "1"));
        let time = time.parse().ok().filter(|&n| n > 0);
        let time = time.ok_or_else(|| format!("{text:?}: the number behind = counts from 1"))?;
        let point = FailPoint::ALL.iter().find(|p| p.name() == name);
        let &point = point.ok_or_else(|| {
            let names: Vec<_> = FailPoint::ALL.iter().map(|p| p.name()).collect();
            format!("no fail point {name:?}; there are {}", names.join(", "))
        })?;
        Ok(Self { point, time })
    }
}

struct Armed {
    point: FailPoint,
    left: AtomicU32,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// From now on the process ends there. Only the first call of a process counts.
pub(crate) fn arm(at: FailAt) {
    tracing::warn!(
        point = at.point.name(),
        time = at.time,
        "this process is going to kill itself at a fail point: that is for tests"
    );
    ARMED.get_or_init(|| Armed {
        point: at.point,
        left: AtomicU32::new(at.time),
    });
}

/// Ends the process if it was told to end here.
pub(crate) fn reach(point: FailPoint) {
    if let Some(armed) = ARMED.get()
        && armed.point == point
        && armed.left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        // Tells a test that it was this point and no other end.
        let _ = writeln!(std::io::stderr(), "fail point {} reached", point.name());
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_named_once_and_found_by_its_name() {
        for &point in FailPoint::ALL {
            let at = FailAt { point, time: 1 };
            assert_eq!(point.name().parse(), Ok(at));
            let third = format!("{}=3", point.name());
            assert_eq!(third.parse(), Ok(FailAt { point, time: 3 }));
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let refusal = |text: &str| text.parse::<FailAt>().unwrap_err();
        assert!(refusal("nowhere").starts_with("no fail point \"nowhere\"; there are wal."));
        assert!(refusal("nowhere").ends_with(", start.replayed"));
        assert!(refusal("cut.frozen=0").contains("counts from 1"));
        assert!(refusal("cut.frozen=x").contains("counts from 1"));
    }
}
