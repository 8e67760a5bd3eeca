//! Talking to a server: who one is, what is asked, and what becomes of a question that nobody waits for
//! any more. [`Reader`] can only ask, in one READ ONLY transaction; [`Writer`] does the rest.

use super::server::Server;
use super::tls::Tls;
use crate::period::Period;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Config, Error, Row};
use trees_core::event::Json;
use trees_core::hash;
use trees_core::units;
use trees_runner::kind::{Cx, KindError, ReadCx};

mod answer;
#[cfg(test)]
mod tests;

use answer::{chain, told};

/// Where, as whom, for how long.
#[derive(Clone)]
pub struct Access {
    /// Which server.
    pub server: Server,
    /// How one proves it there.
    pub password: Option<String>,
    /// For connecting, and for each answer.
    pub limit: Duration,
}

impl Access {
    /// What a step says. The password is `password`, that of the URL, or the step's `PGPASSWORD`.
    ///
    /// # Errors
    /// When the server cannot be read.
    pub fn of(server: &str, password: Option<&str>, limit: Period, cx: &ReadCx) -> Result<Self, KindError> {
        let (server, written) = Server::read(server).map_err(|e| KindError::new(format!("server: {e}")))?;
        let password = password.map(str::to_owned).or(written).or_else(|| surroundings(cx));
        Ok(Self { server, password, limit: limit.0 })
    }

    /// The server of a record. The password is what the step has now: a record holds none.
    pub fn again(server: &Server, cx: &Cx) -> Self {
        let word = |name: &str| cx.with.get(name).and_then(Json::as_str);
        let written = || Server::read(word("server")?).ok()?.1;
        let password = word("password").map(str::to_owned).or_else(written).or_else(|| surroundings(cx));
        let limit = cx.with.get("timeout").and_then(|limit| serde_json::from_value::<Period>(limit.clone()).ok());
        Self { server: server.clone(), password, limit: limit.unwrap_or_else(crate::default::half_a_minute).0 }
    }

    /// The same for another database.
    pub fn at(&self, database: &str) -> Self {
        Self { server: self.server.at(database), ..self.clone() }
    }

    /// Connects for reading.
    ///
    /// # Errors
    /// When the server cannot be reached, or does not let one in.
    pub async fn read(&self, cx: &ReadCx) -> Result<Reader, KindError> {
        let session = Session::open(self, cx).await?;
        session.run("begin to read", "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(Reader(session))
    }

    /// Connects for writing. A server that knows how ends a statement whose client is gone.
    ///
    /// # Errors
    /// When the server cannot be reached, or does not let one in.
    pub async fn write(&self, cx: &Cx) -> Result<Writer, KindError> {
        let writer = Writer(Session::open(self, cx).await?);
        writer.watch().await?;
        Ok(writer)
    }

    /// Whether one is let in; for the password of a role.
    ///
    /// # Errors
    /// When the server cannot be reached in time.
    pub async fn knock(&self, cx: &ReadCx) -> Result<Result<(), Error>, KindError> {
        let tls = Tls::of(&self.server, &cx.dir).map_err(KindError::new)?;
        let config = config(self, &tls);
        let connected = config.connect(tls);
        let asked = format!("cannot connect to {}", self.server);
        Ok(within(cx, self.limit, &asked, connected).await?.map(drop))
    }
}

fn surroundings(cx: &ReadCx) -> Option<String> {
    cx.env.iter().rev().find(|(name, _)| name == "PGPASSWORD").map(|(_, value)| value.clone())
}

fn config(access: &Access, tls: &Tls) -> Config {
    let mut config = Config::new();
    config.host(&access.server.host).port(access.server.port).user(&access.server.user).ssl_mode(tls.mode);
    config.dbname(access.server.database.as_deref().unwrap_or("postgres")).application_name("trees");
    if let Some(password) = &access.password {
        config.password(password);
    }
    config
}

/// Asks for a while, and until the attempt must end.
async fn within<T>(cx: &ReadCx, limit: Duration, asked: &str, work: impl Future<Output = T>) -> Result<T, KindError> {
    tokio::select! {
        answer = work => Ok(answer),
        () = cx.cancel.cancelled() => Err(KindError::transient(format!("{asked}: ended while waiting"))),
        () = tokio::time::sleep(limit) => Err(KindError::transient(format!("{asked}: no answer within {}", units::show(limit)))),
    }
}

/// One connection. When it is dropped while the server works for it, the server is told to stop.
struct Session {
    client: Option<Client>,
    tls: Tls,
    connection: JoinHandle<()>,
    busy: AtomicBool,
    place: String,
    limit: Duration,
    cx: ReadCx,
}

impl Session {
    async fn open(access: &Access, cx: &ReadCx) -> Result<Self, KindError> {
        let place = match &access.server.database {
            Some(database) => format!("{}/{database}", access.server),
            None => access.server.to_string(),
        };
        let tls = Tls::of(&access.server, &cx.dir).map_err(|e| KindError::new(format!("cannot connect to {place}: {e}")))?;
        let config = config(access, &tls);
        let asked = format!("cannot connect to {place}");
        let (client, connection) = within(cx, access.limit, &asked, config.connect(tls.clone()))
            .await?
            .map_err(|e| told(&e, access.password.is_some(), &asked, cx))?;
        let connection = tokio::spawn(async move {
            // The client hears of it too.
            let _ = connection.await;
        });
        let session =
            Self { client: Some(client), tls, connection, busy: AtomicBool::new(false), place, limit: access.limit, cx: cx.clone() };
        session.patience(access.limit).await?;
        Ok(session)
    }

