//! Warnings of files with secrets that other users can read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::keys::KEYS;
use super::{Origin, Settings};
use crate::backend_url::BackendUrl;
use crate::private_files::is_readable_by_others;

impl Settings {
    /// Returns a warning for each file with a token, key or password that users other than its owner can read.
    pub fn exposed_secrets(&self) -> Vec<String> {
        let mut files: Vec<(&str, PathBuf)> = Vec::new();
        let named = [
            ("the tokens file", &self.github.tokens_file),
            ("the App's private key", &self.github.app_private_key_file),
        ];
        files.extend(named.into_iter().filter_map(|(what, path)| Some((what, path.clone()?))));
        files.extend(self.files_with_secrets().into_iter().map(|path| ("the configuration with secrets", path)));
        let exposed = files.into_iter().filter(|(_, path)| is_readable_by_others(path));
        exposed.map(|(what, path)| warning(what, &path)).collect()
    }

    /// Returns the configuration files that hold a secret, or a URL with a password.
    fn files_with_secrets(&self) -> BTreeSet<PathBuf> {
        let has_password = |url: &BackendUrl| url.to_string() != url.expose();
        let urls = [
            ("documents.url", &self.documents.url),
            ("sql.url", &self.sql.url),
            ("queue.url", &self.queue.url),
            ("dump.target", &self.dump.target),
        ];
        let urls = urls.into_iter().filter(|(_, url)| has_password(url)).map(|(key, _)| key);
        let secret = KEYS.iter().filter(|key| key.secret).map(|key| key.path).chain(urls);
        let file = |key: &str| match self.origin(key) {
            Origin::File(path) => Some(path.clone()),
            _ => None,
        };
        secret.filter_map(file).collect()
    }
}

fn warning(what: &str, path: &Path) -> String {
    let path = path.display();
    format!("{what}, {path}, can be read by other users of this machine: chmod 600 {path}")
}
