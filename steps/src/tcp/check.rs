//! `tcp/check`: does something listen there?

use crate::number::Port;
use crate::period::Period;
use crate::window::{Probe, Window};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::net::TcpStream;
use trees_core::tree::Effect;
use trees_runner::kind::{About, Cx, Kind, KindError};

/// The kind `tcp/check`.
pub struct Check;

/// What `tcp/check` takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// The host's name or address.
    #[serde(default = "crate::default::loopback")]
    pub host: String,
    /// The port.
    pub port: Port,
    /// So many connections in a row must succeed.
    #[serde(default = "crate::default::one")]
    pub ok_in_row: u32,
    /// The pause between two probes.
    #[serde(default = "crate::default::half_a_second")]
    pub every: Period,
    /// By when the first good answer of the row must have come.
    #[serde(default = "crate::default::half_a_minute")]
    pub first_ok_within: Period,
    /// How long the row must last.
    #[serde(default = "crate::default::at_once")]
    pub stable_for: Period,
}

/// What `tcp/check` returns.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Out {
    /// The address that answered.
    pub address: String,
}

impl Kind for Check {
    type With = With;
    type Out = Out;

    const ABOUT: About = About {
        name: "tcp/check",
        summary: "Wait until a TCP port accepts connections",
        doc: "Connects to `host:port` every `every` until `ok_in_row` connections in a row succeeded and the row lasted \
              `stable_for`. The row must begin within `first_ok_within`. Nothing is sent. A failure shows the last probes.",
        example: "tree: wait-for-postgres\nsteps:\n  database:\n    uses: tcp/check\n    with: { port: 5432, first_ok_within: 1m }\n",
        effect: Effect::None,
        observes: false,
        undoes: false,
        reads_only: true,
        repeats: false,
        deploys: false,
        file_inputs: &[],
        revision: 1,
    };

    async fn apply(with: &With, cx: &Cx) -> Result<Out, KindError> {
        let window = Window {
            ok_in_row: with.ok_in_row.max(1),
            every: with.every.0,
            first_ok_within: with.first_ok_within.0,
            stable_for: with.stable_for.0,
        };
        let (address, _) = window.pass(cx, &format!("tcp {}:{}", with.host, with.port), || connect(&with.host, with.port.0)).await?;
        Ok(Out { address })
    }
}

/// One connection, closed at once.
pub async fn connect(host: &str, port: u16) -> Probe<String> {
    match tokio::time::timeout(Duration::from_secs(5), TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => {
            let address = stream.peer_addr().map_or_else(|_| format!("{host}:{port}"), |a| a.to_string());
            Probe::good(address.clone(), format!("connected to {address}"))
        }
        Ok(Err(e)) => Probe::bad(e.to_string()),
        Err(_) => Probe::bad("no answer within 5s"),
    }
}

#[cfg(test)]
mod tests {
    use super::Check;
    use crate::bench::Bench;
    use serde_json::json;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_listener_is_found_and_a_closed_port_named() {
        let bench = Bench::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let with = json!({ "port": port.to_string(), "ok_in_row": 2, "every": "1ms", "first_ok_within": "20ms" });
        let (out, acted) = bench.run::<Check>(with.clone()).await.unwrap();
        assert_eq!((out.address, acted), (format!("127.0.0.1:{port}"), true));
        drop(listener);
        let wrong = bench.run::<Check>(with).await.unwrap_err();
        assert!(wrong.transient && wrong.message.starts_with(&format!("tcp 127.0.0.1:{port}: no good answer")), "{}", wrong.message);
        assert!(wrong.message.contains("refused"), "{}", wrong.message);
    }

    #[tokio::test]
    async fn a_cancelled_attempt_ends() {
        let bench = Bench::new();
        bench.cancel();
        let wrong = bench.run::<Check>(json!({ "port": 1, "first_ok_within": "1h", "every": "1h" })).await.unwrap_err();
        assert!(wrong.message.contains("ended while"), "{}", wrong.message);
    }
}
