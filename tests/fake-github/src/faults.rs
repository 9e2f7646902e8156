//! What can be made to go wrong.
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How often a fault strikes the requests that it matches.
#[derive(Clone, Debug)]
pub enum Times {
    Next(u32),
    /// So many times in a hundred, by a seeded choice.
    Percent(u32, u64),
    Always,
}

#[derive(Clone, Debug)]
pub enum FaultKind {
    /// 500, 502, 503, ... with a JSON or an HTML body.
    Status { status: u16, html: bool },
    /// GitHub's own refusal in its own words.
    Refusal { status: u16, message: &'static str },
    /// A server error that says when to come back.
    Unavailable { status: u16, retry_after: u64 },
    /// The connection ends before any answer.
    Reset,
    /// `Content-Length` promises more than is sent.
    Truncated,
    /// The first half of the right body, ended as if that were all: only the JSON shows it.
    Cut,
    /// 200 without a body.
    Empty,
    /// The right body, in so many pieces with a pause between them.
    Drip { pieces: usize, pause: Duration },
    /// 200 with a page of HTML in place of JSON.
    HtmlOk,
    /// The right answer, late.
    Slow(Duration),
    /// No answer.
    Hang,
    /// A secondary limit, as 403 or 429, with or without `Retry-After`.
    Secondary { status: u16, retry_after: Option<u64> },
    /// A secondary limit as the edge in front of GitHub tells it: a web page, with `Retry-After`.
    LimitPage { status: u16, retry_after: u64 },
    /// The primary limit: the token's budget is gone until its reset.
    Primary { status: u16 },
    /// The token is bad from now on.
    Revoke,
    /// 403 for want of a permission, naming it.
    Permission(&'static str),
    /// GitHub: 403 with the address where the token is to be authorized.
    SsoRequired,
    /// GitHub: 200, with organizations left out of the list.
    SsoPartial,
    /// 301 to that address.
    Redirect(String),
    /// `Link` has its next page at that base address.
    ForeignNext(String),
    /// The right answer, with every such text in it replaced.
    Rewrite { from: String, to: String },
    /// `Link` has the page of this number as its next one.
    NextPage(usize),
    /// The right answer without its `Link` header.
    NoLink,
    /// 200 with another body than the right one; its entity tag is that of the body sent.
    Edited(Edit),
}

/// Changes a right answer into another one.
#[derive(Clone)]
pub struct Edit(Arc<dyn Fn(&mut Value) + Send + Sync>);

impl Edit {
    pub fn new(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Edit {
        Edit(Arc::new(edit))
    }

    pub(super) fn apply(&self, body: &str) -> String {
        let mut value = serde_json::from_str(body).expect("valid JSON");
        (self.0)(&mut value);
        value.to_string()
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edit")
    }
}

impl FaultKind {
    /// A list shows `null` in the place of the items that match.
    pub fn nulls(matches: impl Fn(&Value) -> bool + Send + Sync + 'static) -> FaultKind {
        FaultKind::Edited(Edit::new(move |body| {
            for item in body.as_array_mut().into_iter().flatten().filter(|item| matches(item)) {
                *item = Value::Null;
            }
        }))
    }

    /// A list leaves out the items that match after its pages were cut, as GitHub hides accounts.
    pub fn hidden(matches: impl Fn(&Value) -> bool + Send + Sync + 'static) -> FaultKind {
        FaultKind::Edited(Edit::new(move |body| {
            if let Some(items) = body.as_array_mut() {
                items.retain(|item| !matches(item));
            }
        }))
    }

    /// Every list is empty, and knows no further page.
    pub fn empty_list() -> FaultKind {
        FaultKind::Edited(Edit::new(|body| {
            if body.is_array() {
                *body = Value::Array(Vec::new());
            }
        }))
    }
}

/// A fault, for requests whose path and query contain `path` (and which come on `token`, if one is named).
#[derive(Clone, Debug)]
pub struct Fault {
    pub path: String,
    pub token: Option<String>,
    pub times: Times,
    pub kind: FaultKind,
    pub(super) rng: u64,
    /// How many requests it has struck.
    pub struck: u32,
}

impl Fault {
    /// Strikes the next `n` requests whose path and query contain `path`.
    pub fn next(n: u32, path: &str, kind: FaultKind) -> Fault {
        Fault { path: path.into(), token: None, times: Times::Next(n), kind, rng: 0, struck: 0 }
    }

    /// Strikes every such request.
    pub fn always(path: &str, kind: FaultKind) -> Fault {
        Fault { times: Times::Always, ..Fault::next(0, path, kind) }
    }

    /// Strikes `percent` in a hundred of them.
    pub fn percent(percent: u32, seed: u64, path: &str, kind: FaultKind) -> Fault {
        Fault { times: Times::Percent(percent, seed), rng: seed, ..Fault::next(0, path, kind) }
    }

    /// Strikes requests on one token only.
    pub fn on_token(mut self, token: &str) -> Fault {
        self.token = Some(token.into());
        self
    }

    /// Whether it strikes this request; counts it if so.
    pub(super) fn strikes(&mut self, path: &str, token: &str) -> bool {
        if !path.contains(&self.path) || self.token.as_deref().is_some_and(|t| t != token) {
            return false;
        }
        let hit = match &mut self.times {
            Times::Always => true,
            Times::Next(0) => false,
            Times::Next(n) => {
                *n -= 1;
                true
            }
            Times::Percent(percent, _) => {
                self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (self.rng >> 33) % 100 < u64::from(*percent)
            }
        };
        self.struck += u32::from(hit);
        hit
    }
}
