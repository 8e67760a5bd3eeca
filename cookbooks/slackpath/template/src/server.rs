//! The loop that accepts connections: a thread each, so many at most, and an end that waits.

use crate::chat::Chat;
use crate::http::{Bad, Request, Response};
use crate::routes;
use std::io::{self, Read as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// So many requests at once; further ones are told to come back.
pub const MOST_AT_ONCE: usize = 64;
/// A client that says nothing for so long is dropped.
const PATIENCE: Duration = Duration::from_secs(10);
/// The end waits so long for requests in flight.
const FAREWELL: Duration = Duration::from_secs(5);

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    chat: Arc<Chat>,
    stop: Arc<AtomicBool>,
    busy: Arc<AtomicUsize>,
}

/// Ends a server from another thread.
#[derive(Clone)]
pub struct Stop {
    flag: Arc<AtomicBool>,
    address: SocketAddr,
}

impl Stop {
    /// Accepts nothing new; [`Server::run`] returns when the requests in flight are answered.
    pub fn now(&self) {
        self.flag.store(true, Ordering::SeqCst);
        // A connection wakes the loop, which then sees the flag.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
    }
}

struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    /// Listens on an address.
    pub fn bind(address: SocketAddr, chat: Chat) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self { listener, chat: Arc::new(chat), stop: Arc::default(), busy: Arc::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What ends it.
    pub fn stop(&self) -> io::Result<Stop> {
        Ok(Stop { flag: Arc::clone(&self.stop), address: self.address()? })
    }

    /// Serves until it is stopped.
    pub fn run(self) {
        while !self.stop.load(Ordering::SeqCst) {
            match self.listener.accept() {
                Ok((stream, _)) if !self.stop.load(Ordering::SeqCst) => self.serve(stream),
                Ok(_) => break,
                Err(e) => {
                    eprintln!("cannot accept: {e}");
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }
        drop(self.listener);
        let end = Instant::now() + FAREWELL;
        while self.busy.load(Ordering::SeqCst) > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        let before = self.busy.fetch_add(1, Ordering::SeqCst);
        let slot = Slot(Arc::clone(&self.busy));
        if before >= MOST_AT_ONCE {
            let full = Response::text(503, "too many requests at once\n").with("Retry-After", "1");
            drop(full.write(&mut stream, true));
            return;
        }
        let chat = Arc::clone(&self.chat);
        let spawned = thread::Builder::new().name("request".into()).spawn(move || {
            let _slot = slot;
            // A client that goes away is no error of ours.
            drop(exchange(&chat, &mut stream));
        });
        if let Err(e) = spawned {
            eprintln!("cannot start a thread: {e}");
        }
    }
}

fn exchange(chat: &Chat, stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let limited = Deadline { stream, end: Instant::now() + PATIENCE };
    let (response, with_body) = match Request::read(limited) {
        Ok(request) => (routes::answer(chat, &request), request.method != "HEAD"),
        Err(Bad::Answer(status, why)) => (Response::text(status, format!("{why}\n")), true),
        Err(Bad::Gone(e)) => return Err(e),
    };
    response.write(stream, with_body)?;
    stream.shutdown(Shutdown::Write)?;
    // What was sent beyond the request is read away, so that the answer is not lost in a reset.
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    drop(io::copy(&mut stream.take(64 * 1024), &mut io::sink()));
    Ok(())
}

/// A stream whose reads all together may take so long, not each.
struct Deadline<'a> {
    stream: &'a mut TcpStream,
    end: Instant,
}

impl io::Read for Deadline<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}
