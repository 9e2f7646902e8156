//! How fast each kind of store takes what is mirrored, and how workers share the work.
//!
//! `cargo bench --bench stores` runs the built program against the fake GitHub and servers of its own, all on this machine.
//! `-- --quick` takes a tenth of the sizes. The server for MongoDB's protocol is the one that the tests use, which is slow;
//! `MSGHT_TEST_MONGODB_URL` names a genuine one.

// The stricter lints are for the program.
#![allow(unreachable_pub, clippy::pedantic, clippy::print_stderr, clippy::print_stdout)]

use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};

use fake_github::{FakeGitHub, Options, World, WorldSize};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::{Sandbox, finish};
use support::servers::rabbitmq::RabbitServer;
use support::workers::{load, worker};

const REPOSITORY: &str = "contoso/huge";

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let part = if quick { 10 } else { 1 };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        // With details a run makes many times the requests, which are not what is measured.
        for (detail, part) in [("skeleton", part), ("full", 4 * part)] {
            let size = WorldSize::of(30_000 / part, 6_000 / part, 3_000 / part);
            print(one_repository(detail, size).await);
        }
        print(many_repositories(400 / part).await);
    });
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    table
}

fn print(mut table: Table) {
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

fn name(family: Backends, embedded: &str, server: &str) -> String {
    match family {
        Embedded => embedded.to_owned(),
        Servers => server.to_owned(),
    }
}

/// One large repository into each pair of stores, without or with details.
async fn one_repository(detail: &str, size: WorldSize) -> Table {
    let mut table = table(&["detail", "documents", "tables", "seconds", "documents/s", "rows/s", "second run, s"]);
    let fake = FakeGitHub::start(World::sized(1, size), Options::unlimited()).await;
    for (documents, relational) in [(Embedded, Embedded), (Embedded, Servers), (Servers, Embedded), (Servers, Servers)]
    {
        let sandbox = Sandbox::over(fake.url(), documents, relational);
        let mut seconds = Vec::new();
        for _ in 0..2 {
            let started = Instant::now();
            sandbox.mirror(&[REPOSITORY, "--detail", detail]).await;
            seconds.push(started.elapsed().as_secs_f64());
        }
        let (stored, rows) = counts(&sandbox).await;
        table.add_row([
            detail.to_owned(),
            name(documents, "SQLite", "MongoDB"),
            name(relational, "SQLite", "MariaDB"),
            format!("{:.1}", seconds[0]),
            format!("{:.0}", stored as f64 / seconds[0]),
            format!("{:.0}", rows as f64 / seconds[0]),
            format!("{:.1}", seconds[1]),
        ]);
    }
    table
}

/// Many small repositories through the queue, by one and by four processes.
async fn many_repositories(repositories: usize) -> Table {
    let mut table = table(&["stores and queue", "workers", "seconds", "repositories/s", "documents/s", "rows/s"]);
    let fake = FakeGitHub::start(World::many(1, repositories), Options::unlimited()).await;
    for family in [Embedded, Servers] {
        for workers in [1, 4] {
            let sandbox = Sandbox::over(fake.url(), family, family);
            let sandbox = match family {
                Embedded => sandbox,
                Servers => sandbox.with("MSGHT_QUEUE__URL", &RabbitServer::shared().vhost_url()),
            };
            load(&sandbox, repositories).await;
            let started = Instant::now();
            let running: Vec<_> = (0..workers).map(|number| worker(&sandbox, number)).collect();
            for child in running {
                let output = finish(child).await;
                assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);
            }
            let seconds = started.elapsed().as_secs_f64();
            let (stored, rows) = counts(&sandbox).await;
            table.add_row([
                name(family, "SQLite", "MongoDB, MariaDB, RabbitMQ"),
                workers.to_string(),
                format!("{seconds:.1}"),
                format!("{:.1}", repositories as f64 / seconds),
                format!("{:.0}", stored as f64 / seconds),
                format!("{:.0}", rows as f64 / seconds),
            ]);
        }
    }
    table
}

/// Documents and rows of a sandbox.
async fn counts(sandbox: &Sandbox) -> (usize, usize) {
    let (documents, tables) = sandbox.dump().await;
    (documents.values().map(|all| all.len()).sum(), tables.values().map(|rows| rows.len()).sum())
}
