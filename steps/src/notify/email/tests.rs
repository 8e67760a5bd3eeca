use super::Email;
use crate::bench::Bench;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

fn with(port: u16, extra: Value) -> Value {
    let mut with = json!({
        "server": { "host": "127.0.0.1", "port": port, "tls": "none" },
        "from": "Trees <trees@example.org>", "to": "ada@example.org", "subject": "v1 is out", "text": "It is out.\n",
    });
    with.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    with
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    let bench = Bench::new();
    let server = |extra: Value| {
        let mut server = json!({ "host": "mail.example.org" });
        server.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({ "server": server })
    };
    for (extra, expected) in [
        (json!({ "subject": "a\nb" }), "subject: `a\\nb` has a line break"),
        (json!({ "to": ["ada@example.org\r\nRCPT TO:<eve@example.org>"] }), "to: `ada@example.org\\r\\nRCPT"),
        (json!({ "to": null }), "to: nobody gets it"),
        (json!({ "text": null }), "text: there is no message"),
        (server(json!({ "tls": "none" })), "server.tls: `none` would send the message to `mail.example.org`"),
        (server(json!({ "tls": "none", "plain": true, "user": "u", "password": "hidden" })), "server.password: it is not sent to"),
        (server(json!({ "user": "u" })), "server.user and server.password: give both or none"),
        (server(json!({ "host": "a b" })), "server.host: `a b` is no name"),
        (server(json!({ "host": "" })), "server.host: `` is no name"),
        (server(json!({ "port": 0 })), "`0` is no port"),
    ] {
        let wrong = bench.run::<Email>(with(1, extra)).await.unwrap_err().message;
        assert!(wrong.contains(expected) && !wrong.contains("hidden"), "{expected}: {wrong}");
    }
    assert!(bench.intents().is_empty());
}

#[tokio::test]
async fn a_server_that_is_down_slow_or_no_mail_server_is_named() {
    let bench = Bench::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let wrong = bench.run::<Email>(with(port, json!({ "timeout": "100ms" }))).await.unwrap_err();
    assert!(wrong.transient && wrong.message == format!("127.0.0.1:{port}: no answer within 100ms"), "{wrong}");
    let port = 1;
    let wrong = bench.run::<Email>(with(port, json!({}))).await.unwrap_err();
    assert!(
        wrong.transient && wrong.message.starts_with(&format!("127.0.0.1:{port}: no connection: ")) && wrong.message.contains("refused"),
        "{wrong}"
    );
    let nonsense = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nonsense.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = nonsense.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = BufReader::new(stream).lines().next();
    });
    let wrong = bench.run::<Email>(with(port, json!({}))).await.unwrap_err();
    assert!(wrong.message.starts_with(&format!("127.0.0.1:{port}: no connection: ")), "{wrong}");
    answering.join().unwrap();
    bench.cancel();
    let wrong = bench.run::<Email>(with(port, json!({}))).await.unwrap_err();
    assert!(wrong.transient, "{wrong}");
}

mod with_smtp {
    use super::*;
    use trees_servers::smtp::{Smtp, Ways};

    fn secured(smtp: &Smtp, tls: &str, user: Option<&str>, password: Option<&str>) -> Value {
        let server =
            json!({ "host": "127.0.0.1", "port": smtp.port, "tls": tls, "roots": smtp.roots(), "user": user, "password": password });
        with(smtp.port, json!({ "server": server }))
    }

    #[tokio::test]
    async fn sends_once_and_each_time_with_the_same_id() {
        let bench = Bench::new();
        let smtp = Smtp::start(Ways::default());
        let with = with(
            smtp.port,
            json!({
                "to": ["Ada <ada@example.org>", "bob@example.org"], "cc": "cy@example.org, dee@example.org", "bcc": "hidden@example.org",
                "reply_to": "team@example.org", "html": "<p>It is out.</p>", "headers": { "X-Release": "v1" }, "subject": "v1 – Grüße",
                "text": "one\n.\n..two\nQUIT\n",
            }),
        );
        let (out, acted) = bench.run::<Email>(with.clone()).await.unwrap();
        assert_eq!(
            (acted, out.id.as_str(), out.answer.as_str(), out.refused.len()),
            (true, "<key-1.trees@example.org>", "250 kept as 1", 0)
        );
        let (again, _) = bench.run::<Email>(with).await.unwrap();
        let messages = smtp.messages();
        assert_eq!((messages.len(), &again.id), (2, &out.id), "at least once, told apart by its id");
        let (envelope, message) = messages[0].split_once("\n\n").unwrap();
        let to = ["ada", "bob", "cy", "dee", "hidden"].map(|name| format!("to {name}@example.org"));
        assert_eq!(envelope, format!("from trees@example.org\n{}", to.join("\n")));
        for line in [
            "Message-ID: <key-1.trees@example.org>",
            "Reply-To: team@example.org",
            "X-Release: v1",
            "MIME-Version: 1.0",
            "<p>It is out.</p>",
        ] {
            assert!(message.lines().any(|l| l.trim_end() == line), "{line}\n{message}");
        }
        let lines: Vec<&str> = message.lines().map(str::trim_end).collect();
        assert!(lines.windows(4).any(|part| part == ["one", ".", "..two", "QUIT"]), "{message}");
        assert!(message.contains("Subject: v1 =?utf-8?b?") && !message.contains("hidden@"), "{message}");
        let records = bench.intents();
        assert!(records[0] == records[1] && records[0]["id"] == out.id && !records[0].to_string().contains("two"));
    }

