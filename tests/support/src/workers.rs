//! Workers for tests, and what must hold of their work.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::process::Child;

use super::program::{Sandbox, finish};
use fake_github::FakeGitHub;

/// Puts the first repositories of a world of [many](fake_github::World::many) on the queue.
pub async fn load(sandbox: &Sandbox, repositories: usize) {
    let list: String = (0..repositories).map(|r| format!("contoso r{r:03}\n")).collect();
    std::fs::write(sandbox.path().join("projects"), list).unwrap();
    sandbox.run(&["load", "--route", "projects", "--file", "projects"]).await.assert_output(0, &[]);
}

/// A worker that stops with the queue's end, told from others by its number.
pub fn worker(sandbox: &Sandbox, number: usize) -> Child {
    let mut command = sandbox.command(&["retrieve-repos", "--drain"]);
    command.env("MSGHT_GITHUB__USER_AGENT", format!("worker-{number}"));
    command.spawn().expect("the program starts")
}

/// Works off what is left.
pub async fn drain(sandbox: &Sandbox) {
    finish(worker(sandbox, 1000)).await.assert_output(0, &[]);
}

/// Asserts that no two workers asked for the same repository's data in turns.
pub fn assert_no_concurrent_work(fake: &FakeGitHub) {
    let mut turns: BTreeMap<String, Vec<(SystemTime, String)>> = BTreeMap::new();
    for request in fake.requests() {
        let Some(path) = request.path_and_query.strip_prefix("/repos/") else { continue };
        let name = path.split(['/', '?']).take(2).collect::<Vec<_>>().join("/");
        turns.entry(name).or_default().push((request.at, request.user_agent.unwrap_or_default()));
    }
    for (name, mut requests) in turns {
        requests.sort();
        let mut workers: Vec<String> = requests.into_iter().map(|(_, worker)| worker).collect();
        workers.dedup();
        let mut seen = workers.clone();
        seen.sort();
        seen.dedup();
        assert_eq!(workers.len(), seen.len(), "{name} was worked in turns: {workers:?}");
    }
}
