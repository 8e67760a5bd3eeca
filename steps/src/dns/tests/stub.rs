//! A name server on loopback that answers what a test says.

use crate::dns::value::{self, Type, Value};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::Record;
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;

pub struct Stub {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

/// What it answers: bytes, or nothing.
type Answer = Option<Vec<u8>>;

impl Stub {
    pub async fn start(answer: impl Fn(&Message) -> Answer + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = asked.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((read, from)) = socket.recv_from(&mut buffer).await {
                let message = Message::from_vec(&buffer[..read]).unwrap();
                let question = &message.queries[0];
                seen.lock().unwrap().push(format!("{} {}", question.name(), question.query_type()));
                if let Some(answer) = answer(&message) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { port, asked, task }
    }

    /// One that has some records and nothing else: name, type, value.
    pub async fn with(records: &'static [(&'static str, Type, &'static str)]) -> Self {
        Self::start(move |message| {
            let question = &message.queries[0];
            let of = |(name, kind, _): &&(&str, Type, &str)| *name == question.name().to_string() && kind.wire() == question.query_type();
            Some(says(message, ResponseCode::NoError, &records.iter().filter(of).copied().collect::<Vec<_>>()))
        })
        .await
    }

    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The bytes of an answer that speaks for the zone.
pub fn says(message: &Message, code: ResponseCode, records: &[(&str, Type, &str)]) -> Vec<u8> {
    let mut answer = Message::response(message.metadata.id, OpCode::Query);
    answer.metadata.authoritative = true;
    answer.metadata.response_code = code;
    answer.add_queries(message.queries.clone());
    for (name, kind, text) in records {
        answer.add_answer(Record::from_rdata(value::name(name).unwrap(), 60, Value::read(*kind, text).unwrap().wire(*kind)));
    }
    answer.to_vec().unwrap()
}
