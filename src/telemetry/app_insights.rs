//! The connection string of Application Insights (Microsoft Learn: connection strings).

use std::str::FromStr;

use url::Url;

use crate::secret::Secret;

/// The endpoint of an instrumentation key without an endpoint, as the first msght took it.
const GLOBAL_ENDPOINT: &str = "https://dc.services.visualstudio.com/";

/// A connection string of Application Insights.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionString {
    /// The instrumentation key: whoever knows it can send telemetry.
    pub key: Secret,
    /// The ingestion endpoint; ends in a slash.
    pub endpoint: Url,
}

impl FromStr for ConnectionString {
    type Err = &'static str;

    /// Parses a connection string, or an instrumentation key alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |name: &str| {
            text.split(';').find_map(|part| {
                let (key, value) = part.split_once('=')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let key = if text.contains('=') { part("InstrumentationKey").unwrap_or_default() } else { text.trim() };
        let groups: Vec<&str> = key.split('-').collect();
        let is_hex = |group: &&str| group.bytes().all(|b| b.is_ascii_hexdigit());
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) || !groups.iter().all(is_hex) {
            return Err("no InstrumentationKey=, which is 32 hex digits in five groups");
        }
        let suffixed = || part("EndpointSuffix").map(|suffix| format!("https://dc.{suffix}/"));
        let endpoint = part("IngestionEndpoint").map(str::to_owned).or_else(suffixed);
        let endpoint = endpoint.unwrap_or_else(|| GLOBAL_ENDPOINT.to_owned());
        let mut endpoint = Url::parse(&endpoint).map_err(|_| "an IngestionEndpoint that is not a URL")?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
            return Err("an IngestionEndpoint that is neither http nor https");
        }
        let is_bare = endpoint.username().is_empty() && endpoint.password().is_none();
        if !is_bare || endpoint.query().is_some() || endpoint.fragment().is_some() {
            return Err("an IngestionEndpoint with a user, a query or a fragment");
        }
        if !endpoint.path().ends_with('/') {
            endpoint.set_path(&format!("{}/", endpoint.path()));
        }
        Ok(Self { key: Secret::new(key), endpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "00000000-1111-2222-3333-444444444444";

    #[test]
    fn connection_strings_name_their_endpoint_and_keys_alone_have_the_global_one() {
        let endpoint = |text: String| text.parse::<ConnectionString>().unwrap().endpoint.to_string();
        let regional = format!("InstrumentationKey={KEY};IngestionEndpoint=https://westeurope.in.example.com");
        assert_eq!(endpoint(regional), "https://westeurope.in.example.com/");
        assert_eq!(endpoint(format!("instrumentationkey={KEY};EndpointSuffix=example.cn")), "https://dc.example.cn/");
        assert_eq!(endpoint(KEY.to_owned()), GLOBAL_ENDPOINT);
        for bad in ["", "x", "InstrumentationKey=x", "IngestionEndpoint=https://h/", &format!("{KEY}x")] {
            assert!(bad.parse::<ConnectionString>().is_err(), "{bad}");
        }
        for endpoint in ["ftp://h/", "http://u:s3cret@h/", "http://h/?code=s3cret", "h"] {
            let error = format!("InstrumentationKey={KEY};IngestionEndpoint={endpoint}").parse::<ConnectionString>();
            assert!(!error.unwrap_err().contains("s3cret"), "{endpoint}");
        }
        assert!("-".repeat(36).parse::<ConnectionString>().is_err());
        assert!(!format!("{:?}", KEY.parse::<ConnectionString>()).contains("1111"));
    }
}
