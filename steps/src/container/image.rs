//! Images as the engine tells of them.

use super::engine::{Ask, Reader};
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeMap;
use trees_core::event::Json;
use trees_runner::kind::KindError;

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    /// `sha256:…`.
    pub id: String,
    /// Its names.
    pub tags: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// In bytes.
    pub size: u64,
    /// What its containers run.
    pub command: Vec<String>,
}

/// An image by its name or id.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn image(reader: &Reader, name: &str) -> Result<Option<Image>, KindError> {
    let found = reader.get(Ask::new(Method::GET, format!("images/{name}/json"))).await?;
    Ok(found.map(|json| Image {
        id: id(&json["Id"]),
        tags: texts(&json["RepoTags"]),
        labels: labels(&json["Config"]["Labels"]),
        size: json["Size"].as_u64().unwrap_or(0),
        command: texts(&json["Config"]["Cmd"]),
    }))
}

/// The ids of the images that a filter lets through, the newest first.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn images(reader: &Reader, filter: &str) -> Result<Vec<String>, KindError> {
    let list = reader.get(Ask::new(Method::GET, "images/json").with("filters", filter)).await?.unwrap_or_default();
    let mut all: Vec<(i64, String)> =
        list.as_array().into_iter().flatten().map(|one| (one["Created"].as_i64().unwrap_or(0), id(&one["Id"]))).collect();
    all.sort_by(|a, b| b.cmp(a));
    all.dedup();
    Ok(all.into_iter().map(|(_, id)| id).collect())
}

/// Podman leaves the `sha256:` out.
fn id(json: &Json) -> String {
    let text = json.as_str().unwrap_or_default();
    if text.is_empty() || text.starts_with("sha256:") { text.to_owned() } else { format!("sha256:{text}") }
}

/// A list of texts; nothing is no text.
pub fn texts(json: &Json) -> Vec<String> {
    json.as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
}

fn labels(json: &Json) -> BTreeMap<String, String> {
    serde_json::from_value(if json.is_null() { json!({}) } else { json.clone() }).unwrap_or_default()
}
