//! `msght migrate`: upgrades GHTorrent's databases in place, after a check and only when asked.

use tokio_util::sync::CancellationToken;

use super::{Outcome, plain_table, print, retry_policy};
use crate::cli::MigrateArgs;
use crate::config::Settings;
use crate::store::documents::{self, Duplicates};
use crate::store::relational::ghtorrent::{self, Examined, Remedy, Upgrade};
use crate::telemetry::Console;

/// Checks both stores, says what upgrading them takes, and does it with `--apply` if nothing stands in the way.
///
/// # Errors
/// A store that can't be used, or a statement that its server has refused.
pub async fn run(
    settings: Settings,
    args: &MigrateArgs,
    console: Console,
    shutdown: CancellationToken,
) -> anyhow::Result<Outcome> {
    let retry_policy = retry_policy(&settings, &console, &shutdown);
    let examined = ghtorrent::examine(&settings.sql.url, args.apply).await?;
    let duplicates = documents::find_duplicates(&settings.documents.url, &retry_policy).await?;
    let repair = args.repair_duplicates;
    let mut text = match &examined {
        Examined::NothingToDo(why) => format!("{why}; nothing to do\n"),
        Examined::Unfinished(unfinished) => format!("{}\n", unfinished.described),
        Examined::Upgrade(upgrade) => tables(upgrade),
    };
    text.push_str(&in_the_way(&examined, &duplicates, repair));
    let relational_can = match &examined {
        Examined::NothingToDo(_) | Examined::Unfinished(_) => true,
        Examined::Upgrade(upgrade) => upgrade.is_possible(repair),
    };
    let possible = relational_can && duplicates.iter().all(|found| repair && found.incomplete == 0);
    let needed = !matches!(examined, Examined::NothingToDo(_)) || !duplicates.is_empty();
    print(text.as_bytes())?;
    if !possible {
        let hint = if repair { "" } else { "; with --repair-duplicates msght sets right what it can" };
        console.error(&format!("rows or documents are in the way; nothing was changed{hint}"));
        return Ok(Outcome::Incomplete);
    }
    if !args.apply {
        if needed {
            console.line("nothing was changed; run it again with --apply to do this, after a backup");
        }
        return Ok(Outcome::Complete);
    }
    if let Examined::Unfinished(unfinished) = &examined {
        unfinished.finish(&retry_policy).await?;
        console.line("the relational store is upgraded");
    }
    if let Examined::Upgrade(upgrade) = examined {
        let tell = {
            let console = console.clone();
            move |line: &str| {
                tracing::info!("{line}");
                console.line(line);
            }
        };
        if !upgrade.apply(repair, &retry_policy, &tell, &shutdown).await? {
            console.error("stopped in the middle: run it again, it goes on where it stopped");
            return Ok(Outcome::Incomplete);
        }
        console.line("the relational store is upgraded");
    }
    if !duplicates.is_empty() {
        for (collection, removed) in documents::repair_duplicates(&settings.documents.url, &retry_policy).await? {
            console
                .line(&format!("{}: {removed} documents removed, of which a newer one was there", collection.name()));
        }
    }
    Ok(Outcome::Complete)
}

fn tables(upgrade: &Upgrade) -> String {
    let rows = upgrade.tables().iter().map(|table| {
        let rows = table.rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string());
        let change = if table.change.is_empty() { "nothing" } else { &table.change };
        [table.table.clone(), rows, change.to_owned()]
    });
    format!(
        "{}: GHTorrent's tables, to be upgraded\n\n{}",
        upgrade.described(),
        plain_table(["table", "rows", "to do"], rows.collect())
    )
}

fn in_the_way(examined: &Examined, duplicates: &[Duplicates], repair: bool) -> String {
    let mut rows = Vec::new();
    if let Examined::Upgrade(upgrade) = examined {
        for obstacle in upgrade.obstacles() {
            let remedy = match obstacle.remedy {
                Remedy::Conversion(what) => what.to_owned(),
                Remedy::Repair(what) if repair => what.to_owned(),
                Remedy::Repair(what) => format!("with --repair-duplicates {what}"),
                Remedy::Yours(what) => format!("yours to do: {what}"),
            };
            let count = if obstacle.rows == 0 { "-".to_owned() } else { obstacle.rows.to_string() };
            rows.push([obstacle.table.clone(), count, obstacle.what.clone(), obstacle.examples.join("; "), remedy]);
        }
    }
    for found in duplicates {
        let remedy = match (found.incomplete, repair) {
            (1.., _) => "yours to do: complete or remove those that lack a part of their key",
            (0, true) => "the newest is kept",
            (0, false) => "with --repair-duplicates the newest is kept",
        };
        rows.push([
            found.collection.name().to_owned(),
            (found.documents + found.incomplete).to_string(),
            "several documents of one key".to_owned(),
            found.examples.join("; "),
            remedy.to_owned(),
        ]);
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("\nIn the way:\n{}", plain_table(["table", "rows", "what", "first", "what becomes of them"], rows))
}
