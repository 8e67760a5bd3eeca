//! Messages to name servers: over UDP, and over TCP where an answer is cut.
//!
//! [`question`] can only ask; [`update`] needs the context of a change. Answers that are none to
//! what was asked are passed over: anybody can send a datagram. With a key both ways are signed.

use super::value::{self, Type, Value};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType, TSigVerifier, TSigner};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};
use trees_runner::kind::{Cx, ReadCx};

/// What a server may send at once over UDP without being cut on the way.
const PAYLOAD: u16 = 1232;
/// A question whose answer does not come is sent again after so long; it may have been lost.
const AGAIN: Duration = Duration::from_secs(1);
/// Where name servers listen.
pub const PORT: u16 = 53;

/// A name server: host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Server {
    /// Reads `host`, `host:port`, `[address]:port` or an address.
    ///
    /// # Errors
    /// The end of a sentence that begins with the text.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = || "is no name server: write `host` or `host:port`".to_owned();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { host: address.to_string(), port: PORT });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?),
            None => (text, PORT),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_host = !bare.is_empty() && !bare.contains(['/', '@', ' ', '[', ']']) && (bare == host) != bare.contains(':');
        if is_host { Ok(Self { host: bare.into(), port }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = self.host.contains(':');
        if colon { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

/// How a server is asked.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// Signs the question; the answer must be signed by it too.
    pub key: Option<&'a TSigner>,
    /// The server may ask others.
    pub recursion: bool,
    /// For the whole answer.
    pub limit: Duration,
}

/// Why there is no answer that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// Nothing came in time.
    #[error("no answer within {}", trees_core::units::show(*.0))]
    Timeout(Duration),
    /// It cannot be reached.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// What came is no answer.
    #[error("it answers what cannot be read: {0}")]
    Nonsense(String),
    /// What came is not signed as it must be.
    #[error("{0}")]
    Untrusted(String),
    /// The attempt ended.
    #[error("ended while asking")]
    Ended,
}

impl Silence {
    /// It may pass.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Unreachable(_) | Self::Ended => true,
            Self::Nonsense(_) | Self::Untrusted(_) => false,
        }
    }
}

/// Asks a server for the records of a name and type.
///
/// # Errors
/// When no answer came that counts; an answer that says no is one.
pub async fn question(cx: &ReadCx, server: &Server, name: &Name, kind: RecordType, manner: Manner<'_>) -> Result<Message, Silence> {
    let mut message = Message::query();
    message.metadata.recursion_desired = manner.recursion;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD).set_version(0);
    message.set_edns(edns);
    talk(cx, server, &message, manner, false).await
}

/// Sends an update, over TCP: one that is sent twice would meet its own effect.
///
/// # Errors
/// When no answer came that counts; an answer that says no is one.
pub async fn update(cx: &Cx, server: &Server, message: &Message, manner: Manner<'_>) -> Result<Message, Silence> {
    talk(cx, server, message, manner, true).await
}

async fn talk(cx: &ReadCx, server: &Server, message: &Message, manner: Manner<'_>, stream: bool) -> Result<Message, Silence> {
    tokio::select! {
        () = cx.cancel.cancelled() => Err(Silence::Ended),
        answer = reach(server, message, manner, stream) => answer,
    }
}

/// Tries the server's addresses one after the other, all within the limit.
async fn reach(server: &Server, message: &Message, manner: Manner<'_>, stream: bool) -> Result<Message, Silence> {
    let found = timeout(manner.limit, tokio::net::lookup_host((server.host.as_str(), server.port))).await;
    let found = found.map_err(|_| Silence::Unreachable("its name is not found in time".into()))?;
    let addresses: Vec<SocketAddr> = found.map_err(|e| Silence::Unreachable(format!("its name: {e}")))?.collect();
    let mut last = Silence::Unreachable("its name has no address".into());
    let share = manner.limit / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    for address in addresses {
        let odd = Odd::default();
        match timeout(share, exchange(address, message, manner.key, stream, &odd)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(silence)) => last = silence,
            Err(_) => last = odd.take().map_or(Silence::Timeout(manner.limit), Silence::Nonsense),
        }
    }
    Err(last)
}

/// What came instead of an answer, if nothing better comes.
#[derive(Default)]
struct Odd(Mutex<Option<String>>);

