//! Asks a genuine Prometheus and Trilobite the same expressions, made up from a seed, and holds the answers against each
//! other to the last character.
//!
//! ```text
//! seed ─▶ data ─────▶ both servers
//! seed, number ─▶ case (generate) ─▶ both ─▶ verdict ─▶ differs: shrink ─▶ report
//! ```
//!
//! Recordings hold what somebody thought of asking; this asks what nobody thought of. A case is told by its seed and number
//! alone, so what one run finds the next can ask again.

pub mod case;
pub mod data;
pub mod dice;
pub mod family;
pub mod generate;
pub mod shrink;
pub mod tree;
pub mod verdict;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::compare::Part;
use crate::feed::metrics;
use crate::http::Client;
use case::{Case, Time};
use family::{BEGIN_MS, LENGTH_MS};
use verdict::{Outcome, Verdict, brief, verdict};

/// How many cases one shrinking may ask.
const MAX_TRIES: usize = 1500;
/// How often upstream is asked again where the answers differ: what it puts together from a Go map has another order each time,
/// and then `limitk`, ties, and the series that an error names are whichever came first.
const ASKED_AGAIN: usize = 8;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Trilobite's address.
    pub ours: String,
    /// The genuine Prometheus's.
    pub prometheus: String,
    /// The seed of the expressions.
    pub seed: u64,
    /// The seed of the dataset.
    pub data: u64,
    /// Histograms of the dataset list empty buckets too.
    pub all_buckets: bool,
    /// How many cases, from number 0 on.
    pub count: u64,
    /// Only this case.
    pub case: Option<u64>,
    /// Allow no difference in the last digits.
    pub exact: bool,
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Cases asked.
    pub asked: usize,
    /// Of those, how many upstream answered with an error.
    pub errors: usize,
    /// Of those, how many upstream answered with an empty result.
    pub empty: usize,
    /// The same to the last character.
    pub equal: usize,
    /// The same save for last digits.
    pub close: usize,
    /// The same save for the order of equal values.
    pub tied: usize,
    /// Upstream breaks down over them.
    pub panics: usize,
    /// Upstream's own answers differ from time to time.
    pub varies: usize,
    /// Differences by the part that differs.
    pub differ: BTreeMap<Part, usize>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let differ: usize = self.differ.values().sum();
        write!(
            f,
            "{} asked ({} errors and {} empty results of upstream's): {} equal, {} in all but last digits, {} in all but the order of equal values, {} over which upstream breaks down, {} to which it gives several answers, {differ} differ",
            self.asked,
            self.errors,
            self.empty,
            self.equal,
            self.close,
            self.tied,
            self.panics,
            self.varies
        )?;
        if differ > 0 {
            write!(f, " {:?}", self.differ)?;
        }
        Ok(())
    }
}

struct Run<'a> {
    client: Client,
    options: &'a Options,
}

/// Feeds the dataset where it is not there yet, asks, shrinks what differs, and prints it.
///
/// # Errors
/// When a server cannot be reached, refuses the data, or holds the data of another seed.
pub async fn run(options: &Options) -> Result<Summary> {
    let run = Run {
        client: Client::new(),
        options,
    };
    run.feed("Prometheus", &options.prometheus).await?;
    run.feed("Trilobite", &options.ours).await?;
    let numbers = match options.case {
        Some(number) => number..number + 1,
        None => 0..options.count,
    };
    let mut summary = Summary::default();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for number in numbers {
        let case = Case::draw(options.seed, number);
        let (upstream, ours, verdict) = run.judged(&case).await;
        summary.count(&upstream);
        if options.case.is_some() {
            println!("{number}: {}\n  {}", case.text(), case.time);
            println!(
                "  Prometheus: {}\n  Trilobite:  {}",
                brief(&upstream),
                brief(&ours)
            );
        }
        match verdict {
            Verdict::Equal => summary.equal += 1,
            Verdict::Close => summary.close += 1,
            Verdict::Tied => summary.tied += 1,
            Verdict::Panics => summary.panics += 1,
            Verdict::Varies => summary.varies += 1,
            Verdict::Differs(part, _) => {
                *summary.differ.entry(part).or_default() += 1;
                let shrunk = run.shrink(case.clone(), part).await;
                let key = shrunk.text();
                match seen.get(&key) {
                    Some(first) => println!("{number}: as {first}, {key}"),
                    None => run.report(number, &case, &shrunk).await,
                }
                seen.entry(key).or_insert(number);
            }
        }
    }
    Ok(summary)
}

