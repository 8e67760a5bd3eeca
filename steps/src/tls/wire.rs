//! The certificates a server shows: a TLS handshake that takes any chain and judges none, and sends
//! nothing afterwards.
//!
//! That the server holds the certificate's key is proved by the handshake; all else is judged by
//! `verdict`, so that everything that is wrong can be said at once.

use super::starttls::{self, StartTls};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where to connect, and whom to ask for.
pub struct Target<'a> {
    /// Host or address to connect to.
    pub address: &'a str,
    /// The port.
    pub port: u16,
    /// The name asked for (SNI); an address is not sent.
    pub name: ServerName<'static>,
    /// What is said before TLS begins.
    pub starttls: Option<StartTls>,
}

/// What a server showed.
#[derive(Debug)]
pub struct Shown {
    /// Its certificate and those sent with it.
    pub chain: Vec<CertificateDer<'static>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: String,
    /// The address that answered.
    pub address: String,
}

/// Why no certificate was seen.
#[derive(Debug, PartialEq, Eq)]
pub enum Missed {
    /// No connection.
    Unreachable(String),
    /// A connection, but no TLS.
    Handshake(String),
}

/// Connects, takes the certificates, and closes.
///
/// # Errors
/// When there is no connection, or no handshake.
pub async fn look(target: &Target<'_>) -> Result<Shown, Missed> {
    let mut stream = TcpStream::connect((target.address, target.port))
        .await
        .map_err(|e| Missed::Unreachable(format!("{}:{}: {e}", target.address, target.port)))?;
    let address = stream.peer_addr().map_or_else(|_| target.address.to_owned(), |peer| peer.to_string());
    if let Some(starttls) = target.starttls {
        starttls::begin(starttls, &mut stream).await.map_err(Missed::Handshake)?;
    }
    let config = config().map_err(|e| Missed::Handshake(e.to_string()))?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(target.name.clone(), stream).await.map_err(|e| missed(&e))?;
    let session = stream.get_ref().1;
    let chain = session.peer_certificates().unwrap_or_default().iter().map(|der| der.clone().into_owned()).collect();
    let protocol = session.protocol_version().and_then(|version| version.as_str()).unwrap_or_default().replace('_', ".");
    // A server that is told takes it for no error.
    let _ = stream.shutdown().await;
    Ok(Shown { chain, protocol, address })
}

fn config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Witness(provider)))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn missed(error: &std::io::Error) -> Missed {
    let text = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) | rustls::Error::PeerIncompatible(_)) => {
            format!("it has neither TLS 1.2 nor 1.3 in common with us ({error})")
        }
        Some(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)) => "it has no certificate for that name".into(),
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => "it asks for a certificate of ours".into(),
        Some(rustls::Error::InvalidMessage(_)) => "what answers there does not speak TLS".into(),
        Some(_) => error.to_string(),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => "the connection was closed in the middle of the handshake".into(),
        None => error.to_string(),
    };
    Missed::Handshake(text)
}

/// Takes any certificate, but not a handshake that its key did not sign.
#[derive(Debug)]
struct Witness(Arc<CryptoProvider>);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
