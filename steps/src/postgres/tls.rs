//! TLS to a server as libpq's `sslmode` means it, over rustls.

use super::server::{Server, SslMode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode as Mode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

/// How connections to one server are made sure of.
#[derive(Clone)]
pub struct Tls {
    /// What the connection asks for.
    pub mode: Mode,
    config: Option<Arc<ClientConfig>>,
}

impl Tls {
    /// For a server; paths are relative to `dir`.
    ///
    /// # Errors
    /// When the certificates cannot be read; in words.
    pub fn of(server: &Server, dir: &Path) -> Result<Self, String> {
        let mode = match (server.sslmode, server.is_socket()) {
            // As libpq: on a socket of this machine there is no TLS.
            (SslMode::Disable, _) | (_, true) => Mode::Disable,
            (SslMode::Prefer, false) => Mode::Prefer,
            (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, false) => Mode::Require,
        };
        let config = if mode == Mode::Disable { None } else { Some(Arc::new(config(server, dir)?)) };
        Ok(Self { mode, config })
    }
}

fn config(server: &Server, dir: &Path) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let authority = server.authority().map(|file| roots(&dir.join(file), &provider)).transpose()?;
    let verifier: Arc<dyn ServerCertVerifier> = match (server.sslmode, authority) {
        (SslMode::VerifyFull, Some(authority)) => authority,
        (SslMode::VerifyFull, None) => {
            Arc::new(rustls_platform_verifier::Verifier::new(Arc::clone(&provider)).map_err(|e| format!("the system's certificates: {e}"))?)
        }
        (SslMode::Prefer | SslMode::Disable, _) => Arc::new(AnyName { provider: Arc::clone(&provider), authority: None }),
        (SslMode::Require | SslMode::VerifyCa, authority) => Arc::new(AnyName { provider: Arc::clone(&provider), authority }),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn roots(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("sslrootcert: cannot read certificates from `{}`: {e}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))? {
        roots.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build().map_err(|e| wrong(&e))
}

/// A certificate for whatever name: of that authority, or of nobody in particular.
#[derive(Debug)]
struct AnyName {
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        // The chain is looked at before the name.
        match authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            answer => answer,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Stream<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        Ok(Handshake { config: self.config.clone(), host: host.to_owned() })
    }
}

/// One handshake to be made.
pub struct Handshake {
    config: Option<Arc<ClientConfig>>,
    host: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let config = self.config.ok_or_else(|| io::Error::other("sslmode=disable"))?;
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            TlsConnector::from(config).connect(name, stream).await.map(Stream)
        })
    }
}

/// A connection over TLS.
pub struct Stream<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    mod with_postgres {
        use crate::bench::Bench;
        use crate::period::Period;
        use crate::postgres::session::{Access, get};
        use trees_servers::postgres::{PASSWORD, Postgres};

        /// `TLS` or `plain` where it connects, else what is wrong.
        async fn connect(bench: &Bench, server: &str) -> Result<&'static str, String> {
            let access = Access::of(server, Some(PASSWORD), Period::seconds(30), &bench.read()).map_err(|e| e.message)?;
            let reader = access.read(&bench.read()).await.map_err(|e| e.message)?;
            let select = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let row = reader.row("ask for TLS", select, &[]).await.map_err(|e| e.message)?;
            Ok(if get(&row.unwrap(), "ssl").unwrap() { "TLS" } else { "plain" })
        }

        #[tokio::test]
        async fn sslmode_means_what_libpq_means() {
            let (bench, plain, tls) = (Bench::new(), Postgres::shared(), Postgres::with_tls());
            let other = Postgres::with_tls();
            let (own, foreign) = (tls.authority().display().to_string(), other.authority().display().to_string());
            let socket = plain.socket().display().to_string();
            bench.write("none.pem", "");
            for (server, host, words, expected) in [
                (&*plain, "127.0.0.1", "sslmode=disable", Ok("plain")),
                (&*plain, "127.0.0.1", "sslmode=prefer", Ok("plain")),
                (&*plain, "127.0.0.1", "sslmode=require", Err("server does not support TLS")),
                (&plain, &socket, "sslmode=verify-full", Ok("plain")),
                (&tls, "127.0.0.1", "sslmode=disable", Ok("plain")),
                (&tls, "127.0.0.1", "", Ok("TLS")),
                (&tls, "127.0.0.1", "sslmode=require", Ok("TLS")),
                (&tls, "127.0.0.1", &format!("sslmode=require sslrootcert={own}"), Ok("TLS")),
                (&tls, "127.0.0.1", &format!("sslmode=require sslrootcert={foreign}"), Err("certificate")),
                (&tls, "127.0.0.1", &format!("sslmode=verify-ca sslrootcert={own}"), Ok("TLS")),
                (&tls, "127.0.0.1", &format!("sslmode=verify-ca sslrootcert={foreign}"), Err("certificate")),
                (&tls, "127.0.0.1", &format!("sslmode=verify-full sslrootcert={own}"), Err("certificate not valid for name \"127.0.0.1\"")),
                (&tls, "localhost", &format!("sslmode=verify-full sslrootcert={own}"), Ok("TLS")),
                (&tls, "localhost", &format!("sslmode=verify-full sslrootcert={foreign}"), Err("certificate")),
                (&tls, "localhost", "sslmode=verify-full", Err("certificate")),
                (&tls, "localhost", "sslmode=verify-full sslrootcert=nowhere.pem", Err("sslrootcert: cannot read certificates from `")),
                (&tls, "localhost", "sslmode=verify-full sslrootcert=none.pem", Err("sslrootcert: cannot read certificates from `")),
            ] {
                let made = connect(&bench, &format!("host={host} port={} user=postgres {words}", server.port)).await;
                match (made, expected) {
                    (Ok(made), Ok(expected)) => assert_eq!(made, expected, "{words}"),
                    (Err(wrong), Err(expected)) => assert!(wrong.contains(expected), "{words}: {wrong}"),
                    (made, expected) => panic!("{host} {words}: {made:?} instead of {expected:?}"),
                }
            }
        }
    }
}
