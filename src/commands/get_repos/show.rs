//! What `get-repos` prints.

use serde_json::{Value, json};

use super::super::plain_table;
use super::{Listed, ListedOrganization};
use crate::mirror::OrganizationReport;
use crate::store::relational::inventory::Inventoried;

/// The repositories that count as an organisation's.
fn present(own: &[Inventoried]) -> impl Iterator<Item = &Inventoried> {
    own.iter().filter(|known| known.listed.is_some() && !known.deleted)
}

pub(super) fn as_table(listed: &Listed) -> String {
    let mut total = [0_usize; 7];
    let mut rows: Vec<[String; 10]> = Vec::new();
    for ListedOrganization { found: organization, own, hook } in &listed.organizations {
        let numbers = numbers(organization, own);
        total.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        let result = if organization.problems.is_empty() { "done" } else { "incomplete" };
        let hook = hook.as_ref().map_or("-".to_owned(), ToString::to_string);
        rows.push(row(&organization.login, numbers, hook, result));
    }
    rows.push(row("total", total, String::new(), ""));
    let mut text = plain_table(
        [
            "organisation",
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
    for ListedOrganization { found: organization, .. } in &listed.organizations {
        text.extend(organization.renamed.iter().map(|(from, to)| format!("renamed: {from} is now {to}\n")));
        text.extend(organization.gone.iter().map(|name| format!("gone: {name}, marked as deleted\n")));
        text.extend(organization.unreadable.iter().map(|name| format!("no longer readable: {name}\n")));
    }
    text
}

fn row(name: &str, numbers: [usize; 7], hook: String, result: &str) -> [String; 10] {
    let [repositories, new, renamed, gone, private, requests, free] = numbers.map(|number| number.to_string());
    [name.to_owned(), repositories, new, renamed, gone, private, requests, free, hook, result.to_owned()]
}

fn numbers(organization: &OrganizationReport, own: &[Inventoried]) -> [usize; 7] {
    let private = present(own).filter(|known| known.visibility.as_deref().is_some_and(|v| v != "public")).count();
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    [
        present(own).count(),
        organization.new.len(),
        organization.renamed.len(),
        organization.gone.len() + organization.unreadable.len(),
        private,
        number(organization.requests),
        number(organization.free),
    ]
}

pub(super) fn as_json(listed: &Listed) -> anyhow::Result<String> {
    let organization = |ListedOrganization { found: organization, own, hook }: &ListedOrganization| {
        let [repositories, _, _, _, private, requests, free] = numbers(organization, own);
        let renamed: Vec<Value> =
            organization.renamed.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
        json!({
            "organization": organization.asked,
            "login": organization.login,
            "person": organization.person,
            "repositories": repositories,
            "private": private,
            "new": organization.new,
            "renamed": renamed,
            "gone": organization.gone,
            "unreadable": organization.unreadable,
            "webhook": hook.as_ref().map(ToString::to_string),
            "notes": organization.notes,
            "problems": organization.problems,
            "complete": organization.problems.is_empty(),
            "requests": requests,
            "free": free,
        })
    };
    let organizations: Vec<Value> = listed.organizations.iter().map(organization).collect();
    let all = json!({"organizations": organizations, "problems": listed.problems});
    Ok(format!("{}\n", serde_json::to_string_pretty(&all)?))
}
