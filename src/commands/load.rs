//! `msght load`: puts repositories or users on their queue, or dead letters back on theirs.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::{Outcome, open_queue};
use crate::cli::{LoadArgs, UsageError};
use crate::config::Settings;
use crate::names::{RepoName, is_login};
use crate::queue::{Queue, Route};
use crate::telemetry::Console;

/// Messages published at a time: a stop is heeded between two batches.
const BATCH: usize = 1000;
/// Dead letters put back at a time.
const DEAD_BATCH: u32 = 500;

/// Publishes what the file names. The whole file is checked before anything is published.
///
/// # Errors
/// A file that can't be read or holds a line that names nothing; a queue that can't be used.
pub async fn run(
    settings: Settings,
    args: LoadArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    let bodies = match &args.file {
        Some(file) => read(file, &args.route)?,
        None => Vec::new(),
    };
    let queue = open_queue(&settings, &console, &shutdown).await?;
    queue.declare(std::slice::from_ref(&args.route)).await?;
    let done = match &args.file {
        Some(_) => publish(&queue, &args.route, bodies, &shutdown).await,
        None => revive(&queue, &args.route, &shutdown).await,
    };
    queue.close().await;
    let done = done?;
    console.line(&format!("{done} messages put on the queue {}", args.route.queue()));
    Ok(if shutdown.is_cancelled() { Outcome::Incomplete } else { Outcome::Complete })
}

async fn publish(
    queue: &Queue,
    route: &Route,
    bodies: Vec<String>,
    shutdown: &CancellationToken,
) -> anyhow::Result<usize> {
    let mut done = 0;
    for batch in bodies.chunks(BATCH) {
        if shutdown.is_cancelled() {
            break;
        }
        let published = queue.publish(route, batch.to_vec()).await;
        published.with_context(|| format!("{done} of {} messages were put on the queue before", bodies.len()))?;
        done += batch.len();
    }
    Ok(done)
}

/// Puts dead letters back, those that were there at the beginning.
async fn revive(queue: &Queue, route: &Route, shutdown: &CancellationToken) -> anyhow::Result<usize> {
    let mut left = queue.depth(route).await?.dead;
    let mut done = 0;
    while left > 0 && !shutdown.is_cancelled() {
        let batch = u32::try_from(left).unwrap_or(DEAD_BATCH).min(DEAD_BATCH);
        let revived = queue.requeue_dead(route, batch).await?;
        if revived == 0 {
            break;
        }
        done += revived as usize;
        left = left.saturating_sub(revived.into());
    }
    Ok(done)
}

/// The messages that a file's lines stand for.
fn read(file: &Path, route: &Route) -> anyhow::Result<Vec<String>> {
    let unreadable = |problem: String| UsageError::new(format!("can't read {}: {problem}", file.display()));
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    } else {
        text = std::fs::read_to_string(file).map_err(|error| unreadable(error.to_string()))?;
    }
    messages(&text, route).map_err(|(line, problem)| {
        UsageError::new(format!("{}, line {line}: {problem}; nothing was put on the queue", file.display())).into()
    })
}

fn messages(text: &str, route: &Route) -> Result<Vec<String>, (usize, String)> {
    let mut bodies = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        if line.is_empty() {
            continue;
        }
        let body = if *route == Route::Users {
            if !is_login(line) {
                return Err((index + 1, format!("{line:?} is not a login")));
            }
            line.to_owned()
        } else {
            let name = RepoName::parse_line(line).map_err(|error| (index + 1, error.to_string()))?;
            format!("{} {}", name.owner(), name.name())
        };
        bodies.push(body);
    }
    Ok(bodies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_repositories_is_read_in_both_forms() {
        let text = "\u{feff}# all\ncontoso web\r\ncontoso/api # the API\n\n";
        assert_eq!(messages(text, &Route::Projects).unwrap(), ["contoso web", "contoso api"]);
        assert_eq!(messages("octocat\n", &Route::Users).unwrap(), ["octocat"]);
    }

    #[test]
    fn a_line_that_names_nothing_is_shown_with_its_number() {
        let (line, problem) = messages("a b\nnonsense\n", &Route::Projects).unwrap_err();
        assert!(line == 2 && problem.contains("nonsense"), "{problem}");
        assert_eq!(messages("a\nb c\n", &Route::Users).unwrap_err().0, 2);
    }
}