    /// What the server may take for a statement.
    async fn patience(&self, limit: Duration) -> Result<(), KindError> {
        self.run("prepare the session", &format!("SET statement_timeout = {}", limit.as_millis())).await
    }

    fn client(&self) -> Result<&Client, KindError> {
        self.client.as_ref().ok_or_else(|| KindError::new("the session is closed"))
    }

    /// Waits for an answer, good or bad.
    async fn wait<T>(
        &self,
        asked: &str,
        limit: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, KindError> {
        let asked = format!("cannot {asked} at {}", self.place);
        self.busy.store(true, Ordering::Relaxed);
        // The server's own limit comes first, with a better word.
        let answer = within(&self.cx, limit.saturating_add(Duration::from_secs(5)), &asked, work).await?;
        self.busy.store(false, Ordering::Relaxed);
        Ok(answer)
    }

    fn failed(&self, asked: &str, error: &Error) -> KindError {
        told(error, true, &format!("cannot {asked} at {}", self.place), &self.cx)
    }

    async fn rows(&self, asked: &str, statement: &str, params: &[&str]) -> Result<Vec<Row>, KindError> {
        let params: Vec<(&(dyn ToSql + Sync), Type)> = params.iter().map(|p| (p as &(dyn ToSql + Sync), Type::TEXT)).collect();
        let answer = self.wait(asked, self.limit, self.client()?.query_typed(statement, &params)).await?;
        answer.map_err(|e| self.failed(asked, &e))
    }

    async fn run(&self, asked: &str, statements: &str) -> Result<(), KindError> {
        let answer = self.wait(asked, self.limit, self.client()?.batch_execute(statements)).await?;
        answer.map_err(|e| self.failed(asked, &e))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if !self.busy.load(Ordering::Relaxed) {
            return;
        }
        let (token, tls) = (client.cancel_token(), self.tls.clone());
        self.connection.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Where it cannot be told, the server finds the connection closed.
                let _ = tokio::time::timeout(Duration::from_secs(2), token.cancel_query(tls)).await;
            });
        }
    }
}

/// What can be asked.
pub trait Asks {
    /// Asks; parameters are texts.
    fn ask(&self, asked: &str, select: &str, params: &[&str]) -> impl Future<Output = Result<Vec<Row>, KindError>> + Send;
}

impl Asks for Reader {
    async fn ask(&self, asked: &str, select: &str, params: &[&str]) -> Result<Vec<Row>, KindError> {
        self.rows(asked, select, params).await
    }
}

