//! A DNS server for which every name is this machine, but those that begin with `nowhere.`.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Answers over UDP on a port of 127.0.0.1 until it is dropped.
pub struct Names {
    port: u16,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no port to be had.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        let thread = std::thread::spawn(move || {
            let mut question = [0; 1500];
            while !end.load(Ordering::SeqCst) {
                let Ok((length, asker)) = socket.recv_from(&mut question) else { continue };
                if let Some(answer) = answer(&question[..length]) {
                    let _ = socket.send_to(&answer, asker);
                }
            }
        });
        Self { port, ended, thread: Some(thread) }
    }

    /// Where it answers.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The answer to one question: 127.0.0.1 for an A record, nothing for all others.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *question.get(end)? != 0 {
        end += 1 + usize::from(question[end]);
    }
    let kind = u16::from_be_bytes([*question.get(end + 1)?, *question.get(end + 2)?]);
    let asked = question.get(12..end + 5)?;
    let nowhere = asked.starts_with(b"\x07nowhere");
    let found = kind == 1 && !nowhere;
    let mut answer = question[..2].to_vec();
    answer.extend([0x85, if nowhere { 0x83 } else { 0x80 }, 0, 1, 0, u8::from(found), 0, 0, 0, 0]);
    answer.extend(asked);
    if found {
        answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
