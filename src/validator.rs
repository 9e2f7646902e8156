//! Validators of conditional requests.

/// An ETag, and the token that it was issued to: GitHub's ETags differ by token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// The ETag as the page carried it, `W/` included.
    pub etag: String,
    /// The fingerprint of the token that it is valid for; empty for anonymous requests. An App gets new tokens each hour, and
    /// its ETags expire with them.
    pub scope: String,
}
