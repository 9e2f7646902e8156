//! `msght load`: puts repositories or users on their queue, and stored events and dead letters back on theirs.

mod events;

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::output::counted;
use super::{App, CommandOutcome};
use crate::cli::{LoadArgs, UsageError};
use crate::names::{RepoName, is_login};
use crate::queue::{Queue, Route};

/// Messages published at a time; shutdown takes effect between two batches.
const PUBLISH_BATCH: usize = 1000;
/// Dead letters requeued at a time.
const REQUEUE_BATCH: u32 = 500;

/// Publishes a message for each line of the file, or requeues dead letters or stored events. The whole file is checked first.
///
/// # Errors
/// A file that can't be read or has an invalid line; a store or queue that can't be used.
pub(super) async fn run(app: App, args: &LoadArgs) -> anyhow::Result<CommandOutcome> {
    match (&args.route, &args.file) {
        (Some(route), Some(file)) => {
            let bodies = read(file, route)?;
            let queue = app.queue().await?;
            queue.declare(std::slice::from_ref(route)).await?;
            let done = publish(&queue, route, bodies, &app.shutdown).await;
            queue.close().await;
            report(&app, &route.queue(), done?);
        }
        // Dead letters of events are noted in the store, too.
        (Some(Route::Event(_)) | None, _) => events_of(&app, args).await?,
        (Some(route), None) => {
            let queue = app.queue().await?;
            queue.declare(std::slice::from_ref(route)).await?;
            let done = requeue_dead(&queue, route, &app.shutdown).await;
            queue.close().await;
            report(&app, &route.queue(), done?);
        }
    }
    Ok(if app.shutdown.is_cancelled() { CommandOutcome::Incomplete } else { CommandOutcome::Complete })
}

/// Requeues stored events, or the dead letters of events.
async fn events_of(app: &App, args: &LoadArgs) -> anyhow::Result<()> {
    let stores = app.stores().await?;
    let queue = app.queue().await?;
    let done = match (&args.route, args.since) {
        (_, Some(_)) => events::requeue_stored(&stores.relational, &queue, args, &app.shutdown).await,
        (Some(route), None) => {
            let key = route.key();
            let kind = key.strip_prefix("evt.");
            events::requeue_dead(&stores.relational, &queue, kind, &app.shutdown).await
        }
        (None, None) => events::requeue_dead(&stores.relational, &queue, args.kind.as_deref(), &app.shutdown).await,
    };
    queue.close().await;
    stores.close().await;
    let done = done?;
    if done.is_empty() {
        app.console.line("no event is stored that was asked for");
    }
    for (queue, count) in done {
        report(app, &queue, count);
    }
    Ok(())
}

fn report(app: &App, queue: &str, count: usize) {
    app.console.line(&format!("{} put on the queue {queue}", counted(count as u64, "message", "messages")));
}

/// Publishes messages in batches until shutdown, and returns their number.
async fn publish(
    queue: &Queue,
    route: &Route,
    bodies: Vec<String>,
    shutdown: &CancellationToken,
) -> anyhow::Result<usize> {
    let mut done = 0;
    for batch in bodies.chunks(PUBLISH_BATCH) {
        if shutdown.is_cancelled() {
            break;
        }
        let published = queue.publish(route, batch.to_vec()).await;
        published.with_context(|| format!("{done} of {} messages were put on the queue before", bodies.len()))?;
        done += batch.len();
    }
    Ok(done)
}

/// Requeues the dead letters that were there at the start, and returns their number.
async fn requeue_dead(queue: &Queue, route: &Route, shutdown: &CancellationToken) -> anyhow::Result<usize> {
    let mut left = queue.depth(route).await?.dead;
    let mut done = 0;
    while left > 0 && !shutdown.is_cancelled() {
        let batch = u32::try_from(left).unwrap_or(REQUEUE_BATCH).min(REQUEUE_BATCH);
        let requeued = queue.requeue_dead(route, batch).await?;
        if requeued == 0 {
            break;
        }
        done += requeued as usize;
        left = left.saturating_sub(requeued.into());
    }
    Ok(done)
}

/// Reads the messages from a file or from standard input.
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

/// Parses a message from each line; an error has the line's number, counted from 1.
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
    fn repositories_are_parsed_in_both_forms() {
        let text = "\u{feff}# all\ncontoso web\r\ncontoso/api # the API\n\n";
        assert_eq!(messages(text, &Route::Projects).unwrap(), ["contoso web", "contoso api"]);
        assert_eq!(messages("octocat\n", &Route::Users).unwrap(), ["octocat"]);
    }

    #[test]
    fn invalid_line_is_reported_with_its_number() {
        let (line, problem) = messages("a b\nnonsense\n", &Route::Projects).unwrap_err();
        assert!(line == 2 && problem.contains("nonsense"), "{problem}");
        assert_eq!(messages("a\nb c\n", &Route::Users).unwrap_err().0, 2);
    }
}
