//! The signature of a delivery: HMAC-SHA256 over the exact bytes, checked before anything is parsed.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;

use crate::secret::Secret;

/// The header with the signature (GitHub docs: validating webhook deliveries). The older `X-Hub-Signature`, an HMAC-SHA1,
/// is not accepted.
const SIGNATURE: &str = "x-hub-signature-256";
/// The signature's prefix, before its 64 hex digits.
const PREFIX: &str = "sha256=";
/// Bytes of an HMAC-SHA256.
const SIGNATURE_BYTES: usize = 32;

/// A delivery whose sender knew a secret. Only [`Verifier::verify`] makes one.
#[derive(Debug)]
pub struct VerifiedDelivery {
    headers: HeaderMap,
    body: Bytes,
}

impl VerifiedDelivery {
    /// Returns the request's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the exact bytes.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// The reason why a delivery is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The header is missing.
    #[error("no X-Hub-Signature-256: set the webhook's secret")]
    Missing,
    /// There is only the older signature.
    #[error("X-Hub-Signature (SHA-1) alone is not accepted: X-Hub-Signature-256 is missing")]
    Sha1Only,
    /// The header is no signature, or there are several.
    #[error("X-Hub-Signature-256 is not sha256= and 64 hex digits")]
    Malformed,
    /// No secret makes this signature.
    #[error("the signature does not match the body: another secret signed it, or the body was changed on its way")]
    Mismatch,
}

/// A request's signature, as its header has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; SIGNATURE_BYTES]);

/// The secrets that may sign deliveries.
#[derive(Debug, Clone)]
pub struct Verifier {
    secrets: Vec<Secret>,
}

impl Verifier {
    /// Creates a verifier that accepts a signature by any of the secrets; without any it accepts everything.
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self { secrets }
    }

    /// Returns the signature of a request's headers, so that one without is rejected before its body is read; `None` if none
    /// is needed.
    ///
    /// # Errors
    /// The header is missing or malformed.
    pub fn signature(&self, headers: &HeaderMap) -> Result<Option<Signature>, SignatureError> {
        if self.secrets.is_empty() {
            return Ok(None);
        }
        let mut values = headers.get_all(SIGNATURE).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value,
            (Some(_), Some(_)) => return Err(SignatureError::Malformed),
            (None, _) if headers.contains_key("x-hub-signature") => return Err(SignatureError::Sha1Only),
            (None, _) => return Err(SignatureError::Missing),
        };
        let digits = value.to_str().ok().and_then(|value| value.strip_prefix(PREFIX));
        digits.and_then(parse_hex).map(|signature| Some(Signature(signature))).ok_or(SignatureError::Malformed)
    }

    /// Checks a body against its signature, in constant time for each secret. A body of megabytes takes some 10 ms.
    ///
    /// # Errors
    /// The signature is missing or malformed, or no secret makes it.
    pub fn verify(&self, headers: HeaderMap, body: Bytes) -> Result<VerifiedDelivery, SignatureError> {
        let Some(Signature(signature)) = self.signature(&headers)? else {
            return Ok(VerifiedDelivery { headers, body });
        };
        let is_by = |secret: &Secret| {
            // HMAC takes a key of any length.
            Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).is_ok_and(|mut mac| {
                mac.update(&body);
                mac.verify_slice(&signature).is_ok()
            })
        };
        if self.secrets.iter().any(is_by) {
            Ok(VerifiedDelivery { headers, body })
        } else {
            Err(SignatureError::Mismatch)
        }
    }
}

/// Parses exactly 64 hex digits.
fn parse_hex(digits: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * SIGNATURE_BYTES {
        return None;
    }
    let mut bytes = [0; SIGNATURE_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    /// GitHub docs: validating webhook deliveries, testing the validation.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const EXPECTED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn check(secrets: &[&str], headers: &[(&'static str, &str)], body: &[u8]) -> Result<(), SignatureError> {
        let verifier = Verifier::new(secrets.iter().map(|secret| Secret::new(*secret)).collect());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        verifier.verify(map, Bytes::copy_from_slice(body)).map(|verified| assert_eq!(verified.body(), body))
    }

    #[test]
    fn githubs_own_example_is_accepted() {
        check(&[SECRET], &[(SIGNATURE, EXPECTED)], BODY).unwrap();
        check(&[SECRET], &[(SIGNATURE, &EXPECTED.to_uppercase().replace("SHA256", "sha256"))], BODY).unwrap();
        check(&["new", SECRET, "other"], &[(SIGNATURE, EXPECTED)], BODY).unwrap();
        check(&[], &[], BODY).unwrap();
    }

    #[test]
    fn others_are_rejected() {
        let sha1 = ("x-hub-signature", "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59");
        assert_eq!(check(&[SECRET], &[sha1], BODY), Err(SignatureError::Sha1Only));
        assert_eq!(check(&[SECRET], &[], BODY), Err(SignatureError::Missing));
        assert_eq!(check(&["other"], &[(SIGNATURE, EXPECTED)], BODY), Err(SignatureError::Mismatch));
        assert_eq!(check(&[SECRET], &[(SIGNATURE, EXPECTED)], b"Hello, World?"), Err(SignatureError::Mismatch));
        let twice = [(SIGNATURE, EXPECTED), (SIGNATURE, EXPECTED)];
        assert_eq!(check(&[SECRET], &twice, BODY), Err(SignatureError::Malformed));
        for malformed in
            ["", "sha256=", &EXPECTED[7..], &EXPECTED[..70], &format!("{EXPECTED}0"), "sha1=00", "sha256=é"]
        {
            assert_eq!(
                check(&[SECRET], &[(SIGNATURE, malformed)], BODY),
                Err(SignatureError::Malformed),
                "{malformed}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_header_is_an_error_and_never_a_panic(value in proptest::collection::vec(32_u8..=255, 0..90)) {
            let mut map = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.insert(SIGNATURE, value);
            }
            prop_assert!(Verifier::new(vec![Secret::new(SECRET)]).verify(map, Bytes::from_static(BODY)).is_err());
        }
    }
}