impl Summary {
    fn count(&mut self, upstream: &Outcome) {
        self.asked += 1;
        let Ok(answer) = upstream else { return };
        self.errors += usize::from(answer.status != 200);
        let empty: &[u8] = b"\"result\":[]";
        self.empty += usize::from(answer.body.windows(empty.len()).any(|w| w == empty));
    }
}

impl Run<'_> {
    /// Sends the dataset, unless the server has it.
    async fn feed(&self, name: &str, url: &str) -> Result<()> {
        let (seed, all_buckets) = (self.options.data, self.options.all_buckets);
        let wanted = data::mark(seed, all_buckets);
        let mark = Case {
            expr: tree::Expr::Instant(tree::Selector {
                name: Some(data::MARK.to_owned()),
                ..Default::default()
            }),
            fault: None,
            time: Time::Instant(BEGIN_MS + LENGTH_MS),
        };
        let answer = self.client.call(url, &mark.request()).await;
        let answer = answer.with_context(|| format!("{name} at {url}"))?;
        let json: Value = serde_json::from_slice(&answer.body)
            .with_context(|| format!("{name} at {url} sends no JSON"))?;
        match json.pointer("/data/result/0/metric/seed") {
            None => {}
            Some(Value::String(there)) if *there == wanted => return Ok(()),
            Some(there) => {
                bail!("{name} holds the dataset {there}; it takes an empty server")
            }
        }
        let set = data::dataset(seed, all_buckets);
        let sent = metrics::feed(&self.client, url, &set, metrics::Protocol::Write1, &[]).await;
        let sent = sent.with_context(|| format!("the dataset, sent to {name}"))?;
        println!(
            "{sent} samples of {} series sent to {name}",
            set.series.len()
        );
        Ok(())
    }

    async fn ask(&self, case: &Case) -> (Outcome, Outcome) {
        let request = case.request();
        let (upstream, ours) = tokio::join!(
            self.client.call(&self.options.prometheus, &request),
            self.client.call(&self.options.ours, &request)
        );
        let words = |error: anyhow::Error| format!("{error:#}");
        (upstream.map_err(words), ours.map_err(words))
    }

    /// Both answers and what is to be said of them.
    async fn judged(&self, case: &Case) -> (Outcome, Outcome, Verdict) {
        let exact = self.options.exact;
        let (upstream, ours) = self.ask(case).await;
        let found = verdict(case, &upstream, &ours, exact);
        let Verdict::Differs(part, _) = found else {
            return (upstream, ours, found);
        };
        for _ in 0..ASKED_AGAIN {
            let (again, _) = self.ask(case).await;
            let own = verdict(case, &upstream, &again, exact);
            if matches!(own, Verdict::Differs(p, _) if p == part) {
                return (upstream, ours, Verdict::Varies);
            }
        }
        (upstream, ours, found)
    }

    /// The smallest case found that differs in the same part.
    async fn shrink(&self, mut case: Case, part: Part) -> Case {
        let mut tries = 0;
        'smaller: loop {
            for candidate in shrink::candidates(&case) {
                tries += 1;
                if tries > MAX_TRIES {
                    return case;
                }
                let (_, _, found) = self.judged(&candidate).await;
                if matches!(found, Verdict::Differs(p, _) if p == part) {
                    case = candidate;
                    continue 'smaller;
                }
            }
            return case;
        }
    }

    async fn report(&self, number: u64, case: &Case, shrunk: &Case) {
        let (upstream, ours) = self.ask(shrunk).await;
        println!("{number}: {}\n  {}", case.text(), case.time);
        if shrunk != case {
            println!("  shrunk to: {}\n  {}", shrunk.text(), shrunk.time);
        }
        if let Verdict::Differs(_, text) = verdict(shrunk, &upstream, &ours, self.options.exact) {
            println!("  {text}");
        }
        println!(
            "  Prometheus: {}\n  Trilobite:  {}",
            brief(&upstream),
            brief(&ours)
        );
        let options = self.options;
        println!(
            "  again: compat-tests differential --ours {} --prometheus {} --data {}{} --seed {} --case {number}",
            options.ours,
            options.prometheus,
            options.data,
            if options.all_buckets {
                " --all-buckets"
            } else {
                ""
            },
            options.seed
        );
    }
}
