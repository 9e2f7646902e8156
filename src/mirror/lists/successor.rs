//! Successor of a page in a list.
//!
//! A page's `Link` header may be missing: a gateway may strip it, and a 304 has none. The number of items does not tell
//! either, because GitHub cuts pages first and hides some accounts' items afterwards: a page of 100 may show 99. So a
//! page that is at least half full and has no link is no proof of the list's end: the page behind it is requested, and
//! an empty one, with its tag, is the proof from then on.

use super::{PER_PAGE, query_number};
use crate::github::{ApiError, ApiUrl, VisitedUrls};

/// Minimum number of items on a page without a link for its successor to be probed; with fewer, the page ends its list.
const PROBE_FROM: usize = PER_PAGE / 2;

/// A page that follows another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Successor {
    /// A page that is linked.
    Linked(ApiUrl),
    /// A page that may exist although no link says so.
    Probable(ApiUrl),
    /// No page.
    End,
}

impl Successor {
    /// Returns the successor of the page at `url` with so many items, which links to `link`.
    pub(super) fn of(url: &ApiUrl, link: Option<&ApiUrl>, shown: usize) -> Self {
        let size = query_number(url, "per_page").map_or(PER_PAGE, |size| size as usize);
        match link {
            Some(link) => Self::Linked(link.clone()),
            // A cursor can't be computed; without a link the list ends.
            None if url.query_value("after").is_some() => Self::End,
            None if shown >= PROBE_FROM.min(size / 2).max(1) => Self::Probable(
                url.clone().with_query("page", &(query_number(url, "page").unwrap_or(1) + 1).to_string()),
            ),
            None => Self::End,
        }
    }

    /// Returns the page to request.
    pub(super) fn url(&self) -> Option<&ApiUrl> {
        match self {
            Self::Linked(url) | Self::Probable(url) => Some(url),
            Self::End => None,
        }
    }

    /// Records that the page is about to be requested.
    ///
    /// # Errors
    /// The walk has had it before.
    pub(super) fn visit(&self, visited: &mut VisitedUrls) -> Result<(), ApiError> {
        self.url().map_or(Ok(()), |url| visited.visit(url))
    }

    /// Returns whether only the number of items suggests the page.
    pub(super) fn is_probable(&self) -> bool {
        matches!(self, Self::Probable(_))
    }
}

impl ApiError {
    /// Returns whether GitHub answers so for a page behind the last one.
    pub(super) fn is_past_the_end(&self) -> bool {
        matches!(self, Self::Unprocessable { .. } | Self::NotFound { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ApiUrl {
        text.parse().unwrap()
    }

    #[test]
    fn full_page_without_link_is_followed_by_its_number() {
        let first = url("/repos/a/b/labels?per_page=100");
        let second = url("/repos/a/b/labels?per_page=100&page=2");
        assert_eq!(Successor::of(&first, None, 100), Successor::Probable(second.clone()));
        assert_eq!(Successor::of(&first, None, 99), Successor::Probable(second.clone()));
        assert_eq!(Successor::of(&second, None, 50), Successor::Probable(url("/repos/a/b/labels?per_page=100&page=3")));
        assert_eq!(Successor::of(&second, None, 49), Successor::End);
        assert_eq!(Successor::of(&second, None, 0), Successor::End);
        assert_eq!(Successor::of(&first, Some(&second), 3), Successor::Linked(second));
    }

    #[test]
    fn cursor_without_link_is_the_end() {
        assert_eq!(Successor::of(&url("/repos/a/b/issues?per_page=100&after=Y3"), None, 100), Successor::End);
    }
}
