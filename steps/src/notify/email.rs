//! `notify/email`: a message by mail, handed to a mail server.

use super::mail::{Addresses, Parts};
use super::server::{Refused, Server};
use crate::period::{Limit, Period};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use trees_core::hash;
use trees_core::tree::Effect;
use trees_core::units;
use trees_runner::kind::{About, Cx, Kind, KindError};

/// The kind `notify/email`.
pub struct Email;

/// What `notify/email` takes.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The mail server that it is handed to: `host`, `port`, `tls` (`starttls`, `implicit` or `none`), `user`, `password`,
    /// `roots`, `hello`, `plain`.
    pub server: Server,
    /// Who it is from: `ada@example.org` or `Ada <ada@example.org>`.
    pub from: String,
    /// Who gets it: an address, several with commas between them, or a list.
    #[serde(default)]
    pub to: Addresses,
    /// Who gets a copy.
    #[serde(default)]
    pub cc: Addresses,
    /// Who gets a copy that the others do not see.
    #[serde(default)]
    pub bcc: Addresses,
    /// Where answers go, if not to `from`.
    #[serde(default)]
    pub reply_to: Addresses,
    /// The subject, on one line.
    pub subject: String,
    /// The message as text.
    #[serde(default)]
    pub text: Option<String>,
    /// The message as HTML; with `text` as well, the reader's program chooses.
    #[serde(default)]
    pub html: Option<String>,
    /// More headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Send it to the others where the server refuses some recipients; without, nobody gets it then.
    #[serde(default)]
    pub partial: bool,
    /// For the whole conversation with the server.
    #[serde(default = "crate::default::a_minute", deserialize_with = "Period::limit")]
    #[schemars(with = "Limit")]
    pub timeout: Period,
}

/// What `notify/email` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The message's id, as it stands in `Message-ID`.
    pub id: String,
    /// The server's answer.
    pub answer: String,
    /// Recipients that it refused, with its words; only with `partial` there can be some.
    pub refused: Vec<Refused>,
}

/// A message that is about to be sent.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    id: String,
    /// The digest of what it says.
    digest: String,
}

const GOODBYE: Duration = Duration::from_secs(2);

impl Kind for Email {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "notify/email",
        summary: "Send a message by mail",
        doc: include_str!("email.md"),
        example: "tree: report\nsecrets:\n  MAIL_PASSWORD: {}\nsteps:\n  mail:\n    uses: notify/email\n    with:\n      \
                  server: { host: mail.example.org, user: trees, password: \"{{ secrets.MAIL_PASSWORD }}\" }\n      \
                  from: Trees <trees@example.org>\n      to: [ada@example.org]\n      subject: v1.2.0 is out\n      text: It is out.\n    \
                  retry: { attempts: 3, delay: 30s }\n",
        effect: Effect::External,
        observes: false,
        undoes: false,
        reads_only: false,
        repeats: true,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    fn validate(with: &With) -> Vec<String> {
        let mut wrong = with.server.wrong();
        wrong.extend(with.parts().wrong());
        wrong
    }

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let id = format!("<{}.trees@{}>", cx.idempotency_key, with.domain());
        let message = with.parts().message(&id).map_err(KindError::new)?;
        let digest = hash::json(&(&with.subject, &with.text, &with.html)).map_err(|e| KindError::new(e.to_string()))?;
        cx.intend(Record { id: id.clone(), digest }).await?;
        let send = async {
            let mut connection = with.server.connect(cx, with.timeout.0).await?;
            let handed = with.server.hand_over(cx, &mut connection, message.envelope(), &message.formatted(), with.partial).await;
            // What the server says to the goodbye, if anything, changes nothing.
            let _ = tokio::time::timeout(GOODBYE, connection.abort()).await;
            handed
        };
        let place = with.server.shown();
        let (answer, refused) = tokio::select! {
            sent = send => sent?,
            () = tokio::time::sleep(with.timeout.0) => {
                let message = format!("{place}: no answer within {}", units::show(with.timeout.0));
                return Err(KindError::transient(message).help("it may have arrived all the same; it is sent again with the same id"));
            }
            () = cx.cancel.cancelled() => return Err(KindError::transient(format!("{place}: ended while waiting for the answer"))),
        };
        cx.log(format!("{place}: {answer}, id {id}"));
        refused.iter().for_each(|refused| cx.log(format!("{place}: refused {}: {}", refused.address, refused.answer)));
        Ok(Out { id, answer, refused })
    }
}

impl With {
    /// Of the sender, for the message's id.
    fn domain(&self) -> &str {
        let domain = self.from.rsplit_once('@').map(|(_, domain)| domain.trim().trim_end_matches('>').trim());
        domain.filter(|domain| domain.is_ascii()).unwrap_or("localhost")
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            from: &self.from,
            reply_to: &self.reply_to,
            to: &self.to,
            cc: &self.cc,
            bcc: &self.bcc,
            subject: &self.subject,
            text: self.text.as_deref(),
            html: self.html.as_deref(),
            headers: &self.headers,
        }
    }
}

#[cfg(test)]
mod tests;
