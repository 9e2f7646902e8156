//! The table and the JSON that `get-repos` prints.

use serde_json::{Value, json};

use super::super::output::{plain_table, pretty_json};
use super::{ListedOrganization, ListingReport};
use crate::mirror::OrganizationReport;
use crate::store::relational::inventory::RepositoryRecord;

/// Returns the repositories that count as an organization's: listed, and not deleted.
fn current(inventory: &[RepositoryRecord]) -> impl Iterator<Item = &RepositoryRecord> {
    inventory.iter().filter(|known| known.listed.is_some() && !known.deleted)
}

pub(super) fn as_table(report: &ListingReport) -> String {
    let mut total = [0_usize; 7];
    let mut rows: Vec<[String; 10]> = Vec::new();
    for ListedOrganization { report: organization, repositories, webhook } in &report.organizations {
        let numbers = numbers(organization, repositories);
        total.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        let result = if organization.problems.is_empty() { "done" } else { "incomplete" };
        let webhook = webhook.as_ref().map_or("-".to_owned(), ToString::to_string);
        rows.push(row(&organization.login, numbers, webhook, result));
    }
    rows.push(row("total", total, String::new(), ""));
    let mut text = plain_table(
        [
            "organization",
            "repositories",
            "new",
            "renamed",
            "gone",
            "private",
            "requests",
            "free (304)",
            "webhook",
            "result",
        ],
        rows,
    );
    for ListedOrganization { report: organization, .. } in &report.organizations {
        text.extend(organization.renamed.iter().map(|(from, to)| format!("renamed: {from} is now {to}\n")));
        text.extend(organization.gone.iter().map(|name| format!("gone: {name}, marked as deleted\n")));
        text.extend(organization.unreadable.iter().map(|name| format!("no longer readable: {name}\n")));
    }
    text
}

fn row(name: &str, numbers: [usize; 7], webhook: String, result: &str) -> [String; 10] {
    let [repositories, new, renamed, gone, private, requests, free] = numbers.map(|number| number.to_string());
    [name.to_owned(), repositories, new, renamed, gone, private, requests, free, webhook, result.to_owned()]
}

fn numbers(organization: &OrganizationReport, repositories: &[RepositoryRecord]) -> [usize; 7] {
    let private =
        current(repositories).filter(|known| known.visibility.as_deref().is_some_and(|v| v != "public")).count();
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    [
        current(repositories).count(),
        organization.new.len(),
        organization.renamed.len(),
        organization.gone.len() + organization.unreadable.len(),
        private,
        number(organization.requests),
        number(organization.free),
    ]
}

pub(super) fn as_json(report: &ListingReport) -> anyhow::Result<String> {
    let organization = |ListedOrganization { report: organization, repositories, webhook }: &ListedOrganization| {
        let [count, _, _, _, private, requests, free] = numbers(organization, repositories);
        let renamed: Vec<Value> =
            organization.renamed.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
        json!({
            "organization": organization.asked,
            "login": organization.login,
            "person": organization.person,
            "repositories": count,
            "private": private,
            "new": organization.new,
            "renamed": renamed,
            "gone": organization.gone,
            "unreadable": organization.unreadable,
            "webhook": webhook.as_ref().map(ToString::to_string),
            "notes": organization.notes,
            "problems": organization.problems,
            "complete": organization.problems.is_empty(),
            "requests": requests,
            "free": free,
        })
    };
    let organizations: Vec<Value> = report.organizations.iter().map(organization).collect();
    pretty_json(&json!({"organizations": organizations, "problems": report.problems}))
}
