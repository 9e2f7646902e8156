//! Detection of cycles in a list's links.

use std::collections::HashSet;

use super::error::ApiError;
use super::url::ApiUrl;

/// The addresses that one walk along a list's links has requested.
#[derive(Debug, Default)]
pub struct VisitedUrls(HashSet<ApiUrl>);

impl VisitedUrls {
    /// Records an address that is about to be requested.
    ///
    /// # Errors
    /// [`ApiError::LinkCycle`] if this walk has requested it before: it would never end.
    pub fn visit(&mut self, url: &ApiUrl) -> Result<(), ApiError> {
        if self.0.insert(url.clone()) { Ok(()) } else { Err(ApiError::LinkCycle { path: url.to_string() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_address_is_a_cycle() {
        let page = |number: &str| ApiUrl::path(&["repositories", "7", "labels"]).query("page", number);
        let mut visited = VisitedUrls::default();
        for number in ["2", "3"] {
            visited.visit(&page(number)).unwrap();
        }
        let path = "/repositories/7/labels?page=2".to_owned();
        assert_eq!(visited.visit(&page("2")), Err(ApiError::LinkCycle { path }));
    }
}
