//! Estimate of the requests that a plan takes.
//!
//! A known repository costs what has changed; if only the App can read it, each of its lists, because the App's tokens
//! get no 304 from one day to the next. A repository that was never retrieved is sampled: the largest, and some of all
//! others, are requested for the number of their pull requests and commits, and the rest are assumed to have as many.

use serde_json::Value;

use super::plan::DueRepository;
use crate::github::{ApiUrl, Fetched, Request, RequestCounter};
use crate::json;
use crate::mirror::stage::Stage;
use crate::mirror::{Mirror, MirrorError};
use crate::store::documents::Collection;

/// Number of repositories sampled among the largest, and again among all others.
const SAMPLE_SIZE: usize = 25;
/// Items per page.
const ITEMS_PER_PAGE: u64 = 100;
/// Requests of a repository that has changed: the changed list, the repository, its feed, and their details.
const REQUESTS_PER_CHANGED: u64 = 7;

/// Expected requests that count on a rate limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Requests for each repository, in the order of the plan.
    pub each: Vec<u64>,
    /// Requests in all, by purpose.
    pub kinds: Vec<(&'static str, u64)>,
}

/// The size of a repository that was never retrieved.
#[derive(Debug, Clone, Copy, Default)]
struct RepositorySize {
    size: u64,
    stars: u64,
    forks: u64,
    open: u64,
    asked: Option<Sample>,
}

/// Numbers that GitHub was asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    pulls: u64,
    commits: u64,
}

/// Estimates the cost of a plan. Costs at most 100 requests itself.
///
/// # Errors
/// A store that can't be read, or the user's wish to stop. What GitHub does not tell is estimated as if it had not been
/// asked.
pub async fn estimate(mirror: &Mirror, due: &[DueRepository], stages: &[Stage]) -> Result<Estimate, MirrorError> {
    let mut sizes = Vec::with_capacity(due.len());
    for due in due {
        sizes.push(if due.retrieved_at.is_none() { Some(load_size(mirror, due).await?) } else { None });
    }
    for at in pick_sample(&sizes) {
        let asked = fetch_sample(mirror, &due[at]).await?;
        if let Some(sizes) = &mut sizes[at] {
            sizes.asked = asked;
        }
    }
    let read_again: Vec<bool> = due.iter().map(|due| mirror.github.is_app_only(&due.name)).collect();
    Ok(compute(due, &sizes, &read_again, stages))
}

/// Loads the size of a repository from its stored document.
async fn load_size(mirror: &Mirror, due: &DueRepository) -> Result<RepositorySize, MirrorError> {
    let stored = mirror.stores.documents.get(Collection::Repos, &due.name.to_string()).await?;
    let document: Value = stored.and_then(|json| json::parse(&json).ok()).unwrap_or_default();
    let number = |key: &str| document.get(key).and_then(Value::as_u64).unwrap_or(0);
    Ok(RepositorySize {
        size: number("size"),
        stars: number("stargazers_count"),
        forks: number("forks_count"),
        open: number("open_issues_count"),
        asked: None,
    })
}

/// Picks the repositories to sample: the largest, and others at equal distances. Returns their indexes.
fn pick_sample(sizes: &[Option<RepositorySize>]) -> Vec<usize> {
    let mut by_size: Vec<(usize, u64)> =
        sizes.iter().enumerate().filter_map(|(at, sizes)| Some((at, sizes.as_ref()?.size))).collect();
    by_size.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let (largest, others) = by_size.split_at(by_size.len().min(SAMPLE_SIZE));
    let step = others.len().div_ceil(SAMPLE_SIZE).max(1);
    largest.iter().chain(others.iter().step_by(step)).map(|(at, _)| *at).collect()
}

/// Fetches the number of a repository's pull requests and commits: the last page of pages of one.
async fn fetch_sample(mirror: &Mirror, due: &DueRepository) -> Result<Option<Sample>, MirrorError> {
    let mut counts = [0; 2];
    for (count, list) in counts.iter_mut().zip(["pulls", "commits"]) {
        let url = ApiUrl::repo(&due.name, &[list]).query("state", "all").query("per_page", "1");
        let request = Request::get(url).repo(due.name.clone());
        let fetched = mirror.get(&request, &RequestCounter::default()).await;
        *count = match fetched {
            Ok(Fetched::Page(page)) => {
                let one = u64::from(page.body.len() > "[]".len());
                page.links.last_page().map_or(one, u64::from)
            }
            Ok(Fetched::NotModified) => 0,
            Err(MirrorError::Canceled) => return Err(MirrorError::Canceled),
            // Empty, or not to be read: the retrieval says so.
            Err(error) => {
                tracing::debug!(repository = %due.name, %error, "not estimated");
                return Ok(None);
            }
        };
    }
    Ok(Some(Sample { pulls: counts[0], commits: counts[1] }))
}

