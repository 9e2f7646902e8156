//! What a run over all repositories of three organisations costs: at first, when nothing has changed, and when a twentieth has.
//!
//! `cargo bench --bench start` runs the built program against the fake GitHub on this machine, over 500 and 5,000 small
//! repositories; `-- --quick` takes a tenth of them.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};

use support::fake_github::{FakeGitHub, Options, TokenSpec, World};
use support::program::Place;

fn main() {
    let part = if std::env::args().any(|arg| arg == "--quick") { 10 } else { 1 };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["repositories", "run", "seconds", "counted requests", "a repository", "free (304)"]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    runtime.block_on(async {
        for repositories in [500, 5_000] {
            runs(repositories / part, &mut table).await;
        }
    });
    println!("{table}");
}

async fn runs(repositories: usize, table: &mut Table) {
    let (most, rest) = (repositories / 2, repositories / 4);
    let world = World::estate(1, &[("contoso", most), ("fabrikam", rest), ("northwind", rest)]);
    let token = |name: &str, login: &str| TokenSpec { login: login.to_owned(), ..TokenSpec::new(name) };
    let tokens = vec![token("token-one", "dev0"), token("token-two", "dev1"), token("token-three", "dev2")];
    let fake = FakeGitHub::start(world, Options { tokens, ..Options::unlimited() }).await;
    let place = Place::new(fake.url()).tokens("token-one,token-two,token-three");
    std::fs::write(place.path().join("orgs.txt"), "contoso\nfabrikam\nnorthwind\n").expect("orgs.txt is written");
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
        let (before, began) = (fake.request_count(), Instant::now());
        // Longer than a test may take.
        let child = place.spawn(&["start", "--detail", "skeleton", "--max-age", "0", "--jobs", "8", "--quiet"]);
        let ran = child.wait_with_output().await.expect("the program ends");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let seconds = began.elapsed().as_secs_f64();
        let requests = fake.requests();
        let counted = requests.iter().skip(before).filter(|request| request.status != 304).count();
        let free = requests.len() - before - counted;
        table.add_row([
            repositories.to_string(),
            run.to_owned(),
            format!("{seconds:.1}"),
            counted.to_string(),
            format!("{:.2}", counted as f64 / repositories as f64),
            free.to_string(),
        ]);
    }
}
