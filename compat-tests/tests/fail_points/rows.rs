//! The rows of the matrix: what lies there, and the work in which the process dies.

use std::fmt;

use super::data::{DAY_S, NEXT_DAY};

/// Series of the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Samples of batches with even numbers.
    Even,
    /// Native histograms.
    Sizes,
}

impl Of {
    pub(crate) fn matcher(self) -> &'static str {
        match self {
            Self::Even => r#"bucket_total{series="s0"}"#,
            Self::Sizes => "bucket_sizes",
        }
    }
}

/// Work for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A batch of each signal.
    Write(usize),
    /// The same, but of its records a part does not get to the disk. The process does nothing else afterwards.
    Torn(usize),
    /// Metadata and an exemplar.
    Remember,
    /// So much of the logs that a limit of the size drops it.
    Noise,
    /// So much in the log that the head is written down.
    Pad,
    /// Waits until it is.
    HeadSnapshot,
    Flush,
    Compact,
    /// Deletes from one time to another, in seconds of the first batch.
    Delete(&'static [Of], i64, i64),
    Clean,
    /// Of the storage.
    Snapshot,
    /// A stop in good order.
    Stop,
}

/// What one process does.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    /// Point and time; `None` when it is killed after its steps.
    pub(crate) dies_at: Option<(&'static str, u32)>,
    /// Of a process that dies the last, or a part of it, is not answered. One that dies at its start has none.
    pub(crate) steps: Vec<Step>,
    /// How many selections of an unanswered deletion hold.
    pub(crate) holds: usize,
    /// The bucket cannot be reached.
    pub(crate) without_bucket: bool,
}

impl Phase {
    fn new(dies_at: Option<(&'static str, u32)>, steps: &[Step]) -> Self {
        Self {
            dies_at,
            steps: steps.to_vec(),
            holds: 0,
            without_bucket: false,
        }
    }
}

/// What drops old blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Drops the noise alone.
    Size,
    /// Drops the first day.
    Age,
}

impl Limit {
    pub(crate) fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Size => &["--retention.size=1MiB"],
            Self::Age => &[
                "--retention.metrics=12h",
                "--retention.logs=12h",
                "--retention.traces=12h",
            ],
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What the point is met in.
    work: &'static str,
    pub(crate) in_bucket: bool,
    /// Several have the same data.
    pub(crate) has_tenants: bool,
    /// For the processes that die and those after them.
    pub(crate) limit: Option<Limit>,
    pub(crate) phases: Vec<Phase>,
}

impl Row {
    pub(crate) fn point(&self) -> (&'static str, u32) {
        let last = self.phases.last();
        last.and_then(|phase| phase.dies_at).unwrap_or_default()
    }

    fn in_bucket(mut self) -> Self {
        self.in_bucket = true;
        self
    }

