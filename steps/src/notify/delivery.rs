//! One message to one address, tried until it is taken, refused for good, or given up.

use super::signature;
use crate::http::request::shown;
use crate::http::{body, causes, url, with_headers};
use crate::period::Period;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use trees_core::units;
use trees_runner::kind::{Cx, KindError};

/// A message and how it is sent. Its debug form would show secrets, so it has none.
pub struct Delivery {
    /// The same over all tries.
    pub id: String,
    /// Where.
    pub url: String,
    /// Of the user.
    pub headers: BTreeMap<String, String>,
    /// Its media type.
    pub media: String,
    /// The body, byte for byte as it is signed.
    pub body: String,
    /// For the Standard Webhooks signature.
    pub secret: Option<String>,
    /// For `X-Hub-Signature-256`.
    pub hub_secret: Option<String>,
    /// For one answer.
    pub timeout: Period,
    /// For all tries together.
    pub give_up_after: Period,
}

/// Who took it, when.
pub struct Taken {
    /// The status of the answer.
    pub status: u16,
    /// How often it was sent.
    pub tries: u32,
}

/// How a try ended.
enum Tried {
    Taken(u16),
    /// It may be taken later; the pause that the receiver asks for.
    Later(String, Option<Duration>),
    Never(KindError),
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

impl Delivery {
    /// Sends it, again and again with growing pauses where that may help.
    ///
    /// # Errors
    /// When it is refused, or not taken in time.
    pub async fn send(&self, cx: &Cx) -> Result<Taken, KindError> {
        let client = trees_runner::http::unredirected().map_err(KindError::new)?;
        let asked = format!("POST {}", shown(&self.url));
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            tries += 1;
            let left = self.give_up_after.0.saturating_sub(begun.elapsed());
            let tried = tokio::select! {
                () = cx.cancel.cancelled() => return Err(KindError::transient(format!("{asked}: ended while waiting for the answer"))),
                tried = self.once(cx, &client, &asked, left) => tried,
            };
            let (why, wanted) = match tried {
                Tried::Taken(status) => {
                    cx.log(format!("{asked}: {status}, id {}", self.id));
                    return Ok(Taken { status, tries });
                }
                Tried::Never(error) => return Err(error),
                Tried::Later(why, wanted) => (why, wanted),
            };
            cx.log(format!("{asked}: {why}"));
            let next = wanted.unwrap_or(pause).max(FIRST_PAUSE);
            if begun.elapsed() + next >= self.give_up_after.0 {
                return Err(self.given_up(&asked, tries, &why, wanted));
            }
            cx.sleep(next).await.map_err(|e| KindError { transient: true, ..e })?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn given_up(&self, asked: &str, tries: u32, why: &str, wanted: Option<Duration>) -> KindError {
        let tries = if tries == 1 { "1 try".into() } else { format!("{tries} tries") };
        let limit = units::show(self.give_up_after.0);
        let wanted = wanted.map_or_else(String::new, |wanted| format!(" (it asks for a pause of {})", units::show(wanted)));
        KindError::transient(format!("{asked}: not taken within {limit}, after {tries}; the last: {why}{wanted}"))
            .help("it may have arrived all the same; it is sent again with the same id")
    }

    async fn once(&self, cx: &Cx, client: &reqwest::Client, asked: &str, left: Duration) -> Tried {
        let request = match self.request(client) {
            Ok(request) => request.timeout(self.timeout.0.min(left.max(FIRST_PAUSE))),
            Err(error) => return Tried::Never(error),
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(e) => {
                let why = causes(&e);
                // No later try makes a certificate right.
                let never = e.is_builder() || why.contains("invalid peer certificate");
                return if never { Tried::Never(KindError::new(format!("{asked}: {why}"))) } else { Tried::Later(why, None) };
            }
        };
        let status = answer.status().as_u16();
        if answer.status().is_success() {
            return Tried::Taken(status);
        }
        let header = |name: reqwest::header::HeaderName| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        let after = header(reqwest::header::RETRY_AFTER).and_then(|text| pause(&text, Timestamp::now()));
        let place = header(reqwest::header::LOCATION);
        let text = body(answer, 4096).await.map_or_else(|e| e.message, |body| body.text);
        let seen = format!("answered {status}: {}", cx.head(&text, 400));
        match status {
            408 | 425 | 429 | 500..=599 => Tried::Later(seen, after),
            300..=399 => {
                let place = place.map_or_else(String::new, |place| format!(" to `{}`", cx.head(&shown(&place), 200)));
                let error = KindError::new(format!("{asked}: answered {status}, which leads elsewhere{place}; nothing was sent there"));
                Tried::Never(error.help("write that address as `url`, if it is the right one"))
            }
            410 => Tried::Never(KindError::new(format!("{asked}: {seen}")).help("410 means gone for good: take this message out")),
            _ => Tried::Never(KindError::new(format!("{asked}: {seen}"))),
        }
    }

    fn request(&self, client: &reqwest::Client) -> Result<reqwest::RequestBuilder, KindError> {
        let timestamp = Timestamp::now().as_second();
        let mut request = client
            .post(url(&self.url).map_err(KindError::new)?)
            .header(reqwest::header::CONTENT_TYPE, &self.media)
            .header("webhook-id", &self.id)
            .header("webhook-timestamp", timestamp);
        if let Some(secret) = &self.secret {
            let key = signature::key(secret).map_err(|e| KindError::new(format!("secret: {e}")))?;
            request = request.header("webhook-signature", signature::standard(&key, &self.id, timestamp, self.body.as_bytes()));
        }
        if let Some(secret) = &self.hub_secret {
            request = request.header("X-Hub-Signature-256", signature::hub(secret, self.body.as_bytes()));
        }
        Ok(with_headers(request, &self.headers).body(self.body.clone()))
    }
}

/// What `Retry-After` asks for: seconds, or a time.
fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_may_ask_for_a_pause() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(pause(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
