//! The `Link` header: the pages around a page.

use http::HeaderMap;

use super::base::ApiBase;
use super::url::{ApiUrl, UrlProblem};

/// Links to the pages around a page. `next` is to be followed as it came (GitHub docs: pagination).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// The page after this one; `None` on the last page.
    pub next: Option<ApiUrl>,
    /// The page before this one.
    pub prev: Option<ApiUrl>,
    /// The first page.
    pub first: Option<ApiUrl>,
    /// The last page; cursor lists often leave it out.
    pub last: Option<ApiUrl>,
}

impl Links {
    /// Returns the number of the last page, if the list is numbered and shows it.
    pub fn last_page(&self) -> Option<u32> {
        self.last.as_ref()?.query_value("page")?.parse().ok()
    }

    /// Reads a response's `Link` headers; `from` is the address that answered.
    ///
    /// # Errors
    /// One of these links leads out of the API, or the header is malformed: taking either for "no more
    /// pages" would lose data.
    pub(super) fn read(headers: &HeaderMap, base: &ApiBase, from: &ApiUrl) -> Result<Self, UrlProblem> {
        let unreadable = || UrlProblem {
            found: "a Link header".to_owned(),
            api_url: base.api_url.as_str().to_owned(),
            problem: "it can't be parsed",
        };
        let mut links = Self::default();
        for value in headers.get_all(http::header::LINK) {
            let text = value.to_str().map_err(|_| unreadable())?;
            for (target, rels) in parse(text).ok_or_else(unreadable)? {
                for rel in rels.split_ascii_whitespace() {
                    let slot = match rel.to_ascii_lowercase().as_str() {
                        "next" => &mut links.next,
                        "prev" | "previous" => &mut links.prev,
                        "first" => &mut links.first,
                        "last" => &mut links.last,
                        _ => continue,
                    };
                    if slot.is_none() {
                        *slot = Some(base.parse(from, target)?);
                    }
                }
            }
        }
        Ok(links)
    }
}

/// Parses a `Link` field (RFC 8288, section 3 and appendix B.2) into targets and their `rel`; `None` when it is malformed.
/// A target may hold commas and semicolons, a quoted value any of them and escaped quotes; of several `rel` the first counts.
fn parse(mut text: &str) -> Option<Vec<(&str, String)>> {
    let mut links = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        if text.is_empty() {
            return Some(links);
        }
        let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
        let mut rel = None;
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            let Some(after) = rest.strip_prefix(';') else { break };
            let after = after.trim_start_matches([' ', '\t']);
            let name_end = after.find(['=', ';', ',', ' ', '\t']).unwrap_or(after.len());
            let (name, after) = after.split_at(name_end);
            rest = after.trim_start_matches([' ', '\t']);
            let mut value = String::new();
            if let Some(after) = rest.strip_prefix('=') {
                (value, rest) = parameter_value(after.trim_start_matches([' ', '\t']))?;
            }
            if name.eq_ignore_ascii_case("rel") && rel.is_none() {
                rel = Some(value);
            }
        }
        if !(rest.is_empty() || rest.starts_with(',')) {
            return None;
        }
        links.push((target, rel.unwrap_or_default()));
        text = rest;
    }
}

/// Splits a token or a quoted string from what follows it.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(api: &str, header: &str) -> Result<Links, UrlProblem> {
        let mut headers = HeaderMap::new();
        headers.insert("link", header.parse().unwrap());
        let base = ApiBase::new(url::Url::parse(api).unwrap(), None);
        Links::read(&headers, &base, &ApiUrl::path(&["repositories", "1", "issues"]))
    }

    #[test]
    fn github_header_is_parsed() {
        let links = read(
            "https://api.github.com/",
            "<https://api.github.com/repositories/1/issues?per_page=100&after=Y3Vyc29yOnYyOpK5,MjA%3D>; rel=\"next\", <https://api.github.com/repositories/1/issues?page=34>; rel=\"last\"",
        )
        .unwrap();
        assert_eq!(
            links.next.as_ref().unwrap().to_string(),
            "/repositories/1/issues?per_page=100&after=Y3Vyc29yOnYyOpK5,MjA%3D"
        );
        assert_eq!(links.last_page(), Some(34));
        assert_eq!((links.first, links.prev), (None, None));
    }

    #[test]
    fn whole_grammar_is_parsed() {
        let links = read(
            "https://host/api/v3/",
            "</api/v3/a,b;c?x=1>;title=\"a, \\\"b\\\"; rel=next\" ; REL=\"x next\";rel=last , ,<?page=2>; rel=first;a",
        )
        .unwrap();
        assert_eq!(links.next.unwrap().to_string(), "/a,b;c?x=1");
        assert_eq!(links.first.unwrap().to_string(), "/repositories/1/issues?page=2");
        assert_eq!(links.last, None, "of two rel the first counts");
    }

    #[test]
    fn foreign_link_or_garbage_is_an_error_not_the_last_page() {
        for bad in [
            "<https://evil.example/x>; rel=\"next\"",
            "<http://host/api/v3/x>; rel=next",
            "<https://host:444/api/v3/x>; rel=next",
            "<https://host/api/v3x/y>; rel=next",
            "<https://host/api/v3/../x>; rel=next",
            "<https://user@host/api/v3/x>; rel=next",
            "<https://host/api/v3/x; rel=next",
            "https://host/api/v3/x; rel=next",
            "<https://host/api/v3/x>; rel=\"next",
            "<https://host/api/v3/x> rel=next",
        ] {
            read("https://host/api/v3/", bad).expect_err(bad);
        }
        read("https://host/api/v3/", "<https://docs.example/>; rel=\"deprecation\"").unwrap();
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "\\PC*") { let _ = parse(&text); }

        #[test]
        fn near_header_does_not_panic(text in "[<>;,=\" \\\\a-z/?]{0,60}") { let _ = parse(&text); }

        #[test]
        fn written_links_are_parsed(targets in prop::collection::vec(("[a-z/?&=,;%0-9]{1,30}", "(\\\\PC|[\",;\\\\])*"), 0..5)) {
            let header = targets.iter().map(|(target, title)| {
                format!("<{target}>; title=\"{}\"; rel=\"next\"", title.replace('\\', "\\\\").replace('"', "\\\""))
            }).collect::<Vec<_>>().join(", ");
            let read = parse(&header).unwrap();
            prop_assert_eq!(read.iter().map(|(t, _)| *t).collect::<Vec<_>>(), targets.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>());
            prop_assert!(read.iter().all(|(_, rel)| rel == "next"));
        }
    }
}
