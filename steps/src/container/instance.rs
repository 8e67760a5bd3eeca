//! Containers as the engine tells of them.

use super::engine::{Ask, Reader};
use jiff::Timestamp;
use reqwest::Method;
use std::collections::BTreeMap;
use trees_core::event::Json;
use trees_runner::kind::KindError;

/// A container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// All that the engine tells of it.
    pub json: Json,
}

/// A container by its id or name.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn container(reader: &Reader, id: &str) -> Result<Option<Container>, KindError> {
    let found = reader.get(Ask::new(Method::GET, format!("containers/{id}/json"))).await?;
    Ok(found.map(|json| Container {
        id: json["Id"].as_str().unwrap_or_default().to_owned(),
        name: json["Name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned(),
        json,
    }))
}

/// The containers that a filter lets through, stopped ones too, the newest first.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn containers(reader: &Reader, filter: &str) -> Result<Vec<Container>, KindError> {
    let list = reader.get(Ask::new(Method::GET, "containers/json").with("all", "1").with("filters", filter)).await?.unwrap_or_default();
    let mut all = Vec::new();
    for one in list.as_array().into_iter().flatten() {
        // It may be removed between the two questions.
        if let Some(found) = container(reader, one["Id"].as_str().unwrap_or_default()).await? {
            all.push(found);
        }
    }
    all.sort_by_key(|found| std::cmp::Reverse(found.created()));
    Ok(all)
}

impl Container {
    fn created(&self) -> Timestamp {
        self.json["Created"].as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Its process runs.
    pub fn runs(&self) -> bool {
        self.json["State"]["Running"].as_bool().unwrap_or(false) && !self.json["State"]["Restarting"].as_bool().unwrap_or(false)
    }

    /// How it is, in words.
    pub fn state(&self) -> String {
        let state = &self.json["State"];
        let status = state["Status"].as_str().unwrap_or("unknown");
        let code = state["ExitCode"].as_i64().unwrap_or(0);
        match state["Error"].as_str().filter(|error| !error.is_empty()) {
            Some(error) => format!("{status}: {error}"),
            None if self.runs() => status.to_owned(),
            None => format!("{status} (exit code {code})"),
        }
    }

    /// How often it was started again by the engine.
    pub fn restarts(&self) -> u64 {
        self.json["RestartCount"].as_u64().unwrap_or(0)
    }

    /// A label.
    pub fn label(&self, name: &str) -> &str {
        self.json["Config"]["Labels"][name].as_str().unwrap_or_default()
    }

    /// Where a port of it is reached from this machine.
    pub fn address(&self, port: u16) -> Option<String> {
        if self.json["HostConfig"]["NetworkMode"] == "host" {
            return Some(format!("127.0.0.1:{port}"));
        }
        if let Some(published) = self.json["NetworkSettings"]["Ports"][format!("{port}/tcp")].as_array().and_then(|all| all.first()) {
            let host = match published["HostIp"].as_str().unwrap_or_default() {
                "" | "0.0.0.0" | "::" => "127.0.0.1",
                host => host,
            };
            return Some(format!("{host}:{}", published["HostPort"].as_str().unwrap_or_default()));
        }
        let networks = self.json["NetworkSettings"]["Networks"].as_object().into_iter().flatten().map(|(_, network)| &network["IPAddress"]);
        let own = networks.filter_map(Json::as_str).find(|address| !address.is_empty());
        own.map(|address| format!("{address}:{port}"))
    }

    /// Its published ports: `80/tcp` and where each is reached.
    pub fn ports(&self) -> BTreeMap<String, String> {
        let all = self.json["NetworkSettings"]["Ports"].as_object().into_iter().flatten();
        let one = |(port, published): (&String, &Json)| {
            let first = published.as_array()?.first()?;
            Some((port.clone(), format!("{}:{}", first["HostIp"].as_str()?, first["HostPort"].as_str()?)))
        };
        all.filter_map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Container;
    use serde_json::{Value, json};

    fn container(json: Value) -> Container {
        Container { id: "1".into(), name: "a".into(), json }
    }

    #[test]
    fn where_a_port_is_reached() {
        let published =
            |host: &str| json!({ "NetworkSettings": { "Ports": { "80/tcp": [{ "HostIp": host, "HostPort": "8080" }], "81/tcp": null } } });
        for (json, expected) in [
            (json!({ "HostConfig": { "NetworkMode": "host" } }), Some("127.0.0.1:80")),
            (published("0.0.0.0"), Some("127.0.0.1:8080")),
            (published("10.0.0.1"), Some("10.0.0.1:8080")),
            (
                json!({ "NetworkSettings": { "Networks": { "a": { "IPAddress": "" }, "b": { "IPAddress": "172.17.0.2" } } } }),
                Some("172.17.0.2:80"),
            ),
            (json!({}), None),
        ] {
            assert_eq!(container(json).address(80).as_deref(), expected);
        }
        assert_eq!(container(published("127.0.0.1")).ports()["80/tcp"], "127.0.0.1:8080");
    }

    #[test]
    fn how_it_is_in_words() {
        for (state, expected) in [
            (json!({ "Status": "running", "Running": true }), "running"),
            (json!({ "Status": "exited", "ExitCode": 3 }), "exited (exit code 3)"),
            (json!({ "Status": "created", "Error": "no such file" }), "created: no such file"),
            (json!({}), "unknown (exit code 0)"),
        ] {
            assert_eq!(container(json!({ "State": state })).state(), expected);
        }
    }
}