impl Odd {
    fn note(&self, what: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

async fn exchange(address: SocketAddr, message: &Message, key: Option<&TSigner>, stream: bool, odd: &Odd) -> Result<Message, Silence> {
    if !stream {
        let (bytes, verifier) = signed(message, key)?;
        let answer = by_datagram(address, message, &bytes, odd).await?;
        let read = checked(&answer, message, verifier)?;
        if !read.metadata.truncation {
            return Ok(read);
        }
    }
    let (bytes, verifier) = signed(message, key)?;
    let answer = by_stream(address, &bytes).await.map_err(|e| Silence::Unreachable(e.to_string()))?;
    checked(&answer, message, verifier)
}

/// The bytes of a message, and what tells whether its answer is signed rightly.
fn signed(message: &Message, key: Option<&TSigner>) -> Result<(Vec<u8>, Option<TSigVerifier>), Silence> {
    let mut message = message.clone();
    let verifier = match key {
        None => None,
        Some(key) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            message.finalize(key, now).map_err(|e| Silence::Untrusted(format!("cannot sign the message: {e}")))?
        }
    };
    let bytes = message.to_vec().map_err(|e| Silence::Nonsense(format!("the message to it cannot be written: {e}")))?;
    Ok((bytes, verifier))
}

async fn by_datagram(address: SocketAddr, message: &Message, bytes: &[u8], odd: &Odd) -> Result<Vec<u8>, Silence> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let unreachable = |e: io::Error| Silence::Unreachable(e.to_string());
    let socket = UdpSocket::bind((any, 0)).await.map_err(unreachable)?;
    socket.connect(address).await.map_err(unreachable)?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        socket.send(bytes).await.map_err(unreachable)?;
        let again = Instant::now() + AGAIN;
        while let Ok(read) = timeout_at(again, socket.recv(&mut buffer)).await {
            let answer = &buffer[..read.map_err(unreachable)?];
            match Message::from_vec(answer) {
                Ok(read) if answers(&read, message) => return Ok(answer.to_vec()),
                Ok(_) => odd.note("an answer to another question".into()),
                Err(e) => odd.note(e.to_string()),
            }
        }
    }
}

async fn by_stream(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(bytes.len()).map_err(|_| io::Error::other("the message is longer than 64 KiB"))?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn answers(answer: &Message, message: &Message) -> bool {
    let same = |a: &[Query], b: &[Query]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name() == b.name() && a.query_type() == b.query_type())
    };
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == message.metadata.id
        && answer.metadata.op_code == message.metadata.op_code
        // A server that refuses may leave the question out.
        && (same(&answer.queries, &message.queries)
            || answer.queries.is_empty() && (message.metadata.op_code == OpCode::Update || answer.metadata.response_code != ResponseCode::NoError))
}

/// Reads an answer and looks at its signature, where it must have one.
fn checked(bytes: &[u8], message: &Message, verifier: Option<TSigVerifier>) -> Result<Message, Silence> {
    let answer = Message::from_vec(bytes).map_err(|e| Silence::Nonsense(e.to_string()))?;
    if !answers(&answer, message) {
        return Err(Silence::Nonsense("an answer to another question".into()));
    }
    let Some(mut verifier) = verifier else { return Ok(answer) };
    if let Some(error) = answer.signature().and_then(|signature| signature.data.error) {
        let code = u16::from(error);
        let why = match code {
            16 => "the secret is not the one it knows for this key (BADSIG)".to_owned(),
            17 => "it does not know this key, or not with this algorithm (BADKEY)".to_owned(),
            18 => "its clock and the one here differ too much (BADTIME)".to_owned(),
            _ => format!("it does not take the signature (TSIG error {code})"),
        };
        return Err(Silence::Untrusted(why));
    }
    match verifier.verify(bytes) {
        Ok(_) => Ok(answer),
        Err(_) if answer.signature().is_none() && answer.metadata.response_code == ResponseCode::FormErr => {
            Err(Silence::Untrusted("it cannot read the message (FORMERR): a value may be of a form that it does not take".into()))
        }
        Err(_) if answer.signature().is_none() => {
            Err(Silence::Untrusted(format!("its answer ({}) is not signed", code(answer.metadata.response_code))))
        }
        Err(e) => Err(Silence::Untrusted(format!("its answer is not signed by this key: {e}"))),
    }
}

/// The short name of a response code.
pub fn code(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".into(),
        ResponseCode::Unknown(number) => format!("response code {number}"),
        named => format!("{named:?}").to_uppercase(),
    }
}

/// The records of a type in an answer: those of one name, or with `None` of whatever name the
/// question leads to. The values and the shortest time they may be kept.
///
/// # Errors
/// When a record cannot be understood.
pub fn records(answer: &Message, name: Option<&Name>, kind: Type) -> Result<(BTreeSet<String>, u32), String> {
    // Of a zone cut the servers stand beside the answer.
    let all = answer.answers.iter().chain(answer.authorities.iter().filter(|_| kind == Type::Ns && answer.answers.is_empty()));
    let wanted = |record: &&hickory_proto::rr::Record| {
        record.record_type() == kind.wire() && name.is_none_or(|name| value::plain(&record.name) == *name)
    };
    let mut values = BTreeSet::new();
    let mut ttl = None::<u32>;
    for record in all.filter(wanted) {
        let value = Value::of(&record.data).ok_or_else(|| format!("a record of type {kind} that cannot be understood"))?;
        values.insert(value.to_string());
        ttl = Some(ttl.map_or(record.ttl, |ttl| ttl.min(record.ttl)));
    }
    Ok((values, ttl.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, expected) in [
            ("ns1.example.org", Some("ns1.example.org:53")),
            ("127.0.0.1:5353", Some("127.0.0.1:5353")),
            ("::1", Some("[::1]:53")),
            ("[::1]:5353", Some("[::1]:5353")),
            ("localhost:0", None),
            ("localhost:http", None),
            (":53", None),
            ("", None),
            ("http://ns1:53", None),
            ("::1:x", None),
        ] {
            assert_eq!(Server::read(text).ok().map(|server| server.to_string()).as_deref(), expected, "{text}");
        }
    }
}
