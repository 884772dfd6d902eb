//! Who is believed: authorities whose certificates are in a file.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// Where systems keep the authorities that they believe.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Authorities, ready to be used by any number of connections.
#[derive(Debug, Clone)]
pub struct Trust(pub(crate) Arc<ClientConfig>);

impl Trust {
    /// Those of the system.
    pub fn system() -> Result<Self, String> {
        let file = SYSTEM.iter().map(Path::new).find(|file| file.exists()).ok_or_else(|| {
            "this system has no list of certificate authorities (Debian: ca-certificates); name one with --ca FILE"
                .to_string()
        })?;
        Self::file(file)
    }

    /// Those of a file in PEM form, and nobody else.
    pub fn file(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let wrong = |what: String| format!("{shown}: {what}");
        let all = CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in all {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            // A list may have some that are of no use; it must not have these alone.
            roots.add_parsable_certificates([certificate]);
        }
        if roots.is_empty() {
            return Err(wrong("there is no certificate of an authority in it".into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
    }
}