impl Asks for Writer {
    async fn ask(&self, asked: &str, select: &str, params: &[&str]) -> Result<Vec<Row>, KindError> {
        self.rows(asked, select, params).await
    }
}

/// What can only be asked: SELECT in a READ ONLY transaction.
pub struct Reader(Session);

impl Reader {
    /// Asks; parameters are texts.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn rows(&self, asked: &str, select: &str, params: &[&str]) -> Result<Vec<Row>, KindError> {
        // Anything else could end the transaction that keeps this from writing.
        if !select.starts_with("SELECT ") {
            return Err(KindError::new(format!("a bug in trees: {asked} would not only read")));
        }
        self.0.rows(asked, select, params).await
    }

    /// Asks for a row that may not be there.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn row(&self, asked: &str, select: &str, params: &[&str]) -> Result<Option<Row>, KindError> {
        Ok(self.rows(asked, select, params).await?.into_iter().next())
    }
}

/// What can do anything.
pub struct Writer(Session);

impl Writer {
    /// Asks or does one statement; parameters are texts.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn rows(&self, asked: &str, statement: &str, params: &[&str]) -> Result<Vec<Row>, KindError> {
        self.0.rows(asked, statement, params).await
    }

    /// Does some statements, in one transaction unless they cannot be in one.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn run(&self, asked: &str, statements: &str) -> Result<(), KindError> {
        self.0.run(asked, statements).await
    }

    /// The same, with the server's own answer.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn attempt(&self, asked: &str, limit: Duration, statements: &str) -> Result<Result<(), Error>, KindError> {
        self.0.wait(asked, limit, self.0.client()?.batch_execute(statements)).await
    }

    /// Waits until nobody else of `trees` works at this, a statement of an attempt that was killed among
    /// them: the server goes on with it for a while. Holds others off until the session ends.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn alone(&self, what: &str) -> Result<(), KindError> {
        let asked = format!("wait for what another attempt does to {what}");
        // The answer has no type that could be read.
        self.rows(&asked, "SELECT pg_advisory_lock($1::bigint)::text", &[&lock_key(what).to_string()]).await.map(drop)
    }

    /// An answer of the server's as an error of ours.
    pub fn failed(&self, asked: &str, error: &Error) -> KindError {
        self.0.failed(asked, error)
    }

    /// As if it had just connected, whatever statements have set; locks of the session stay. `statement`:
    /// what one may take, `lock`: how long one may wait for a lock of others.
    ///
    /// # Errors
    /// What the server answers instead.
    pub async fn afresh(&self, statement: Duration, lock: Duration) -> Result<(), KindError> {
        let (statement, lock) = (statement.as_millis(), lock.as_millis());
        let settings = format!("RESET SESSION AUTHORIZATION; RESET ALL; SET statement_timeout = {statement}; SET lock_timeout = {lock}");
        self.run("prepare the session", &settings).await?;
        self.watch().await
    }

    /// Of no weight where it is not known, or not to be had.
    async fn watch(&self) -> Result<(), KindError> {
        let set = self.0.client()?.batch_execute("SET client_connection_check_interval = '2s'");
        self.0.wait("prepare the session", self.0.limit, set).await.map(drop)
    }

    /// Ends the connection and waits until the server knows.
    pub async fn close(mut self) {
        drop(self.0.client.take());
        let _ = tokio::time::timeout(Duration::from_secs(2), &mut self.0.connection).await;
    }
}

/// The key of a lock by what it is for.
pub fn lock_key(what: &str) -> i64 {
    let digest = hash::bytes(format!("trees: {what}").as_bytes());
    u64::from_str_radix(&digest[..16], 16).unwrap_or_default().cast_signed()
}

/// A value of an answer.
///
/// # Errors
/// When it is of another type.
pub fn get<T: for<'a> FromSql<'a>>(row: &Row, name: &str) -> Result<T, KindError> {
    row.try_get(name).map_err(|e| KindError::new(format!("cannot read `{name}` of the server's answer: {}", chain(&e))))
}
