//! A certificate of its own, made at the start and signed by nobody else, as most controllers have.

use std::{net::SocketAddr, sync::Arc};

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum TlsError {
    #[error("the certificate could not be made")]
    Certificate(#[source] rcgen::Error),
    #[error("the certificate could not be used")]
    Configuration(#[source] rustls::Error),
}

pub(crate) struct SelfSigned {
    pub(crate) configuration: Arc<ServerConfig>,
    pub(crate) certificate_pem: String,
}

impl SelfSigned {
    /// Valid for localhost, both loopback addresses and the address it listens on.
    pub(crate) fn new(address: SocketAddr) -> Result<Self, TlsError> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), address.ip().to_string()];
        let mut parameters = rcgen::CertificateParams::new(names).map_err(TlsError::Certificate)?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "CML controller simulator");
        let key = rcgen::KeyPair::generate().map_err(TlsError::Certificate)?;
        let certificate = parameters.self_signed(&key).map_err(TlsError::Certificate)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let private_key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|reason| TlsError::Configuration(rustls::Error::General(reason.to_owned())))?;
        let mut configuration = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Configuration)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private_key)
            .map_err(TlsError::Configuration)?;
        configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { configuration: Arc::new(configuration), certificate_pem: certificate.pem() })
    }
}
