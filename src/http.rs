//! Common parts of HTTP clients: the TLS provider, proxy settings and error chains.

use std::error::Error;
use std::fmt::Write;
use std::iter::successors;

/// Builds a client for services other than GitHub, which has a client of its own.
///
/// # Errors
/// TLS or proxy settings that can't be used.
pub fn client() -> Result<reqwest::Client, String> {
    install_crypto_provider();
    let agent = concat!("msght/", env!("CARGO_PKG_VERSION"));
    let builder = reqwest::Client::builder().user_agent(agent).redirect(reqwest::redirect::Policy::none());
    builder.build().map_err(|error| error_chain(&error.without_url()))
}

/// Installs the process's TLS provider. One that is installed already stays.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Returns an error and its causes, outermost first.
pub fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// Formats an error and its causes on one line, outermost first, without repetitions.
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

/// Environment variables that name a proxy: the first of each pair that is set counts.
const PROXY_VARIABLES: [[&str; 2]; 3] =
    [["HTTPS_PROXY", "https_proxy"], ["HTTP_PROXY", "http_proxy"], ["ALL_PROXY", "all_proxy"]];

/// Returns a warning for each proxy variable that HTTP clients ignore because it is malformed; nothing of its value.
pub fn proxy_warnings() -> Vec<String> {
    malformed_proxies(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
        .map(|name| format!("{name} is not a proxy's URL and is ignored: set it to http://HOST:PORT, or unset it"))
        .collect()
}

fn malformed_proxies(value: impl Fn(&str) -> Option<String>) -> impl Iterator<Item = &'static str> {
    PROXY_VARIABLES.into_iter().filter_map(move |names| {
        let (name, url) = names.into_iter().find_map(|name| Some((name, value(name)?)))?;
        (!url.is_empty() && !is_proxy_url(&url)).then_some(name)
    })
}

/// Returns whether HTTP clients accept a text as a proxy: a host, with or without a scheme.
fn is_proxy_url(text: &str) -> bool {
    text.parse::<::http::Uri>().is_ok_and(|uri| {
        let is_known = |scheme: &str| matches!(scheme, "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h");
        uri.authority().is_some() && uri.scheme_str().is_none_or(is_known)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_proxy_variables_are_reported_by_name() {
        let reported = |set: &[(&str, &str)]| -> Vec<&str> {
            let value = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            malformed_proxies(value).collect()
        };
        for fine in
            ["", "http://proxy:3128", "proxy.example.com:3128", "https://u:p%40@proxy/", "socks5h://127.0.0.1:1080"]
        {
            assert_eq!(reported(&[("HTTPS_PROXY", fine)]), <[&str; 0]>::default(), "{fine}");
        }
        for bad in ["http://", "ftp://proxy:21", "/proxy", "http://my proxy"] {
            assert_eq!(reported(&[("https_proxy", bad), ("ALL_PROXY", bad)]), ["https_proxy", "ALL_PROXY"], "{bad}");
        }
        assert_eq!(reported(&[("HTTP_PROXY", "http://proxy"), ("http_proxy", "://")]), <[&str; 0]>::default());
    }
}
