//! Trust in TLS certificates: as the system does, and curl.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// Builds the TLS configuration; fails if the system's trusted certificates can't be loaded.
pub(super) fn client_config() -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = SystemTrust { chains: Verifier::new(Arc::clone(&provider))?, roots: OnceLock::new() };
    config(provider, verifier)
}

fn config(provider: Arc<CryptoProvider>, verifier: SystemTrust) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A verifier that accepts what the platform's accepts, and a self-signed certificate that the system trusts as it is.
///
/// Appliances such as GitHub Enterprise Server come with one that is marked as a CA's. webpki rejects it as a server's own
/// (`CaUsedAsEndEntity`) whoever trusts it, while OpenSSL and the platforms' verifiers accept an equal root.
#[derive(Debug)]
struct SystemTrust {
    chains: Verifier,
    /// The system's roots, loaded when first needed.
    roots: OnceLock<Vec<CertificateDer<'static>>>,
}

impl SystemTrust {
    fn is_root(&self, certificate: &CertificateDer<'_>) -> bool {
        let roots = self.roots.get_or_init(|| rustls_native_certs::load_native_certs().certs);
        roots.iter().any(|root| root.as_ref() == certificate.as_ref())
    }
}

/// Returns whether this is webpki's only objection: it checks the certificate's dates before.
fn is_ca_as_end_entity(error: &Error) -> bool {
    const NAME: &str = "CaUsedAsEndEntity";
    matches!(error, Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) if cause.to_string() == NAME)
}

impl ServerCertVerifier for SystemTrust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if is_ca_as_end_entity(&error) && self.is_root(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use std::time::Duration;

    const SELF_SIGNED: &[u8] = include_bytes!("../../tests/fixtures/self_signed_ca.pem");
    /// Within the certificate's time, 2027.
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

    fn verify(trusted: bool, name: &str, now: UnixTime) -> Result<ServerCertVerified, Error> {
        let certificate = CertificateDer::from_pem_slice(SELF_SIGNED).unwrap();
        let roots = if trusted { vec![certificate.clone()] } else { Vec::new() };
        let provider = Arc::new(ring::default_provider());
        let chains = Verifier::new_with_extra_roots(roots.clone(), provider).unwrap();
        let trust = SystemTrust { chains, roots: OnceLock::from(roots) };
        trust.verify_server_cert(&certificate, &[], &ServerName::try_from(name).unwrap(), &[], now)
    }

    #[test]
    fn trusted_self_signed_certificate_is_accepted_for_its_names_and_time() {
        verify(true, "ghe.example.com", NOW).unwrap();
        verify(true, "127.0.0.1", NOW).unwrap();
        verify(true, "other.example.com", NOW).unwrap_err();
        verify(false, "ghe.example.com", NOW).unwrap_err();
        verify(true, "ghe.example.com", UnixTime::since_unix_epoch(Duration::from_secs(1))).unwrap_err();
    }
}