    fn within(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    fn of_tenants(mut self) -> Self {
        self.has_tenants = true;
        self
    }

    /// The unanswered deletion holds, for so many of its selections.
    fn holding(mut self, holds: usize) -> Self {
        if let Some(last) = self.phases.last_mut() {
            last.holds = holds;
        }
        self
    }

    /// One more process, that dies at its start.
    fn and_then_at_a_start(mut self, point: &'static str, time: u32) -> Self {
        self.phases.push(Phase::new(Some((point, time)), &[]));
        self
    }

    /// One more process, that is killed after its steps, all the time without the bucket.
    fn and_then_without_bucket(mut self, steps: &[Step]) -> Self {
        let mut phase = Phase::new(None, steps);
        phase.without_bucket = true;
        self.phases.push(phase);
        self
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (point, time) = self.point();
        let place = match self.phases.iter().any(|p| p.without_bucket) {
            true => ", bucket that goes",
            false if self.in_bucket => ", bucket",
            false => "",
        };
        let whose = if self.has_tenants { ", tenants" } else { "" };
        let time = format!("{point}={time}");
        write!(f, "{time:<31}{}{place}{whose}", self.work)
    }
}

/// Work by its name: what lies there, and in what the process dies.
struct Work {
    name: &'static str,
    before: Vec<Step>,
    then: Vec<Step>,
}

impl Work {
    fn at(&self, point: &'static str, time: u32) -> Row {
        let before = (!self.before.is_empty()).then(|| Phase::new(None, &self.before));
        let then = Phase::new(Some((point, time)), &self.then);
        Row {
            work: self.name,
            in_bucket: false,
            has_tenants: false,
            limit: None,
            phases: before.into_iter().chain([then]).collect(),
        }
    }
}

#[rustfmt::skip]
pub(crate) fn rows() -> Vec<Row> {
    use Step::{Clean, Compact, Delete, Flush, HeadSnapshot, Noise, Pad, Remember, Snapshot, Stop, Torn, Write};
    let work = |name, before: &[Step], then: &[Step]| Work { name, before: before.to_vec(), then: then.to_vec() };

    // Batches 0 to 2 are minutes apart; the second half of batch 0 and the first of batch 2 are deleted.
    let delete = Delete(&[Of::Even], 2, 122);
    let delete_two = Delete(&[Of::Even, Of::Sizes], 2, 122);
    let delete_next_day = Delete(&[Of::Even, Of::Sizes], DAY_S, 2 * DAY_S - 2);

    let head = [Write(0), Flush, Write(1), Remember];
    let blocks = [Write(0), Remember, Flush, Write(1), Flush, Write(2)];
    let deleted = [Write(0), Write(1), Remember, Flush, Write(2), Flush, Write(3), delete];

    let first_start = work("a first start", &[], &[]);
    let start = work("a start", &head, &[]);
    let append = work("a write", &head, &[Write(2)]);
    let cut = work("a cut", &head, &[Write(2), Write(NEXT_DAY), Remember, Flush]);
    let cut_of_deleted = work("a cut after a deletion", &[Write(0), Write(2), Remember, delete], &[Write(1), Flush]);
    let long_log = work("a long log", &head, &[Write(2), Pad]);
    let longer_log = work("a longer log", &[Write(0), Remember, Pad, HeadSnapshot], &[Write(2), Pad]);
    let cut_of_snapshot = work("a cut after a snapshot of the head", &[Write(0), Remember, Pad, HeadSnapshot], &[Write(2), Flush]);
    let compaction = work("a compaction", &blocks, &[Compact]);
    let compaction_of_deleted = work("a compaction after a deletion", &deleted, &[Compact]);
    let deletion = work("a deletion", &[Write(0), Write(1), Remember, Flush, Write(2)], &[delete_two]);
    let repeated_deletion = work("a repeated deletion", &deleted, &[delete]);
    let bucket_deletion = work("a deletion", &[Write(0), Write(1), Flush, Write(2)], &[delete, Flush]);
    let cleaning = work("a cleaning", &deleted, &[Clean]);
    let bucket_cleaning = work("a cleaning", &deleted, &[Clean, Flush]);
    let emptying = work("a cleaning that leaves nothing of a day",
        &[Write(0), Write(NEXT_DAY), Remember, Flush, delete_next_day], &[Clean]);
    let retention = work("a limit of the size",
        &[Write(0), Flush, Noise, Flush, Write(NEXT_DAY), Remember, Flush], &[Flush]);
    let aging = work("a limit of the age", &[Write(0), Flush, Write(NEXT_DAY), Flush], &[Compact]);
    let torn = work("a start after torn records", &[Write(0), Flush, Write(1), Remember, Torn(2)], &[]);
    let snapshot = work("a snapshot of the storage", &blocks, &[Snapshot]);
    let stop = work("a stop", &head, &[Write(2), Stop]);

    vec![
        append.at("wal.segment-created", 1),
        append.at("wal.segment-allocated", 1),
        append.at("wal.segment-started", 1),
        long_log.at("wal.segment-extended", 1),
        cut.at("wal.segment-sealed", 1),
        cut.at("wal.segment-sealed", 3),
        cut.at("wal.segment-removed", 1),
        cut.at("wal.segment-removed", 4),

        first_start.at("file.before-rename", 1),
        first_start.at("file.before-rename", 2),
        cut.at("file.before-rename", 1),
        cut.at("file.before-rename", 2).in_bucket(),
        deletion.at("file.before-rename", 1),
        deletion.at("file.before-rename", 2).holding(1),
        cut.at("remembered.written", 1),

        cut.at("cut.frozen", 1),
        cut.at("cut.staged", 1),
        cut.at("block.file", 1),
        cut.at("block.file", 5),
        cut.at("block.before-manifest", 1),
        cut.at("block.manifest-copy", 1),
        cut.at("block.manifest", 1),
        cut.at("block.manifest", 4),
        cut.at("cut.before-switch", 1),
        cut.at("cut.before-log", 1),
        cut.at("cut.before-log", 2),
        cut.at("cut.snapshots-dropped", 1),
        cut.at("cut.done", 1),
        cut_of_deleted.at("block.manifest", 1),
        cut_of_deleted.at("cut.before-log", 1),
        cut_of_deleted.at("cut.done", 3),
        cut_of_snapshot.at("cut.before-log", 1),
        cut_of_snapshot.at("cut.snapshots-dropped", 3),

        long_log.at("head-snapshot.midst", 1),
        long_log.at("head-snapshot.before-rename", 1),
        long_log.at("head-snapshot.before-log", 1),
        longer_log.at("head-snapshot.old-removed", 1),

        cut.at("upload.before-files", 1).in_bucket(),
        cut.at("upload.file", 1).in_bucket(),
        cut.at("upload.file", 6).in_bucket(),
        cut.at("upload.before-manifest", 1).in_bucket(),
        cut.at("block.manifest-copy", 7).in_bucket(),
        cut.at("upload.manifest", 1).in_bucket(),
        cut.at("upload.entered", 1).in_bucket(),
        cut.at("upload.before-removal", 1).in_bucket(),
        cut.at("upload.remembered", 1).in_bucket(),
        cut.at("removal.manifest", 1).in_bucket(),
        cut.at("removal.file", 1).in_bucket(),
        cut.at("removal.done", 1).in_bucket(),
        bucket_deletion.at("upload.tombstone", 1).in_bucket().holding(1),
        bucket_cleaning.at("upload.tombstone-removed", 1).in_bucket(),

        compaction.at("compact.written", 1),
        compaction.at("block.before-manifest", 1),
        compaction.at("block.manifest-copy", 1),
        compaction.at("compact.published", 1),
        compaction.at("compact.before-removal", 1),
        compaction.at("removal.manifest", 1),
        compaction.at("removal.file", 1),
        compaction.at("removal.done", 1),
        compaction_of_deleted.at("compact.published", 1),
        compaction_of_deleted.at("removal.manifest", 1),
        compaction_of_deleted.at("removal.done", 2),
        compaction.at("block.file", 1).in_bucket(),
        compaction.at("block.manifest-copy", 1).in_bucket(),
        compaction.at("compact.published", 1).in_bucket(),
        compaction.at("compact.entered", 1).in_bucket(),
        compaction.at("compact.before-removal", 1).in_bucket(),
        compaction.at("removal.left", 1).in_bucket(),
        compaction.at("removal.manifest", 1).in_bucket(),
        compaction.at("removal.done", 1).in_bucket(),

        retention.at("retention.before-removal", 1).within(Limit::Size),
        retention.at("removal.switched", 1).within(Limit::Size),
        retention.at("removal.manifest", 1).within(Limit::Size),
        retention.at("removal.file", 1).within(Limit::Size),
        retention.at("removal.manifest", 1).within(Limit::Size).in_bucket(),

        aging.at("retention.before-removal", 1).within(Limit::Age),
        aging.at("removal.switched", 2).within(Limit::Age),
        aging.at("removal.manifest", 3).within(Limit::Age),
        aging.at("retention.before-removal", 2).within(Limit::Age).in_bucket(),

        deletion.at("delete.applied", 1),
        deletion.at("delete.kept", 1).holding(1),
        deletion.at("delete.kept", 2).holding(2),
        deletion.at("delete.done", 1).holding(2),
        repeated_deletion.at("tombstone.before-removal", 1),
        repeated_deletion.at("tombstone.removed", 1),
        cleaning.at("clean.cut", 1),
        cleaning.at("compact.written", 1),
        cleaning.at("compact.published", 1),
        cleaning.at("removal.manifest", 1),
        cleaning.at("clean.rewritten", 1),
        cleaning.at("clean.before-tombstones", 1),
        cleaning.at("tombstone.before-removal", 1),
        cleaning.at("tombstone.removed", 1),
        bucket_cleaning.at("clean.rewritten", 1).in_bucket(),
        bucket_cleaning.at("tombstone.removed", 1).in_bucket(),
        emptying.at("compact.cut-completed", 1),
        emptying.at("compact.cut-completed", 2),
        emptying.at("removal.manifest", 1),

        snapshot.at("snapshot.block-copied", 1),
        snapshot.at("snapshot.before-rename", 1),

        stop.at("close.before-cut", 1),
        stop.at("cut.before-log", 1),
        stop.at("close.before-upload", 1),
        stop.at("close.before-upload", 1).in_bucket(),
        stop.at("upload.manifest", 1).in_bucket(),
        stop.at("close.before-log", 1),
        stop.at("close.done", 1),

        start.at("start.replayed", 1),
        start.at("start.replayed", 3),
        cut.at("block.manifest", 1).and_then_at_a_start("start.gone-removed", 1),
        compaction.at("compact.before-removal", 1).and_then_at_a_start("start.gone-removed", 1),
        compaction.at("compact.before-removal", 1).in_bucket().and_then_at_a_start("removal.manifest", 1),
        torn.at("start.replayed", 1),
        torn.at("start.replayed", 3),

        cut.at("upload.manifest", 1).in_bucket().and_then_without_bucket(&[Write(4)]).and_then_at_a_start("start.replayed", 1),
        cut.at("upload.entered", 1).in_bucket().and_then_without_bucket(&[Write(4)]).and_then_at_a_start("start.replayed", 3),
        compaction.at("compact.entered", 1).in_bucket().and_then_without_bucket(&[Write(4)]).and_then_at_a_start("start.replayed", 1),
        compaction.at("compact.before-removal", 1).in_bucket().and_then_without_bucket(&[Write(4)]).and_then_at_a_start("removal.manifest", 1),
        deletion.at("delete.kept", 1).holding(1).in_bucket().and_then_without_bucket(&[Write(4)]).and_then_at_a_start("start.replayed", 1),

        append.at("wal.segment-started", 1).of_tenants(),
        cut.at("cut.staged", 2).of_tenants(),
        cut.at("block.manifest", 3).of_tenants(),
        cut.at("cut.before-log", 1).of_tenants(),
        cut.at("upload.entered", 2).in_bucket().of_tenants(),
        compaction.at("compact.published", 2).of_tenants(),
        compaction.at("removal.manifest", 2).of_tenants(),
        start.at("start.replayed", 2).of_tenants(),
    ]
}
