//! Every key that the settings have.

/// The shape of a key's value in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A whole number, not negative.
    Number,
    /// A string or a whole number, kept as text.
    TextOrNumber,
    /// An array of strings, or one string of them with commas.
    List,
}

impl Kind {
    pub(super) fn expected(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Number => "a whole number",
            Kind::TextOrNumber => "a string or a whole number",
            Kind::List => "an array of strings, or one string with commas between",
        }
    }
}

/// A key of the settings.
#[derive(Debug)]
pub struct Key {
    /// Its full name, `section.key`.
    pub path: &'static str,
    /// The shape of its value.
    pub(super) kind: Kind,
    /// Whether its value must not be shown.
    pub secret: bool,
}

impl Key {
    /// The key's environment variable.
    pub fn variable(&self) -> String {
        format!("MSGHT_{}", self.path.replace('.', "__").to_ascii_uppercase())
    }

    /// The key of this name.
    pub fn find(path: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.path == path)
    }
}

const fn text(path: &'static str) -> Key {
    Key { path, kind: Kind::Text, secret: false }
}

const fn number(path: &'static str) -> Key {
    Key { path, kind: Kind::Number, secret: false }
}

const fn secret(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, secret: true }
}

/// Every key, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    text("data_dir"),
    text("documents.url"),
    text("sql.url"),
    text("queue.url"),
    text("queue.exchange"),
    number("queue.prefetch"),
    number("queue.attempts"),
    text("queue.retry_after"),
    text("stores.timeout"),
    text("dump.target"),
    text("dump.azure_account"),
    secret("dump.azure_access_key", Kind::Text),
    text("dump.azure_endpoint"),
    text("github.api_url"),
    text("github.public_url"),
    secret("github.tokens", Kind::List),
    text("github.tokens_file"),
    secret("github.hook_token", Kind::Text),
    Key { path: "github.app_id", kind: Kind::TextOrNumber, secret: false },
    text("github.app_private_key_file"),
    number("github.concurrency"),
    number("github.reserve"),
    text("github.user_agent"),
    text("mirror.fork_commits"),
    text("webhooks.listen"),
    text("webhooks.public_url"),
    secret("webhooks.secret", Kind::Text),
    secret("telemetry.connection_string", Kind::Text),
    text("logging.file"),
    text("logging.level"),
    number("logging.keep_days"),
];
