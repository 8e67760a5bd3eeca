//! How a URL is reached: by its name and the system's certificates, or past them.

use trees_runner::http::{Client, reaching};
use trees_runner::kind::{KindError, ReadCx, Reader};

/// Where to connect and whom to trust, if not as usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way<'a> {
    /// Connect to this host or address; the name of the URL is asked for all the same.
    pub address: Option<&'a str>,
    /// A PEM file with the roots to trust.
    pub roots: Option<&'a str>,
}

impl Way<'_> {
    /// A client that goes this way.
    ///
    /// # Errors
    /// When the address is unknown, or the roots cannot be read.
    pub async fn reader(self, cx: &ReadCx, url: &str) -> Result<Reader, KindError> {
        if self.address.is_none() && self.roots.is_none() {
            return Ok(cx.http.clone());
        }
        let roots = self.roots.map(|file| crate::tls::roots::bytes(&cx.path(file))).transpose()?;
        let url = super::url(url).map_err(KindError::new)?;
        let host = url.host_str().unwrap_or_default();
        let at = match self.address {
            None => None,
            Some(address) => {
                let found = tokio::net::lookup_host((address, url.port_or_known_default().unwrap_or(0))).await;
                Some(found.map_err(|e| KindError::transient(format!("address: cannot find `{address}`: {e}")))?.collect::<Vec<_>>())
            }
        };
        let client = reaching(roots.as_deref(), at.as_deref().map(|at| (host, at))).map_err(KindError::new)?;
        Ok(Reader::new(Client::of(client).into()))
    }
}
