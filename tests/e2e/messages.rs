//! Messages and crashes: what may not have arrived is sent again, under the same id and without a question.

use crate::bench::Bench;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

/// Reads one request; gives its id, and the connection to answer on.
fn request(listener: &TcpListener) -> (String, std::net::TcpStream) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
        match name.to_lowercase().as_str() {
            "webhook-id" => id = value.to_owned(),
            "content-length" => length = value.parse().unwrap(),
            _ if line == "\r\n" => break,
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    (id, stream)
}

#[test]
fn a_message_whose_fate_is_unknown_is_sent_again_under_the_same_id() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let tree = format!("tree: t\nsteps:\n  tell: {{ uses: notify/webhook, with: {{ url: '{url}', body: {{ a: 1 }} }} }}\n");
    let bench = Bench::with("t.yaml", tree);
    bench.run(&["plan", "t.yaml"]).expect(10);
    let mut first = bench.command(&["run", "t.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It has arrived, and no answer comes.
    let (before, _held) = request(&listener);
    first.kill().unwrap();
    first.wait().unwrap();
    let second = bench.command(&["resume"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (again, mut stream) = request(&listener);
    write!(stream, "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
    let done = second.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!before.is_empty() && before == again, "{before} {again}");
    assert!(bench.run(&["drift"]).expect(0).stdout.contains("tell"));
}
