//! Secrets of a server with HashiCorp Vault's KV API (Vault, OpenBao), version 2 and version 1.
//!
//! Where it is and who asks is said as its own client is told: `VAULT_ADDR`, `VAULT_TOKEN` (else
//! `~/.vault-token`, else a login by `VAULT_ROLE_ID` and `VAULT_SECRET_ID`), `VAULT_NAMESPACE`,
//! `VAULT_CACERT`. API: <https://developer.hashicorp.com/vault/api-docs/secret/kv>.

use crate::http;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use std::path::PathBuf;
use std::time::Duration;
use trees_core::event::Json;

/// For one answer.
const LIMIT: Duration = Duration::from_secs(30);

/// Where a value is: `mount/path#field`.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    path: &'a str,
    field: &'a str,
}

impl<'a> Place<'a> {
    /// Without `#field` the field is called like the secret.
    fn of(path: &'a str, name: &'a str) -> Self {
        let (path, field) = path.split_once('#').unwrap_or((path, name));
        Self { path: path.trim_matches('/'), field }
    }
}

/// The server, and who asks.
struct Server {
    client: Client,
    address: Url,
    token: String,
    namespace: Option<String>,
}

/// Reads one value; `None` where there is none.
///
/// # Errors
/// One sentence, without the value: where it was asked, what came, the cure.
pub fn read(path: &str, name: &str) -> Result<Option<String>, String> {
    let place = Place::of(path, name);
    // The caller may be inside a runtime of its own, where nobody may wait.
    let asked = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
            runtime.block_on(async { Server::open().await?.value(&place).await })
        });
        thread.join()
    });
    asked.unwrap_or_else(|_| Err("the look ended early".into()))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Server {
    async fn open() -> Result<Self, String> {
        let address =
            variable("VAULT_ADDR").ok_or("VAULT_ADDR is not set: set it to the server's address, as https://vault.example:8200")?;
        let address = Url::parse(&address).ok().filter(|url| url.has_host()).ok_or_else(|| format!("VAULT_ADDR `{address}` is no URL"))?;
        let roots = variable("VAULT_CACERT").map(|file| std::fs::read(&file).map_err(|e| format!("cannot read VAULT_CACERT {file}: {e}")));
        let client = http::trusting_also(roots.transpose()?.as_deref())?;
        let mut server = Self { client, address, token: String::new(), namespace: variable("VAULT_NAMESPACE") };
        server.token = match variable("VAULT_TOKEN").or_else(token_of_home) {
            Some(token) => token,
            None => server.log_in().await?,
        };
        Ok(server)
    }

    /// By the role that the environment names.
    async fn log_in(&self) -> Result<String, String> {
        let (Some(role), Some(secret)) = (variable("VAULT_ROLE_ID"), variable("VAULT_SECRET_ID")) else {
            return Err("nobody is logged in: set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID".into());
        };
        let url = self.url(&["auth", "approle", "login"])?;
        let body = serde_json::json!({ "role_id": role, "secret_id": secret });
        let (status, answer) = self.ask(self.client.post(url).json(&body)).await?;
        match answer["auth"]["client_token"].as_str() {
            Some(token) if status.is_success() => Ok(token.to_owned()),
            Some(_) | None => Err(self.refused("the login by VAULT_ROLE_ID", status, &answer)),
        }
    }

    async fn value(&self, place: &Place<'_>) -> Result<Option<String>, String> {
        let (versioned, mount) = self.mount(place.path).await?;
        let inside = place.path.strip_prefix(&mount).map_or(place.path, |rest| rest.trim_start_matches('/'));
        let mut segments: Vec<&str> = mount.split('/').collect();
        if versioned {
            segments.push("data");
        }
        segments.extend(inside.split('/'));
        let url = self.url(&segments)?;
        let (status, answer) = self.ask(self.client.get(url)).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(self.refused(&format!("reading `{}`", place.path), status, &answer));
        }
        let fields = if versioned { &answer["data"]["data"] } else { &answer["data"] };
        Ok(match &fields[place.field] {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        })
    }

    /// Whether the engine that a path leads into keeps versions, and where it is mounted. Older servers do not
    /// tell: those have version 1, at the first part of the path.
    async fn mount(&self, path: &str) -> Result<(bool, String), String> {
        let mut segments = vec!["sys", "internal", "ui", "mounts"];
        segments.extend(path.split('/'));
        let (status, answer) = self.ask(self.client.get(self.url(&segments)?)).await?;
        let first = || path.split('/').next().unwrap_or_default().to_owned();
        if status == StatusCode::NOT_FOUND {
            return Ok((false, first()));
        }
        if !status.is_success() {
            return Err(self.refused(&format!("asking where `{path}` is mounted"), status, &answer));
        }
        let mount = answer["data"]["path"].as_str().map_or_else(first, |mount| mount.trim_matches('/').to_owned());
        Ok((answer["data"]["options"]["version"].as_str() == Some("2"), mount))
    }

    fn url(&self, segments: &[&str]) -> Result<Url, String> {
        let mut url = self.address.clone();
        url.path_segments_mut().map_err(|()| "VAULT_ADDR is no URL".to_owned())?.pop_if_empty().push("v1").extend(segments);
        Ok(url)
    }

    async fn ask(&self, mut request: RequestBuilder) -> Result<(StatusCode, Json), String> {
        if !self.token.is_empty() {
            request = request.header("X-Vault-Token", &self.token);
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        let answer = request.header("X-Vault-Request", "true").timeout(LIMIT).send().await;
        let answer = answer.map_err(|e| format!("{} does not answer: {}", self.name(), http::chain(&e.without_url())))?;
        let status = answer.status();
        let text =
            answer.text().await.map_err(|e| format!("the answer of {} broke off: {}", self.name(), http::chain(&e.without_url())))?;
        let json = serde_json::from_str(&text).unwrap_or(Json::Null);
        if status.is_success() && json.is_null() {
            return Err(format!("{} answered with something that is no JSON: is VAULT_ADDR right?", self.name()));
        }
        Ok((status, json))
    }

    /// The server without what may be secret in its address.
    fn name(&self) -> String {
        let port = self.address.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}", self.address.scheme(), self.address.host_str().unwrap_or_default())
    }

    fn refused(&self, what: &str, status: StatusCode, answer: &Json) -> String {
        let said: Vec<&str> = answer["errors"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ").trim()) };
        let cure = match status.as_u16() {
            403 => "; see to the token and its policy",
            503 => "; the server is sealed or not ready",
            _ => "",
        };
        format!("{what} at {} was answered with {}{said}{cure}", self.name(), status.as_u16())
    }
}

/// The token that the server's own client keeps after a login.
fn token_of_home() -> Option<String> {
    let path = PathBuf::from(std::env::var_os("HOME")?).join(".vault-token");
    let token = std::fs::read_to_string(path).ok()?.trim().to_owned();
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_field_is_named_after_the_path_or_like_the_secret() {
        let check = |path: &str, inside: &str, field: &str| assert_eq!(Place::of(path, "TOKEN"), Place { path: inside, field });
        check("secret/app", "secret/app", "TOKEN");
        check("/secret/app/#password", "secret/app", "password");
    }
}
