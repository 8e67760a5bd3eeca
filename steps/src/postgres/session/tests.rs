use super::Access;
use crate::bench::Bench;
use crate::period::Period;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

async fn wrong(server: &str, limit: Period, bench: &Bench) -> trees_runner::kind::KindError {
    let access = Access::of(server, Some("pw-canary"), limit, &bench.read()).unwrap();
    access.read(&bench.read()).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn a_server_that_is_down_silent_or_another_says_so() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("postgres://ann@{}/app", listener.local_addr().unwrap());
    let silent = wrong(&server, Period::millis(50), &bench).await;
    assert!(silent.transient && silent.message.ends_with("/app: no answer within 50ms"), "{}", silent.message);
    let nonsense = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let other = wrong(&server, Period::seconds(30), &bench).await;
    assert!(
        other.message.starts_with(&format!("cannot connect to ann@{}/app: ", server.split(['@', '/']).nth(3).unwrap())),
        "{}",
        other.message
    );
    nonsense.abort();
    let _ = nonsense.await;
    let down = wrong(&server, Period::seconds(30), &bench).await;
    assert!(down.transient && down.message.contains("refused"), "{}", down.message);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    bench.cancel();
    let ended = wrong(&format!("postgres://ann@{}/app", listener.local_addr().unwrap()), Period::seconds(600), &bench).await;
    assert!(ended.message.ends_with("ended while waiting"), "{}", ended.message);
}

mod with_postgres {
    use super::super::Access;
    use crate::bench::Bench;
    use crate::period::Period;
    use trees_servers::postgres::{PASSWORD, Postgres};

    #[tokio::test]
    async fn a_reader_cannot_write_whatever_it_asks() {
        let (server, bench) = (Postgres::shared(), Bench::new());
        server.ask("postgres", "CREATE SEQUENCE reader_numbers");
        let access = Access::of(&server.url(), Some(PASSWORD), Period::seconds(30), &bench.read()).unwrap();
        for (select, expected) in [
            ("SELECT nextval('reader_numbers')", "cannot execute nextval() in a read-only transaction"),
            ("SELECT 1; DROP TABLE x", "cannot insert multiple commands"),
            ("COMMIT", "a bug in trees"),
            ("SELECT 1 AS a INTO new_table", "cannot execute SELECT INTO in a read-only transaction"),
        ] {
            let reader = access.read(&bench.read()).await.unwrap();
            let wrong = reader.rows("try it", select, &[]).await.unwrap_err();
            assert!(wrong.message.contains(expected), "{}", wrong.message);
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
        let (server, bench) = (Postgres::start(), Bench::new());
        let access = Access::of(&server.url(), Some(PASSWORD), Period::millis(200), &bench.read()).unwrap();
        let reader = access.read(&bench.read()).await.unwrap();
        let wrong = reader.rows("sleep", "SELECT pg_sleep(600)::text", &[]).await.unwrap_err();
        assert!(wrong.transient && wrong.message.contains("statement timeout"), "{}", wrong.message);
        server.signal("STOP");
        let wrong = access.read(&bench.read()).await.map(drop).unwrap_err();
        server.signal("CONT");
        assert!(wrong.transient && wrong.message.ends_with("no answer within 200ms"), "{}", wrong.message);
    }
}
