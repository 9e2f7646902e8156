//! `msght migrate`: upgrades GHTorrent's databases in place, after a check and only with `--apply`.

use super::output::{counted, plain_table, print};
use super::{App, CommandOutcome};
use crate::cli::MigrateArgs;
use crate::store::documents::{self, Duplicates};
use crate::store::relational::upgrade::{self, Assessment, Fix, Upgrade};

/// Checks both stores, prints the upgrade's steps, and takes them with `--apply` if nothing blocks them.
///
/// # Errors
/// A store that can't be used, or a statement that its server rejected.
pub(super) async fn run(app: App, args: &MigrateArgs) -> anyhow::Result<CommandOutcome> {
    let App { settings, console, shutdown } = &app;
    let retry = app.retry_policy();
    let examined = upgrade::assess(&settings.sql.url, args.apply).await?;
    let duplicates = documents::find_duplicates(&settings.documents.url, &retry).await?;
    let repair = args.repair_duplicates;
    let mut text = match &examined {
        Assessment::NothingToDo(why) => format!("{why}; nothing to do\n"),
        Assessment::Unfinished(unfinished) => format!("{}\n", unfinished.description),
        Assessment::Upgrade(upgrade) => tables(upgrade),
    };
    text.push_str(&in_the_way(&examined, &duplicates, repair));
    let relational_can = match &examined {
        Assessment::NothingToDo(_) | Assessment::Unfinished(_) => true,
        Assessment::Upgrade(upgrade) => upgrade.is_possible(repair),
    };
    let possible = relational_can && duplicates.iter().all(|found| repair && found.incomplete == 0);
    let needed = !matches!(examined, Assessment::NothingToDo(_)) || !duplicates.is_empty();
    print(&text)?;
    if !possible {
        let hint = if repair { "" } else { "; --repair-duplicates repairs what msght can repair" };
        console.error(&format!("rows or documents are in the way; nothing was changed{hint}"));
        return Ok(CommandOutcome::Incomplete);
    }
    if !args.apply {
        if needed {
            console.line("nothing was changed; to apply these changes, take a backup and run it again with --apply");
        }
        return Ok(CommandOutcome::Complete);
    }
    if let Assessment::Unfinished(unfinished) = &examined {
        unfinished.finish(&retry).await?;
        console.line("the relational store is upgraded");
    }
    if let Assessment::Upgrade(upgrade) = examined {
        let report = {
            let console = console.clone();
            move |line: &str| {
                tracing::info!("{line}");
                console.line(line);
            }
        };
        if !upgrade.apply(repair, &retry, &report, shutdown).await? {
            console.error("stopped in the middle: run it again to resume");
            return Ok(CommandOutcome::Incomplete);
        }
        console.line("the relational store is upgraded");
    }
    if !duplicates.is_empty() {
        for (collection, removed) in documents::repair_duplicates(&settings.documents.url, &retry).await? {
            let removed = counted(removed, "document", "documents");
            console.line(&format!("{}: {removed} removed, superseded by newer ones", collection.name()));
        }
    }
    Ok(CommandOutcome::Complete)
}

fn tables(upgrade: &Upgrade) -> String {
    let rows = upgrade.tables().iter().map(|table| {
        let rows = table.rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string());
        let change = if table.change.is_empty() { "nothing" } else { &table.change };
        [table.table.clone(), rows, change.to_owned()]
    });
    format!(
        "{}: GHTorrent's tables, to be upgraded\n\n{}",
        upgrade.description(),
        plain_table(["table", "rows", "to do"], rows.collect())
    )
}

fn in_the_way(examined: &Assessment, duplicates: &[Duplicates], repair: bool) -> String {
    let mut rows = Vec::new();
    if let Assessment::Upgrade(upgrade) = examined {
        for blocker in upgrade.blockers() {
            let fix = match blocker.fix {
                Fix::Automatic(what) => what.to_owned(),
                Fix::WithRepair(what) if repair => what.to_owned(),
                Fix::WithRepair(what) => format!("with --repair-duplicates {what}"),
                Fix::Manual(what) => format!("yours to do: {what}"),
            };
            let count = if blocker.rows == 0 { "-".to_owned() } else { blocker.rows.to_string() };
            rows.push([blocker.table.clone(), count, blocker.what.clone(), blocker.examples.join("; "), fix]);
        }
    }
    for found in duplicates {
        let fix = match (found.incomplete, repair) {
            (1.., _) => "yours to do: complete or remove those that lack a part of their key",
            (0, true) => "the newest is kept",
            (0, false) => "with --repair-duplicates the newest is kept",
        };
        rows.push([
            found.collection.name().to_owned(),
            (found.documents + found.incomplete).to_string(),
            "several documents of one key".to_owned(),
            found.examples.join("; "),
            fix.to_owned(),
        ]);
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("\nIn the way:\n{}", plain_table(["table", "rows", "what", "first", "what becomes of them"], rows))
}