/// Computes the estimate from known sizes.
fn compute(due: &[DueRepository], sizes: &[Option<RepositorySize>], read_again: &[bool], stages: &[Stage]) -> Estimate {
    // Those that were asked for as the largest say nothing of the others, unless there are no others.
    let asked: Vec<Sample> = pick_sample(sizes).into_iter().filter_map(|at| sizes[at]?.asked).collect();
    let typical = if asked.len() > SAMPLE_SIZE { &asked[SAMPLE_SIZE..] } else { &asked[..] };
    let mean = |number: fn(&Sample) -> u64| {
        typical.iter().map(number).sum::<u64>().checked_div(typical.len() as u64).unwrap_or(0)
    };
    let typical = Sample { pulls: mean(|asked| asked.pulls), commits: mean(|asked| asked.commits) };
    let has = |stage: Stage, number: u64| if stages.contains(&stage) { number } else { 0 };
    let more = |items: u64| items.div_ceil(ITEMS_PER_PAGE).saturating_sub(1);
    let lists: u64 = stages.iter().map(|stage| stage.lists()).sum();
    let (mut first, mut pages, mut pulls, mut details, mut changed) = (0, 0, 0, 0, 0);
    let mut each = Vec::with_capacity(due.len());
    for ((due, sizes), read_again) in due.iter().zip(sizes).zip(read_again) {
        let Some(sizes) = sizes else {
            let cost = match (read_again, due.changed) {
                (true, _) => lists,
                (false, true) => REQUESTS_PER_CHANGED,
                (false, false) => 0,
            };
            changed += cost;
            each.push(cost);
            continue;
        };
        let asked = sizes.asked.unwrap_or(typical);
        let further = has(Stage::Stars, more(sizes.stars))
            + has(Stage::Forks, more(sizes.forks))
            + has(Stage::Commits, more(asked.commits))
            + has(Stage::Pulls, more(asked.pulls))
            + has(Stage::Issues, more(sizes.open.max(asked.pulls)));
        let of_pulls = has(Stage::Pulls, asked.pulls);
        let of_details = has(Stage::Details, asked.commits + 2 * asked.pulls);
        first += lists;
        pages += further;
        pulls += of_pulls;
        details += of_details;
        each.push(lists + further + of_pulls + of_details);
    }
    let kinds = vec![
        ("lists of repositories never retrieved", first),
        ("further pages of these lists", pages),
        ("commits of their pull requests", pulls),
        ("details of their commits and pull requests", details),
        ("repositories retrieved before", changed),
    ];
    Estimate { each, kinds: kinds.into_iter().filter(|(_, requests)| *requests > 0).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(name: &str, retrieved: bool, changed: bool) -> DueRepository {
        let retrieved_at = retrieved.then(chrono::Utc::now);
        DueRepository { name: format!("o/{name}").parse().unwrap(), retrieved_at, changed }
    }

    #[test]
    fn what_was_never_retrieved_is_estimated_by_what_others_like_it_have() {
        let asked = |pulls, commits| Some(Sample { pulls, commits });
        let large = RepositorySize { size: 900, asked: asked(1000, 5000), ..RepositorySize::default() };
        let small = |asked| Some(RepositorySize { size: 1, asked, ..RepositorySize::default() });
        let mut sizes: Vec<_> = (0..SAMPLE_SIZE).map(|_| Some(large)).collect();
        sizes.extend([small(asked(2, 10)), small(asked(4, 10)), small(None)]);
        let due: Vec<_> = (0..sizes.len()).map(|at| due(&format!("r{at}"), false, true)).collect();
        let stages = [Stage::Repo, Stage::Pulls, Stage::Commits];
        let each = compute(&due, &sizes, &[false; 40][..due.len()], &stages).each;
        assert_eq!(each[0], 3 + 9 + 49 + 1000);
        assert_eq!(&each[SAMPLE_SIZE..], [3 + 2, 3 + 4, 3 + 3]);
    }

    #[test]
    fn what_is_known_costs_what_has_changed() {
        let due = [due("a", true, true), due("b", true, false)];
        let estimate = compute(&due, &[None, None], &[false, false], &[Stage::Repo]);
        assert_eq!(estimate.each, [REQUESTS_PER_CHANGED, 0]);
        assert_eq!(estimate.kinds, [("repositories retrieved before", REQUESTS_PER_CHANGED)]);
        assert_eq!(compute(&due, &[None, None], &[true, true], &[Stage::Repo, Stage::Labels]).each, [2, 2]);
    }
}
