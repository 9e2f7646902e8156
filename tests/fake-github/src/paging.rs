//! Which rows of a list an answer holds, and its `Link` header.
use super::json::*;
use super::lists::issue_key;
use super::routes::{Answer, List, refusal};
use super::world::World;
use std::ops::Range;

/// The parts of a query, in the order sent.
#[derive(Clone, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    pub fn parse(query: Option<&str>) -> Query {
        let parts = query.unwrap_or("").split('&').filter(|p| !p.is_empty());
        Query(
            parts
                .map(|p| {
                    let (k, v) = p.split_once('=').unwrap_or((p, ""));
                    (unpercent(k), unpercent(&v.replace('+', "%20")))
                })
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.get(name).and_then(|v| v.parse().ok())
    }

    /// GitHub: a page that is no number, or 0, is the first.
    pub fn page(&self) -> usize {
        self.number("page").unwrap_or(1).max(1)
    }

    /// GitHub: 30 unless said otherwise, and silently no more than 100.
    pub fn per_page(&self) -> usize {
        self.number("per_page").filter(|&n| n > 0).unwrap_or(30).min(100)
    }

    /// The query with some parts put in place of others, or an empty string; `None` takes a part away.
    pub fn with(&self, changes: &[(&str, Option<String>)]) -> String {
        let mut parts = self.0.clone();
        for (name, value) in changes {
            let at = parts.iter().position(|(k, _)| k == name);
            match (at, value) {
                (Some(at), Some(v)) => parts[at].1 = v.clone(),
                (None, Some(v)) => parts.push((name.to_string(), v.clone())),
                (Some(at), None) => drop(parts.remove(at)),
                (None, None) => {}
            }
        }
        let text: Vec<String> = parts.iter().map(|(k, v)| format!("{}={}", percent(k), percent(v))).collect();
        if text.is_empty() { String::new() } else { format!("?{}", text.join("&")) }
    }
}

/// How a list may be paged.
#[derive(Clone)]
pub enum Rule {
    Pages,
    /// All rows at once.
    Whole,
    /// Pages, which some say end silently at about page 400: see `Options::deep_page_cap`.
    Deep,
    /// GitHub: stargazers end at page 400.
    Stars,
    /// GitHub: the feed holds 300 entries.
    Events,
    /// GitHub: cursors, unless a page is asked for; pages only to 10,000 rows.
    Issues {
        sort: String,
        ascending: bool,
    },
}

/// One page: which rows, and the relations of `Link` with the query that each has.
pub struct Page {
    pub rows: Range<usize>,
    pub links: Vec<(&'static str, String)>,
}

/// GitHub: no list that is paged by number says more than this about itself.
const ISSUE_ROWS: usize = 10_000;

/// Cuts a page out of a list, or refuses.
pub fn page_of(world: &World, list: &List, q: &Query, deep_cap: Option<usize>) -> Result<Page, Answer> {
    let (page, per) = (q.page(), q.per_page());
    let total = list.items.len();
    match &list.rule {
        Rule::Whole => return Ok(Page { rows: 0..total, links: vec![] }),
        Rule::Issues { sort, ascending } => {
            if q.get("page").is_none() {
                return cursor_page(world, list, q, sort, *ascending);
            }
            if page.saturating_mul(per) > ISSUE_ROWS {
                return Err(refusal(
                    422,
                    "Pagination with the page parameter is not supported for large datasets, please use cursor based pagination (after/before)",
                ));
            }
        }
        Rule::Stars if page > 400 => {
            return Err(refusal(
                422,
                "In order to keep the API fast for everyone, pagination is limited for this resource.",
            ));
        }
        Rule::Events if page > 300usize.div_ceil(per) => {
            return Err(refusal(
                422,
                "In order to keep the API fast for everyone, pagination is limited for this resource.",
            ));
        }
        _ => {}
    }
    let total = match (&list.rule, deep_cap) {
        (Rule::Deep, Some(cap)) => total.min(cap * per),
        (Rule::Stars, _) => total.min(400 * per),
        _ => total,
    };
    let first = (page - 1).saturating_mul(per).min(total);
    Ok(Page { rows: first..(first + per).min(total), links: numbered(q, page, per, total) })
}

/// The relations of a list that is paged by number.
pub fn numbered(q: &Query, page: usize, per: usize, total: usize) -> Vec<(&'static str, String)> {
    let last = total.div_ceil(per.max(1)).max(1);
    let to = |n: usize| q.with(&[("page", Some(n.to_string()))]);
    let mut links = vec![];
    if page > 1 {
        links.push(("prev", to((page - 1).min(last))));
    }
    if page < last {
        links.push(("next", to(page + 1)));
        links.push(("last", to(last)));
    }
    if page > 1 {
        links.push(("first", to(1)));
    }
    links
}

/// Cursors name the row that they stand beside by its sort key and number, so that they keep their place while the
/// list changes.
fn cursor_page(world: &World, list: &List, q: &Query, sort: &str, ascending: bool) -> Result<Page, Answer> {
    let per = q.per_page();
    let items = &list.items;
    let key = |n: u32| (issue_key(world.issue(list.repo, n), sort), n);
    let before_place = |n: u32, place: (i64, u32)| if ascending { key(n) < place } else { key(n) > place };
    let bad = || refusal(422, "The cursor is invalid");
    let rows = if let Some(after) = q.get("after") {
        let place = read_cursor(after).ok_or_else(bad)?;
        let first = items.partition_point(|&n| before_place(n, place) || key(n) == place);
        first..(first + per).min(items.len())
    } else if let Some(before) = q.get("before") {
        let place = read_cursor(before).ok_or_else(bad)?;
        let end = items.partition_point(|&n| before_place(n, place));
        end.saturating_sub(per)..end
    } else {
        0..per.min(items.len())
    };
    let mut links = vec![];
    if rows.start > 0 && !rows.is_empty() {
        let at = write_cursor(key(items[rows.start]));
        links.push(("prev", q.with(&[("after", None), ("before", Some(at))])));
    }
    if rows.end < items.len() && !rows.is_empty() {
        let at = write_cursor(key(items[rows.end - 1]));
        links.push(("next", q.with(&[("before", None), ("after", Some(at))])));
    }
    Ok(Page { rows, links })
}

fn write_cursor((key, number): (i64, u32)) -> String {
    // Looks like GitHub's, which are opaque.
    format!("Y3Vyc29yOnYyOpK{key:016x}{number:08x}==")
}

fn read_cursor(s: &str) -> Option<(i64, u32)> {
    let s = s.strip_prefix("Y3Vyc29yOnYyOpK")?.strip_suffix("==")?;
    if s.len() != 24 || !s.is_ascii() {
        return None;
    }
    Some((u64::from_str_radix(&s[..16], 16).ok()? as i64, u32::from_str_radix(&s[16..], 16).ok()?))
}
