//! TLS by certificates that are given.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore, ServerConfig};

use crate::env::Clock;
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
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
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
        let Some(certificate) = chain.first().cloned() else {
            return Err(bad("TLS certificate", &"there is none in it"));
        };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad("TLS key", &error))?;
        let builder =
            ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| bad("TLS", &error))?.with_no_client_auth();
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| bad("TLS certificate and key", &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsIdentity { config: Arc::new(config), certificate })
    }

    /// No client takes a certificate that is expired or not yet valid.
    fn check_time(&self, now_ms: u64) -> Result<()> {
        let parsed = ParsedCertificate::try_from(&self.certificate);
        let bad = |why: String| Err(Error::invalid("TLS certificate", "this one", why));
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return bad(error.to_string()),
        };
        // Who vouches for it is for clients to ask; its time is looked at before that.
        let (roots, now) = (RootCertStore::empty(), UnixTime::since_unix_epoch(Duration::from_millis(now_ms)));
        let algorithms = default_provider().signature_verification_algorithms.all;
        match verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms) {
            Err(rustls::Error::InvalidCertificate(
                error @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            )) => bad(error.to_string()),
            _ => Ok(()),
        }
    }
}

/// The identity of a server, which may be given another one while it serves.
pub(super) struct CurrentIdentity {
    identity: RwLock<Option<TlsIdentity>>,
    clock: Arc<dyn Clock>,
}

impl CurrentIdentity {
    /// # Errors
    /// [`Error::InvalidArgument`] for a certificate that is expired or not yet valid.
    pub(super) fn new(identity: Option<TlsIdentity>, clock: Arc<dyn Clock>) -> Result<CurrentIdentity> {
        if let Some(identity) = &identity {
            identity.check_time(clock.wall_ms())?;
        }
        Ok(CurrentIdentity { identity: RwLock::new(identity), clock })
    }

    /// # Errors
    /// As [`CurrentIdentity::new`]; then it stays as it is.
    pub(super) fn replace(&self, identity: TlsIdentity) -> Result<()> {
        identity.check_time(self.clock.wall_ms())?;
        *self.identity.write().unwrap_or_else(PoisonError::into_inner) = Some(identity);
        Ok(())
    }

    /// What a handshake that begins now goes by.
    pub(super) fn config(&self) -> Option<Arc<ServerConfig>> {
        let identity = self.identity.read().unwrap_or_else(PoisonError::into_inner);
        identity.as_ref().map(|identity| identity.config.clone())
    }
}

impl fmt::Debug for CurrentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentIdentity").finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}
