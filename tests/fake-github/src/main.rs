//! A fake GitHub to try msght on without a token, a network or a rate limit to mind:
//! `cargo run -p fake-github`.
use clap::{Parser, ValueEnum};
use fake_github::{FakeGitHub, HOOK_SECRET, Limits, Live, Options, RepoState, TokenSpec, World, WorldSize};
use std::time::Duration;

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    Small,
    Medium,
    Large,
}

#[derive(Parser)]
#[command(name = "fake-github", about = "Serves a made-up GitHub on this machine")]
struct Args {
    #[arg(long, default_value_t = 8080, help = "Port to listen on, 0 for any that is free")]
    port: u16,
    #[arg(long, default_value_t = 1, help = "The same seed makes the same world")]
    seed: u64,
    #[arg(long, value_enum, help = "One generated repository, contoso/huge, in place of the collection of edge cases")]
    size: Option<Size>,
    #[arg(long, help = "Commits in contoso/huge")]
    commits: Option<usize>,
    #[arg(long, help = "Issues in contoso/huge")]
    issues: Option<usize>,
    #[arg(long, help = "Pull requests in contoso/huge")]
    pulls: Option<usize>,
    #[arg(long, default_value_t = 0, help = "Delay of every answer, in milliseconds")]
    latency_ms: u64,
    #[arg(long, help = "No rate limits, as on a GitHub Enterprise Server")]
    no_limits: bool,
    #[arg(long, value_delimiter = ',', default_value = "fake-token", help = "Tokens that are accepted")]
    tokens: Vec<String>,
    #[arg(long, value_name = "ORG=URL", help = "An organization's webhook, such as contoso=http://127.0.0.1:4567/")]
    hook: Vec<String>,
    #[arg(long, value_name = "SECRET", default_value = HOOK_SECRET, help = "Secret of these webhooks")]
    hook_secret: String,
    #[arg(long, value_name = "N", default_value_t = 0, help = "Changes a minute that happen by themselves")]
    changes: u32,
    #[arg(long, value_name = "SECONDS", default_value_t = 0, help = "How long at most the API lags behind deliveries")]
    api_lag: u64,
    #[arg(long, value_name = "SECONDS", default_value_t = 0, help = "How late events appear in their feeds")]
    feed_lag: u64,
}

fn main() {
    let args = Args::parse();
    let sized = args.size.is_some() || args.commits.is_some() || args.issues.is_some() || args.pulls.is_some();
    let mut world = if sized {
        let base = match args.size.unwrap_or(Size::Small) {
            Size::Small => WorldSize::SMALL,
            Size::Medium => WorldSize::MEDIUM,
            Size::Large => WorldSize::LARGE,
        };
        let size = WorldSize::of(
            args.commits.unwrap_or(base.commits),
            args.issues.unwrap_or(base.issues),
            args.pulls.unwrap_or(base.pulls),
        );
        World::sized(args.seed, size)
    } else {
        World::edge_cases(args.seed)
    };
    for hook in &args.hook {
        let Some((org, url)) = hook.split_once('=') else {
            eprintln!("--hook {hook}: expected ORG=URL");
            std::process::exit(2);
        };
        let hook = world.add_hook(org, url);
        world.hooks[hook].secret = Some(args.hook_secret.clone());
    }
    let options = Options {
        live: Live {
            api_lag: Duration::from_secs(args.api_lag),
            feed_lag: Duration::from_secs(args.feed_lag),
            in_flight: 8,
            ..Live::default()
        },
        tokens: args.tokens.iter().map(|t| TokenSpec::new(t)).collect(),
        limits: if args.no_limits { Limits::off() } else { Limits::default() },
        latency: Duration::from_millis(args.latency_ms),
        port: args.port,
        ..Options::default()
    };
    let fake = FakeGitHub::start_blocking(world, options);
    println!("A made-up GitHub answers at {}", fake.url());
    println!("Repositories:");
    let mut first = None;
    fake.world(|w| {
        for (i, r) in w.repos.iter().enumerate().filter(|(_, r)| r.state == RepoState::Live && r.parent.is_none()) {
            let pulls = r.issues.iter().filter(|x| x.pull.is_some()).count();
            println!(
                "  {:24} {:>6} issues {:>6} pull requests {:>6} commits",
                w.full_name(i),
                r.issues.len() - pulls,
                pulls,
                w.reachable(i).len()
            );
            first.get_or_insert(w.full_name(i));
        }
    });
    println!("Try:");
    println!(
        "  MSGHT_GITHUB__API_URL={} GITHUB_TOKEN={} cargo run --release -- retrieve-repo {}",
        fake.url(),
        args.tokens[0],
        first.unwrap_or_default()
    );
    println!("Ctrl-C ends it.");
    loop {
        match args.changes {
            0 => std::thread::park(),
            changes => {
                std::thread::sleep(Duration::from_secs(60) / changes);
                fake.world_mut(|w| w.something_happens());
            }
        }
    }
}
