//! An authority of our own, and TLS servers that show what it made.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub const HOUR: i64 = 60 * 60;
pub const DAY: i64 = 24 * HOUR;

/// A root that signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a server shows.
pub struct Shown {
    pub chain: Vec<CertificateDer<'static>>,
    pub pem: String,
    pub key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate valid from and until so many seconds from now.
    pub fn signs(&self, names: &[&str], from: i64, until: i64) -> Shown {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names, from, until).signed_by(&key, &self.0).unwrap();
        Shown { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
    }

    /// The same, with an authority in between.
    pub fn signs_by_another(&self, names: &[&str], from: i64, until: i64) -> Shown {
        let between = CertifiedIssuer::signed_by(authority("between"), KeyPair::generate().unwrap(), &self.0).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params(names, from, until).signed_by(&key, &between).unwrap();
        Shown { chain: vec![certificate.der().clone(), between.der().clone()], pem: certificate.pem(), key }
    }
}

/// One that signed itself.
pub fn self_signed(names: &[&str], from: i64, until: i64) -> Shown {
    let key = KeyPair::generate().unwrap();
    let certificate = params(names, from, until).self_signed(&key).unwrap();
    Shown { chain: vec![certificate.der().clone()], pem: certificate.pem(), key }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn params(names: &[&str], from: i64, until: i64) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let moment = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs((now + seconds).try_into().unwrap());
    (params.not_before, params.not_after) = (moment(from), moment(until));
    params
}

/// What is said before TLS, by a server that waits for the question or begins itself.
pub type Prelude = &'static [(&'static [u8], &'static [u8])];

/// A TLS server on a port of loopback; it ends when dropped.
pub struct TlsServer {
    pub port: u16,
    /// The TLS names it was asked for.
    pub asked: Arc<Mutex<Vec<Option<String>>>>,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    task: JoinHandle<()>,
}

impl TlsServer {
    pub async fn start(shown: &Shown) -> Self {
        Self::speaking(shown, rustls::ALL_VERSIONS, &[]).await
    }

    pub async fn speaking(shown: &Shown, versions: &[&'static rustls::SupportedProtocolVersion], prelude: Prelude) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let config = Arc::new(Mutex::new(config(shown, versions)));
        let asked = Arc::<Mutex<Vec<Option<String>>>>::default();
        let (current, seen) = (config.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let config = current.lock().unwrap().clone();
                tokio::spawn(greet(stream, config, prelude, seen.clone()));
            }
        });
        Self { port, asked, config, task }
    }

    /// From now on it shows this.
    pub fn show(&self, shown: &Shown) {
        *self.config.lock().unwrap() = config(shown, rustls::ALL_VERSIONS);
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn config(shown: &Shown, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(shown.chain.clone(), key).unwrap())
}

async fn greet(mut stream: TcpStream, config: Arc<ServerConfig>, prelude: Prelude, seen: Arc<Mutex<Vec<Option<String>>>>) {
    for (question, answer) in prelude {
        let mut read = vec![0; question.len()];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(question));
        stream.write_all(answer).await.unwrap();
    }
    let Ok(mut stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    seen.lock().unwrap().push(stream.get_ref().1.server_name().map(str::to_owned));
    let sent = stream.read(&mut [0; 16]).await;
    assert!(!matches!(sent, Ok(1..)), "nothing is sent after the handshake");
}
