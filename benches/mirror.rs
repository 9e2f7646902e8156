//! How fast, at how many requests and in how much memory a repository is mirrored, beside the least that is possible.
//!
//! `cargo bench --bench mirror` runs the built program against the fake GitHub on this machine: a first and a second run
//! over a large world without latency, and over smaller ones where answers take time; without details, and with all, as is
//! the default. `-- --quick` takes a tenth of the sizes. The fake shares the machine's cores with the program.

// The stricter lints are for the program.
#![allow(unreachable_pub, clippy::pedantic, clippy::print_stderr, clippy::print_stdout)]

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};

use fake_github::{FakeGitHub, Options, World, WorldSize};
use support::minimum_cost::pages_of_lists;
use support::program::{Sandbox, finish};

const REPOSITORY: &str = "contoso/huge";
/// Requests that the program keeps in flight on one token.
const IN_FLIGHT: f64 = 16.0;

struct Case {
    name: &'static str,
    size: WorldSize,
    latency: Duration,
    /// Length of every issue's and comment's text, in bytes, where it is not the world's own.
    bodies: Option<usize>,
    args: &'static [&'static str],
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let part = if quick { 10 } else { 1 };
    let cases = [
        Case {
            name: "large, skeleton",
            size: WorldSize::of(100_000 / part, 20_000 / part, 10_000 / part),
            latency: Duration::ZERO,
            bodies: None,
            args: &["--detail", "skeleton"],
        },
        Case {
            name: "medium, skeleton, 50 ms",
            size: WorldSize::of(10_000 / part, 2_000 / part, 1_000 / part),
            latency: Duration::from_millis(50),
            bodies: None,
            args: &["--detail", "skeleton"],
        },
        Case {
            name: "long texts, skeleton",
            size: WorldSize::of(1_000 / part, 6_000 / part, 200 / part),
            latency: Duration::from_millis(20),
            bodies: Some(65_000),
            args: &["--detail", "skeleton"],
        },
        Case {
            name: "medium, full",
            size: WorldSize::of(10_000 / part, 2_000 / part, 1_000 / part),
            latency: Duration::ZERO,
            bodies: None,
            args: &["--detail", "full"],
        },
    ];
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["world", "run", "items", "seconds", "items/s", "counted", "free", "least", "peak RSS"]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for case in &cases {
        runtime.block_on(run(case, &mut table));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!("least: the fewest pages that can carry the data, with one request a pull request for its commits.");
}

async fn run(case: &Case, table: &mut Table) {
    let options = Options { latency: case.latency, ..Options::unlimited() };
    let mut world = World::sized(1, case.size);
    if let Some(length) = case.bodies {
        let text: Box<str> = "A line of a long text, as a log that somebody has pasted.\n".repeat(length / 58).into();
        let repo = world.repo(REPOSITORY);
        world.repos[repo].issues.iter_mut().for_each(|issue| issue.body = Some(text.clone()));
        world.repos[repo].comments.iter_mut().for_each(|comment| comment.body = text.clone());
    }
    let fake = FakeGitHub::start(world, options).await;
    let sandbox = Sandbox::new(fake.url());
    for round in ["first", "second", "third"] {
        fake.reset_counters();
        let mut args = vec!["retrieve-repo", REPOSITORY];
        args.extend(case.args);
        let started = Instant::now();
        let child = sandbox.spawn(&args);
        let pid = child.id().expect("a running program");
        let peak = tokio::spawn(peak_rss(pid));
        let output = finish(child).await;
        let seconds = started.elapsed().as_secs_f64();
        assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
        let items: usize = output.stage("total")[..3].iter().map(|n| n.parse::<usize>().expect("a number")).sum();
        let least = if round == "first" { least(&fake, case.args.contains(&"full")) } else { 0 };
        let waiting = case.latency.as_secs_f64() * least as f64 / IN_FLIGHT;
        if round == "first" && !case.latency.is_zero() {
            println!(
                "{}: {least} requests of {:?} each, {IN_FLIGHT} at a time, take {waiting:.1} s",
                case.name, case.latency
            );
        }
        table.add_row([
            case.name.to_owned(),
            round.to_owned(),
            items.to_string(),
            format!("{seconds:.1}"),
            format!("{:.0}", items as f64 / seconds),
            fake.counted().to_string(),
            fake.by_status().get(&304).copied().unwrap_or(0).to_string(),
            least.to_string(),
            format!("{} MB", peak.await.expect("a measurement") / 1024),
        ]);
    }
}

/// The fewest requests that bring everything: the lists' pages and one for the commits of each pull request; with details, one
/// more for each commit, and two for each pull request (itself, its reviews).
fn least(fake: &FakeGitHub, with_details: bool) -> usize {
    let count = |path: &str| fake.all(&format!("/repos/{REPOSITORY}/{path}")).len();
    let (commits, pulls) = (count("commits"), count("pulls?state=all"));
    let details = if with_details { commits + 2 * pulls } else { 0 };
    pages_of_lists(fake, REPOSITORY) + commits.div_ceil(100) + pulls + details
}

/// The largest resident set of a process, in KiB, read from the kernel until it ends.
async fn peak_rss(pid: u32) -> u64 {
    let mut peak = 0;
    loop {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return peak };
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(kib) = line.and_then(|line| line.split_whitespace().next()?.parse().ok()) else { return peak };
        peak = kib;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
