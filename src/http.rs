//! What all that speaks HTTP has in common.

use std::error::Error;
use std::fmt::Write;
use std::iter::successors;

/// A client for services other than GitHub, which has rules of its own.
///
/// # Errors
/// TLS or proxy settings that can't be used.
pub fn client() -> Result<reqwest::Client, String> {
    install_crypto_provider();
    let agent = concat!("msght/", env!("CARGO_PKG_VERSION"));
    let builder = reqwest::Client::builder().user_agent(agent).redirect(reqwest::redirect::Policy::none());
    builder.build().map_err(|error| error_chain(&error.without_url()))
}

/// Chooses what TLS is made with, for the whole process. That it was chosen before is as good.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An error and what it came from, outermost first.
pub fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The error and its causes in one line, outermost first, without what repeats.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in sources(error).skip(1) {
        let cause = cause.to_string();
        if !line.contains(&cause) {
            // Writing to a String can't fail.
            let _ = write!(line, ": {cause}");
        }
    }
    line
}
