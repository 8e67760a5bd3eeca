//! What the providers that speak HTTP share: one request, its answer as text.

use crate::http;
use reqwest::RequestBuilder;
use std::time::Duration;
use trees_runner::kind::{KindError, ReadCx};

/// For one answer.
const LIMIT: Duration = Duration::from_secs(30);
/// A zone may be large.
const LARGEST: usize = 64 << 20;
/// How much of a body stands in an error.
const HEAD: usize = 300;

/// A status and a body.
pub struct Answer {
    /// What was asked of whom, for errors.
    asked: String,
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Sends a request and takes the whole answer.
///
/// # Errors
/// When none comes.
pub async fn send(cx: &ReadCx, asked: String, request: RequestBuilder) -> Result<Answer, KindError> {
    let answer = async {
        let response = request.timeout(LIMIT).send().await.map_err(|e| KindError::transient(http::causes(&e)))?;
        let status = response.status().as_u16();
        let body = http::body(response, LARGEST).await?;
        if body.cut { Err(KindError::new("the answer is longer than any zone")) } else { Ok((status, body.text)) }
    };
    let answer = tokio::select! {
        () = cx.cancel.cancelled() => Err(KindError::transient("ended while waiting for the answer")),
        answer = answer => answer,
    };
    match answer {
        Ok((status, body)) => Ok(Answer { asked, status, body }),
        Err(e) => Err(KindError { message: format!("{asked}: {}", e.message), ..e }),
    }
}

impl Answer {
    /// Whether it is a 2xx.
    pub fn is_fine(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON of a form.
    ///
    /// # Errors
    /// When it is none.
    pub fn json<T: serde::de::DeserializeOwned>(&self, cx: &ReadCx) -> Result<T, KindError> {
        serde_json::from_str(&self.body).map_err(|e| {
            let message = format!("{}: answered {}, but not what was asked for ({e}): {}", self.asked, self.status, self.head(cx));
            KindError::new(message).help("look whether the address is that of the API and not of something before it")
        })
    }

    /// An error about this answer; `why` are the server's words where it has any.
    pub fn refused(&self, cx: &ReadCx, why: Option<&str>) -> KindError {
        let why = why.map_or_else(|| self.head(cx), |why| cx.head(why, HEAD));
        let transient = matches!(self.status, 408 | 425 | 429 | 500..=599);
        let message = format!("{}: answered {}: {}", self.asked, self.status, if why.is_empty() { "nothing" } else { &why });
        KindError { transient, ..KindError::new(message) }
    }

    fn head(&self, cx: &ReadCx) -> String {
        cx.head(&self.body, HEAD)
    }
}
