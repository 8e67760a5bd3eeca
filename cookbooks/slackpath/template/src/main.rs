//! `chat --port N [--data FILE]`, `chat --version`.

use chat::chat::Chat;
use chat::config;
use chat::server::{Server, Stop};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const USAGE: &str = "usage: chat --port N [--data FILE] | chat --version";

struct Options {
    port: u16,
    data: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == ["--version"] {
        println!("{}", config::VERSION);
        return ExitCode::SUCCESS;
    }
    let served = options(&args).and_then(|options| serve(&options));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn options(args: &[String]) -> Result<Options, String> {
    let (mut port, mut data) = (None, None);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (arg.as_str(), rest.next().ok_or(USAGE)?.clone()),
        };
        match name {
            "--port" => port = Some(value.parse().map_err(|_| format!("`{value}` is no port"))?),
            "--data" => data = Some(PathBuf::from(value)),
            _ => return Err(format!("unknown option `{name}`\n{USAGE}")),
        }
    }
    Ok(Options { port: port.ok_or(USAGE)?, data })
}

fn serve(options: &Options) -> Result<(), String> {
    let channels = config::channels();
    let chat = match &options.data {
        Some(path) => Chat::open(&channels, path).map_err(|e| format!("cannot use {}: {e}", path.display()))?,
        None => Chat::new(&channels),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let server = Server::bind(address, chat).map_err(|e| format!("cannot listen on {address}: {e}"))?;
    let stop = server.stop().map_err(|e| e.to_string())?;
    signals::listen();
    std::thread::spawn(move || watch(&stop));
    println!("{} {} listens on http://{address}/", config::NAME, config::VERSION);
    server.run();
    println!("{} has ended", config::NAME);
    Ok(())
}

static ASKED_TO_END: AtomicBool = AtomicBool::new(false);

fn watch(stop: &Stop) {
    while !ASKED_TO_END.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(50));
    }
    stop.now();
}

/// SIGTERM and SIGINT end the server in order. The only place that is not plain safe Rust: the
/// standard library has no word for signals.
#[cfg(unix)]
mod signals {
    #![expect(unsafe_code, reason = "signal(2) of the C library that std links anyway; the handler only sets an atomic")]
    use super::ASKED_TO_END;
    use std::sync::atomic::Ordering;

    unsafe extern "C" {
        fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    }

    extern "C" fn ask(_number: i32) {
        ASKED_TO_END.store(true, Ordering::SeqCst);
    }

    pub fn listen() {
        const SIGINT: i32 = 2;
        const SIGTERM: i32 = 15;
        for number in [SIGINT, SIGTERM] {
            // SAFETY: `ask` has the signature that signal(2) wants and is async-signal-safe.
            unsafe { signal(number, ask) };
        }
    }
}

#[cfg(not(unix))]
mod signals {
    pub fn listen() {}
}
