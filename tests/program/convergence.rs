//! Whatever happens to a repository, and whatever passes between it and the mirror: quiet runs bring the stores to what a
//! fresh mirror holds, and until they have, each of them says so.

use rstest::rstest;
use serde_json::Value;

use crate::refresh::assert_live_as_fresh;
use fake_github::{FakeGitHub, Fault, FaultKind, Options, World, names};
use support::backends::Backends::{self, Embedded, Servers};
use support::program::Sandbox;

/// Rounds of changes, each with its own faults.
const ROUNDS: usize = 3;
/// Within so many quiet runs the stores are as a fresh mirror's.
const MAX_QUIET_RUNS: usize = 10;

/// Choices that a seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// One thing that happens to a repository.
fn change(w: &mut World, dice: &mut Dice) {
    let (r, alice) = (w.repo(names::WEB), w.find_user("alice"));
    let live = |w: &World, pull: bool| -> Vec<u32> {
        w.repos[r].issues.iter().filter(|i| !i.deleted && i.pull.is_some() == pull).map(|i| i.number).collect()
    };
    let (issues, pulls) = (live(w, false), live(w, true));
    let (issue, pull) = (*dice.pick(&issues), *dice.pick(&pulls));
    let comments: Vec<u64> = w.repos[r].comments.iter().filter(|c| !c.deleted).map(|c| c.id).collect();
    let labels: Vec<String> = w.repos[r].labels.iter().filter(|l| !l.deleted).map(|l| l.name.clone()).collect();
    let label = dice.pick(&labels).clone();
    match dice.below(16) {
        0 => w.delete_issue(r, issue),
        1 => _ = w.transfer_issue(r, issue, w.repo(names::QUIET)),
        2 => w.remove_issue(r, issue),
        3 => w.remove_issue(r, pull),
        4 => w.delete_comment(r, *dice.pick(&comments)),
        5 => w.remove_comment(r, *dice.pick(&comments)),
        6 => w.edit_comment(r, *dice.pick(&comments), "edited"),
        7 => _ = w.add_comment(r, issue, alice, "another comment"),
        8 => w.recolor_label(r, &label, "abcdef"),
        9 => w.rename_milestone(r, 1, &format!("renamed {}", dice.below(1000))),
        10 => w.delete_label(r, &label),
        11 => w.close_issue(r, issue, alice),
        12 => _ = w.open_issue(r, alice, "a new issue", None),
        13 => {
            let star = w.repos[r].stars.first().map(|star| star.user);
            star.into_iter().for_each(|user| w.unstar(r, user));
        }
        14 => {
            let (main, person) = (w.repos[r].default_branch.clone(), w.person_of(alice.unwrap()));
            w.push(r, &main, 3, person);
        }
        _ => w.edit_issue_title(r, pull, "another title"),
    }
}

/// Something that goes wrong for a run.
fn fault(dice: &mut Dice) -> Fault {
    let seed = dice.0;
    let part = u64::try_from(dice.below(3)).unwrap();
    let third = move |item: &Value| item["id"].as_u64().is_some_and(|id| id % 3 == part);
    let refused = |status| FaultKind::Status { status, html: false };
    match dice.below(9) {
        0 => Fault::percent(30, seed, "/commits/", refused(404)),
        1 => Fault::percent(30, seed, "/pulls/", refused(422)),
        2 => Fault::always("/issues/comments?", FaultKind::nulls(third)),
        3 => Fault::always("/issues?", FaultKind::nulls(third)),
        4 => Fault::always("/labels?", FaultKind::empty_list()),
        5 => Fault::always("/stargazers?", FaultKind::empty_list()),
        6 => Fault::percent(50, seed, "per_page=100", FaultKind::NoLink),
        7 => Fault::always("/users/", refused(404)),
        _ => Fault::percent(20, seed, "/issues/", refused(404)),
    }
}

#[rstest]
#[tokio::test]
async fn quiet_runs_converge_on_a_fresh_mirror(
    #[values(Embedded, Servers)] stores: Backends,
    #[values(8, 16, 26, 37)] seed: u64,
) {
    let _over = stores.select();
    let mut dice = Dice(seed);
    let fake = FakeGitHub::start(World::edge_cases(seed), Options::unlimited()).await;
    let sandbox = Sandbox::new(fake.url());
    sandbox.mirror(&[names::WEB]).await;
    for _ in 0..ROUNDS {
        fake.world_mut(|w| (0..4).for_each(|_| change(w, &mut dice)));
        (0..2).for_each(|_| fake.set_fault(fault(&mut dice)));
        let output = sandbox.run(&["retrieve-repo", names::WEB]).await;
        assert!(matches!(output.code, Some(0 | 1)), "{}\n{}", output.out, output.err);
        fake.clear_faults();
    }
    let mut said = Vec::new();
    for _ in 0..MAX_QUIET_RUNS {
        let output = sandbox.run(&["retrieve-repo", names::WEB]).await;
        if output.code == Some(0) {
            let fresh = Sandbox::new(fake.url());
            fresh.mirror(&[names::WEB]).await;
            return assert_live_as_fresh(&sandbox, &fresh).await;
        }
        said.push(output.out);
    }
    panic!("{MAX_QUIET_RUNS} quiet runs are not complete; the last:\n{}", said.last().unwrap());
}
