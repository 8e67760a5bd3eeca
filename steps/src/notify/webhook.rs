//! `notify/webhook`: a signed message to a URL.

use super::delivery::Delivery;
use super::signature;
use crate::http::{check_headers, url};
use crate::kept;
use crate::period::{Limit, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use trees_core::event::Json;
use trees_core::hash;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError, recorded};

/// The kind `notify/webhook`.
pub struct Webhook;

/// What `notify/webhook` takes.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// Where it is sent to, with POST.
    pub url: String,
    /// The message as JSON.
    #[serde(default)]
    pub body: Option<Json>,
    /// The message as text, in place of `body`.
    #[serde(default)]
    pub text: Option<String>,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Signs it as Standard Webhooks says: `whsec_` and base64, or any text. The receiver has it, too.
    #[serde(default)]
    pub secret: Option<String>,
    /// Signs it with `X-Hub-Signature-256` as well, as GitHub does.
    #[serde(default)]
    pub hub_secret: Option<String>,
    /// A message as JSON that is sent to the same place when the step is rolled back.
    #[serde(default)]
    pub retract: Option<Json>,
    /// For one answer.
    #[serde(default = "crate::default::ten_seconds", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
    /// For all tries together.
    #[serde(default = "crate::default::a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub give_up_after: Period,
}

/// What `notify/webhook` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The message's id, as the receiver got it in `webhook-id`.
    pub id: String,
    /// The status code of the answer.
    pub status: u16,
    /// How often it was sent in this attempt.
    pub tries: u32,
}

/// A message that is about to be sent.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    id: String,
    /// The digest of its body.
    digest: String,
    /// Where it is noted that a rollback has still to send the step's `retract`.
    retract: Option<String>,
}

/// Headers that the step makes itself.
const OWN: [&str; 6] =
    ["webhook-id", "webhook-timestamp", "webhook-signature", "x-hub-signature-256", "content-length", "transfer-encoding"];

impl Kind for Webhook {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "notify/webhook",
        summary: "Send a signed message to a URL",
        doc: include_str!("webhook.md"),
        example: "tree: announce\nsecrets:\n  WEBHOOK_SECRET: {}\nsteps:\n  tell:\n    uses: notify/webhook\n    with:\n      \
                  url: http://127.0.0.1:8080/hooks/releases\n      secret: \"{{ secrets.WEBHOOK_SECRET }}\"\n      \
                  body: { type: release.published, data: { version: v1.2.0 } }\n",
        effect: Effect::External,
        observes: false,
        undoes: true,
        reads_only: false,
        repeats: true,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong: Vec<String> = url(&with.url).err().into_iter().collect();
        wrong.extend(check_headers(&with.headers));
        let own = with.headers.keys().filter(|name| OWN.contains(&name.to_lowercase().as_str()));
        wrong.extend(own.map(|name| format!("headers: `{name}` is made by the step itself")));
        match (&with.body, &with.text) {
            (Some(_), Some(_)) => wrong.push("body and text: give one of them".into()),
            (None, None) => wrong.push("body: there is no message; give `body` or `text`".into()),
            (_, _) => {}
        }
        if let Some(Err(e)) = with.secret.as_deref().map(signature::key) {
            wrong.push(format!("secret: {e}"));
        }
        if with.hub_secret.as_deref() == Some("") {
            wrong.push("hub_secret: it is empty".into());
        }
        wrong
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let id = format!("msg_{}", cx.idempotency_key);
        let delivery = with.message(id.clone());
        let retract = with.retract.is_some().then(|| kept::note(cx, "retract")).transpose()?;
        cx.intend(Record { id: id.clone(), digest: hash::bytes(delivery.body.as_bytes()), retract }).await?;
        let taken = delivery.send(cx).await?;
        Ok(Out { id, status: taken.status, tries: taken.tries })
    }

    async fn undo(record: &Json, cx: &Cx) -> Result<(), KindError> {
        let record: Record = recorded(record)?;
        let Some(name) = &record.retract else {
            cx.log(format!("the message {} stays sent: the step has no `retract`", record.id));
            return Ok(());
        };
        if !kept::is_open(&cx.state, name)? {
            return Ok(());
        }
        let with: With = serde_json::from_value((*cx.with).clone()).map_err(|e| KindError::new(format!("with: {e}")))?;
        let Some(body) = &with.retract else {
            cx.log(format!("the message {} stays sent: the step has no `retract` any more", record.id));
            return Ok(());
        };
        with.delivery(format!("{}_retract", record.id), JSON, body.to_string()).send(cx).await?;
        kept::close(&cx.state, name)
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl With {
    fn message(&self, id: String) -> Delivery {
        match (&self.body, &self.text) {
            (_, Some(text)) => self.delivery(id, TEXT, text.clone()),
            (body, None) => self.delivery(id, JSON, body.clone().unwrap_or_default().to_string()),
        }
    }

    fn delivery(&self, id: String, media: &str, body: String) -> Delivery {
        Delivery {
            id,
            url: self.url.clone(),
            headers: self.headers.clone(),
            media: media.into(),
            body,
            secret: self.secret.clone(),
            hub_secret: self.hub_secret.clone(),
            timeout: self.timeout,
            give_up_after: self.give_up_after,
        }
    }
}

#[cfg(test)]
mod tests;
