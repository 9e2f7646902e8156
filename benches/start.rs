//! What a run over all repositories of three organizations costs: at first, when nothing has changed, and when a twentieth has.
//!
//! `cargo bench --bench start` runs the built program against the fake GitHub on this machine, over 500 and 5,000 small
//! repositories, with all details, as is the default, and without; and `get-repos` alone over 10,000. `-- --quick` takes a
//! tenth of them. The seconds of the processor are those of the program alone.

// The stricter lints are for the program.
#![allow(unreachable_pub, clippy::pedantic, clippy::print_stderr, clippy::print_stdout)]

use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};

use fake_github::{FakeGitHub, Options, TokenSpec, World};
use support::program::Sandbox;

fn main() {
    let part = if std::env::args().any(|arg| arg == "--quick") { 10 } else { 1 };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "repositories",
        "detail",
        "run",
        "seconds",
        "processor",
        "counted requests",
        "a repository",
        "free (304)",
    ]);
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    runtime.block_on(async {
        for repositories in [500, 5_000] {
            for detail in ["skeleton", "full"] {
                runs(repositories / part, detail, &mut table).await;
            }
        }
        listings(10_000 / part, &mut table).await;
    });
    println!("{table}");
}

/// A fake GitHub with so many repositories in three organizations, and a sandbox to mirror them to.
async fn estate(repositories: usize) -> (FakeGitHub, Sandbox) {
    let (most, rest) = (repositories / 2, repositories / 4);
    let world = World::estate(1, &[("contoso", most), ("fabrikam", rest), ("northwind", rest)]);
    let token = |name: &str, login: &str| TokenSpec { login: login.to_owned(), ..TokenSpec::new(name) };
    let tokens = vec![token("token-one", "dev0"), token("token-two", "dev1"), token("token-three", "dev2")];
    let fake = FakeGitHub::start(world, Options { tokens, ..Options::unlimited() }).await;
    let sandbox = Sandbox::new(fake.url()).tokens("token-one,token-two,token-three");
    std::fs::write(sandbox.path().join("orgs.txt"), "contoso\nfabrikam\nnorthwind\n").expect("orgs.txt is written");
    (fake, sandbox)
}

async fn runs(repositories: usize, detail: &str, table: &mut Table) {
    let (fake, sandbox) = estate(repositories).await;
    for run in ["first", "second, nothing changed", "third, a twentieth changed"] {
        if run.starts_with("third") {
            fake.world_mut(|w| {
                let user = w.user("dev1");
                let who = w.person_of(user);
                for repo in (0..w.repos.len()).step_by(20) {
                    w.push(repo, "main", 1, who);
                    w.open_issue(repo, Some(user), "News", None);
                }
            });
        }
        let args = ["start", "--detail", detail, "--max-age", "0", "--jobs", "8", "--quiet"];
        measure(&fake, &sandbox, &args, [repositories.to_string(), detail.to_owned(), run.to_owned()], table).await;
    }
}

async fn listings(repositories: usize, table: &mut Table) {
    let (fake, sandbox) = estate(repositories).await;
    for run in ["get-repos, first", "get-repos, nothing changed"] {
        let row = [repositories.to_string(), String::new(), run.to_owned()];
        measure(&fake, &sandbox, &["get-repos", "--quiet"], row, table).await;
    }
}

/// Runs the program once and adds what it took to a row.
async fn measure(fake: &FakeGitHub, sandbox: &Sandbox, args: &[&str], row: [String; 3], table: &mut Table) {
    let (before, began, processor) = (fake.request_count(), Instant::now(), processor_seconds_of_children());
    // Longer than a test may take.
    let output = sandbox.spawn(args).wait_with_output().await.expect("the program ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (seconds, processor) = (began.elapsed().as_secs_f64(), processor_seconds_of_children() - processor);
    let requests = fake.requests();
    let counted = requests.iter().skip(before).filter(|request| request.status != 304).count();
    let free = requests.len() - before - counted;
    let repositories: f64 = row[0].parse().expect("a number");
    let measured = [
        format!("{seconds:.1}"),
        format!("{processor:.1}"),
        counted.to_string(),
        format!("{:.2}", counted as f64 / repositories),
        free.to_string(),
    ];
    let cells: Vec<String> = row.into_iter().chain(measured).collect();
    println!("{}", cells.join(" | "));
    table.add_row(cells);
}

/// What the processes that this one has started and waited for have taken of the processor, from the kernel's count in
/// hundredths of a second (proc_pid_stat(5): the 16th and 17th field).
fn processor_seconds_of_children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux tells");
    let (_, after_name) = stat.rsplit_once(')').expect("the name stands in brackets");
    let ticks = after_name.split_whitespace().skip(13).take(2).map(|field| field.parse::<f64>().expect("a number"));
    ticks.sum::<f64>() / 100.0
}
