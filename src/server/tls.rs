//! TLS by certificates that are given.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};

/// What a client gets that asks for TLS where there is no certificate: a fatal alert, `handshake_failure` (RFC 8446, section 6).
pub(super) const HANDSHAKE_FAILURE: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 40];
/// The first byte of a TLS connection; no HTTP connection begins with it.
pub(super) const HANDSHAKE_RECORD: u8 = 0x16;

/// A certificate with its key, ready to serve TLS 1.2 and 1.3, with HTTP/2 and HTTP/1.1 on offer.
///
/// ```
/// use braidlog::server::TlsIdentity;
/// assert!(TlsIdentity::from_pem(b"no certificate", b"no key").is_err());
/// ```
#[derive(Clone)]
pub struct TlsIdentity {
    pub(super) config: Arc<ServerConfig>,
}

impl TlsIdentity {
    /// From PEM text: the certificate followed by those that lead to its root, and the key (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if one can't be read, or the key is not the certificate's.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<TlsIdentity> {
        let bad = |what: &'static str, error: &dyn fmt::Display| Error::invalid(what, "this PEM", error.to_string());
        let chain: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(|error| bad("TLS certificate", &error))?;
        if chain.is_empty() {
            return Err(bad("TLS certificate", &"there is none in it"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad("TLS key", &error))?;
        let builder =
            ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| bad("TLS", &error))?.with_no_client_auth();
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| bad("TLS certificate and key", &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsIdentity { config: Arc::new(config) })
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}