    #[tokio::test]
    async fn nothing_is_sent_before_the_intent_is_durable() {
        let bench = Bench::new();
        let smtp = Smtp::start(Ways::default());
        bench.fill();
        assert_eq!(bench.run::<Email>(with(smtp.port, json!({}))).await.unwrap_err().message, "the journal is full");
        assert!(smtp.messages().is_empty());
    }

    #[tokio::test]
    async fn encrypted_and_logged_in() {
        for tls in ["starttls", "implicit"] {
            let bench = Bench::knowing("a-password");
            let smtp = Smtp::start(Ways { tls, login: "trees:a-password", ..Ways::default() });
            bench.run::<Email>(secured(&smtp, tls, Some("trees"), Some("a-password"))).await.unwrap();
            assert_eq!(smtp.messages().len(), 1, "{tls}");
            let wrong = bench.run::<Email>(secured(&smtp, tls, Some("trees"), Some("wrong-password"))).await.unwrap_err();
            assert!(!wrong.transient && wrong.message.contains("it did not let `trees` in: 535"), "{tls}: {wrong}");
            assert!(!wrong.message.contains("-password") && wrong.help.unwrap().contains("are `user` and `password` right"));
            let wrong = bench.run::<Email>(secured(&smtp, tls, None, None)).await.unwrap_err();
            assert!(!wrong.transient && wrong.message.contains("it refused the sender: 530"), "{tls}: {wrong}");
            let mut unknown = secured(&smtp, tls, None, None);
            unknown["server"]["roots"] = Value::Null;
            let wrong = bench.run::<Email>(unknown).await.unwrap_err();
            assert!(
                !wrong.transient && wrong.message.contains("certificate") && wrong.help.unwrap().contains("`roots`"),
                "{tls}: {}",
                wrong.message
            );
            let mut other = secured(&smtp, tls, None, None);
            other["server"]["host"] = json!("localhost");
            let wrong = bench.run::<Email>(other).await.unwrap_err();
            assert!(!wrong.transient && wrong.message.contains("certificate"), "{tls}: {wrong}");
            assert_eq!(smtp.messages().len(), 1);
        }
    }

    #[tokio::test]
    async fn a_server_without_encryption_gets_nothing() {
        let bench = Bench::new();
        let smtp = Smtp::start(Ways::default());
        let server = json!({ "host": "127.0.0.1", "port": smtp.port });
        let wrong = bench.run::<Email>(with(smtp.port, json!({ "server": server }))).await.unwrap_err();
        assert!(!wrong.transient && wrong.message.contains("it offers no STARTTLS"), "{wrong}");
        for (roots, expected) in [("nope.pem", "cannot read `"), ("empty.pem", "there is no certificate (PEM) in it")] {
            bench.write("empty.pem", "");
            let server = json!({ "host": "127.0.0.1", "port": smtp.port, "roots": roots });
            let wrong = bench.run::<Email>(with(smtp.port, json!({ "server": server }))).await.unwrap_err();
            assert!(wrong.message.contains(expected), "{wrong}");
        }
        assert!(smtp.messages().is_empty());
    }

    #[tokio::test]
    async fn who_is_refused_is_listed_and_nobody_gets_it_unless_that_is_meant() {
        let bench = Bench::new();
        let answers = [("gone@example.org", "550 5.1.1 no such user here"), ("grey@example.org", "450 4.2.1 try later")];
        let smtp = Smtp::start(Ways { answers: &answers, ..Ways::default() });
        let to = |to: &[&str], partial: bool| with(smtp.port, json!({ "to": to, "partial": partial }));
        let wrong = bench.run::<Email>(to(&["ada@example.org", "gone@example.org"], false)).await.unwrap_err();
        let expected = format!(
            "127.0.0.1:{}: it refused 1 of 2 recipients, so nothing was sent: gone@example.org (550 5.1.1 no such user here)",
            smtp.port
        );
        assert_eq!((wrong.message.as_str(), wrong.transient), (expected.as_str(), false));
        assert!(wrong.help.unwrap().contains("partial: true"));
        let wrong = bench.run::<Email>(to(&["ada@example.org", "grey@example.org"], false)).await.unwrap_err();
        assert!(wrong.transient && wrong.message.contains("grey@example.org (450 4.2.1 try later)"), "{wrong}");
        let wrong = bench.run::<Email>(to(&["gone@example.org"], true)).await.unwrap_err();
        assert!(wrong.message.contains("refused 1 of 1 recipients") && smtp.messages().is_empty(), "{wrong}");
        let (out, _) = bench.run::<Email>(to(&["ada@example.org", "gone@example.org"], true)).await.unwrap();
        assert_eq!((out.refused[0].address.as_str(), smtp.messages().len()), ("gone@example.org", 1));
        assert!(smtp.messages()[0].starts_with("from trees@example.org\nto ada@example.org\n\n"));
    }

    #[tokio::test]
    async fn what_the_server_says_to_the_message_stands_in_the_error() {
        for (what, answer, transient, expected) in [
            ("DATA", "554 5.7.1 looks like spam", false, "it refused the message: 554 5.7.1 looks like spam"),
            ("DATA", "452 4.3.1 no room", true, "it refused the message: 452 4.3.1 no room"),
            ("MAIL", "553 5.1.8 who?", false, "it refused the sender: 553 5.1.8 who?"),
        ] {
            let bench = Bench::new();
            let smtp = Smtp::start(Ways { answers: &[(what, answer)], ..Ways::default() });
            let wrong = bench.run::<Email>(with(smtp.port, json!({}))).await.unwrap_err();
            assert!(wrong.message.contains(expected) && wrong.transient == transient, "{expected}: {wrong}");
            assert!(smtp.messages().is_empty());
        }
    }
}
