//! One rule, ready to be evaluated, and how its last evaluation went.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use promql::Expr;
use storage::model::Labels;

use super::alerting::Alerting;
use crate::config::rule_file::{self, Pairs, RuleGroup, RuleKind};

/// Whether the last evaluation went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// There was none yet.
    #[default]
    Unknown,
    /// It did.
    Good,
    /// It did not.
    Bad,
}

impl Health {
    /// Upstream's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "ok",
            Self::Bad => "err",
        }
    }
}

/// How the last evaluation of a rule went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Well or not.
    pub health: Health,
    /// What went wrong.
    pub last_error: Option<String>,
    /// How long it took.
    pub duration: Duration,
    /// When it began, nanoseconds since the epoch.
    pub started_ns: Option<i64>,
}

/// A rule that can be evaluated.
#[derive(Debug)]
pub struct Rule {
    /// Name of the series, or of the alert.
    pub name: String,
    /// Labels of group and rule together, as written.
    pub labels: Pairs,
    /// What is asked.
    pub expr: Expr,
    /// The same as text.
    pub query: String,
    /// What becomes of the result.
    pub kind: Kind,
    outcome: Mutex<Outcome>,
    /// The series that the last evaluation gave: those that are gone in the next are marked as stale.
    pub(super) series: Mutex<HashSet<Labels>>,
}

/// What becomes of a rule's result.
#[derive(Debug)]
pub enum Kind {
    /// It is stored under a new name.
    Recording,
    /// It is an alert.
    Alerting(Box<Alerting>),
}

impl Rule {
    /// A rule of a file.
    ///
    /// # Errors
    /// A template that does not parse, which the file's reader has refused.
    pub fn new(
        group: &RuleGroup,
        written: &rule_file::Rule,
        restored: bool,
    ) -> Result<Arc<Self>, String> {
        let labels = written.labels_in(group);
        let kind = match &written.kind {
            RuleKind::Record(_) => Kind::Recording,
            RuleKind::Alert {
                name,
                hold,
                keep_firing_for,
                annotations,
            } => Kind::Alerting(Box::new(Alerting::new(
                name,
                (*hold, *keep_firing_for),
                &labels,
                annotations,
                restored,
            )?)),
        };
        Ok(Arc::new(Self {
            name: written.name().to_owned(),
            labels,
            query: promql::printer::print(&written.expr),
            expr: written.expr.clone(),
            kind,
            outcome: Mutex::default(),
            series: Mutex::default(),
        }))
    }

    /// What alerting rules have beside.
    #[must_use]
    pub fn alerting(&self) -> Option<&Alerting> {
        match &self.kind {
            Kind::Recording => None,
            Kind::Alerting(alerting) => Some(alerting),
        }
    }

    /// How the last evaluation went.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome.lock().clone()
    }

    pub(super) fn set_health(&self, result: Result<(), String>) {
        let mut outcome = self.outcome.lock();
        outcome.health = if result.is_ok() {
            Health::Good
        } else {
            Health::Bad
        };
        outcome.last_error = result.err();
    }

    pub(super) fn set_time(&self, started_ns: i64, duration: Duration) {
        let mut outcome = self.outcome.lock();
        outcome.started_ns = Some(started_ns);
        outcome.duration = duration;
    }

    /// By which a rule is known again in a changed group.
    pub(super) fn is_successor_of(&self, other: &Self) -> bool {
        self.name == other.name && self.labels == other.labels
    }
}
