//! What is said on the socket. docs/api.md and docs/api.schema.json are about this file.

use dataplane::orders::{Filter, Table};
use dataplane::policy::Net;
use dataplane::types::Proto;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::Ipv4Addr;

/// The version of the protocol. It changes when a client that knows the old one would misread the new one.
pub(crate) const VERSION: u64 = 1;
/// The most that a request may be, its newline included.
pub(crate) const LARGEST: usize = 64 << 10;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Rows of something.
    Show {
        what: What,
        #[serde(default)]
        filter: Written,
    },
    /// End sessions and tunnels.
    Flush {
        #[serde(default)]
        filter: Written,
        /// Without a filter all are meant, which must be said.
        #[serde(default)]
        all: bool,
    },
    /// Read the configuration anew.
    Reload {
        /// Only tell what would change.
        #[serde(default)]
        dry_run: bool,
    },
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// Totals: packets, sessions, events.
    Stats,
    /// Sessions, and the legs of tunnels.
    Sessions,
    /// Mappings: inside endpoint to outside endpoint.
    Mappings,
    /// Inside hosts, and what each has.
    Subscribers,
    /// VPN tunnels: who with whom, by which identifiers, how far, how much.
    Vpn,
    /// Every reason for which packets were dropped, and what to do about it.
    Drops,
    /// Ports: link, traffic, what the device counts.
    Ports,
    /// Workers: CPU, traffic, tables.
    Workers,
    /// Time through the box and cycles a packet, of each worker and of all.
    Latency,
    /// The settings that are in force.
    Config,
}

impl What {
    /// The table that it is read from, where it is one.
    pub(crate) const fn table(self) -> Option<Table> {
        match self {
            Self::Sessions => Some(Table::Sessions),
            Self::Mappings => Some(Table::Mappings),
            Self::Subscribers => Some(Table::Subscribers),
            Self::Vpn => Some(Table::Tunnels),
            Self::Stats | Self::Drops | Self::Ports | Self::Workers | Self::Latency | Self::Config => None,
        }
    }
}

/// A filter as it is written: a condition is a string or a number.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    client: Option<Value>,
    server: Option<Value>,
    outside: Option<Value>,
    proto: Option<Value>,
    port: Option<Value>,
    spi: Option<Value>,
    callid: Option<Value>,
}

impl Written {
    /// What it means.
    pub(crate) fn filter(&self) -> Result<Filter, Problem> {
        fn read<T>(
            name: &str,
            value: Option<&Value>,
            expected: &str,
            of: impl Fn(&str) -> Option<T>,
        ) -> Result<Option<T>, Problem> {
            let Some(value) = value else { return Ok(None) };
            let text = match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(n) => Some(n.to_string()),
                _ => None,
            };
            let read = text.as_deref().and_then(of);
            let shown = text.unwrap_or_else(|| value.to_string());
            let shown: String = shown.chars().take(60).collect();
            let otherwise = || Problem::new(Code::BadFilter, format!("{name}={shown}: not {expected}"));
            read.map(Some).ok_or_else(otherwise)
        }
        let network = "an IPv4 address or network, such as 192.168.1.10 or 192.168.1.0/24";
        Ok(Filter {
            client: read("client", self.client.as_ref(), network, net)?,
            server: read("server", self.server.as_ref(), network, net)?,
            outside: read("outside", self.outside.as_ref(), network, net)?,
            proto: read("proto", self.proto.as_ref(), "tcp, udp, icmp, gre, esp, l2tpv3 or a protocol number", proto)?,
            port: read("port", self.port.as_ref(), "a port from 0 to 65535", |t| t.parse().ok())?,
            spi: read("spi", self.spi.as_ref(), "a 32-bit number such as 0xc0ffee00", number)?,
            call_id: read("callid", self.callid.as_ref(), "a Call ID from 0 to 65535", |t| {
                number(t).and_then(|n| u16::try_from(n).ok())
            })?,
        })
    }
}

fn net(text: &str) -> Option<Net> {
    let (addr, prefix) = text.split_once('/').unwrap_or((text, "32"));
    let prefix: u8 = prefix.parse().ok().filter(|p| *p <= 32)?;
    Some(Net::of(addr.parse::<Ipv4Addr>().ok()?, prefix))
}

fn proto(text: &str) -> Option<Proto> {
    Some(match text {
        "tcp" => Proto::TCP,
        "udp" => Proto::UDP,
        "icmp" => Proto::ICMP,
        "gre" | "pptp" => Proto::GRE,
        "esp" => Proto::ESP,
        "l2tpv3" | "l2tp" => Proto::L2TP,
        _ => Proto(text.parse().ok()?),
    })
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Why a request is not answered, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// It is no JSON object in one line.
    BadJson,
    /// It is longer than a request may be.
    TooLong,
    /// It was not complete in time, or the connection ended in the middle of it.
    Incomplete,
    /// It is of a version that is not spoken here.
    BadVersion,
    /// It asks for something unknown, or says something that does not belong there.
    BadRequest,
    /// A condition of its filter cannot be.
    BadFilter,
    /// Too many connections.
    Busy,
    /// Who asks may not.
    Denied,
    /// It is understood, and not done; the message says why. Nothing was changed.
    Refused,
    /// It could not be done.
    Failed,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A line of an answer: any number of rows, then one end or one error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line<T> {
    /// A row.
    Row(T),
    /// All is said.
    End(T),
    /// Nothing more comes.
    Error(Problem),
}

impl<T: Serialize> Line<T> {
    /// Writes it as a line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        // Into memory, and of types whose keys are strings: nothing can fail.
        if serde_json::to_writer(&mut *out, self).is_ok() {
            out.push(b'\n');
        }
    }
}

/// Reads a request line, without its newline.
pub(crate) fn request(line: &[u8]) -> Result<Request, Problem> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|e| Problem::new(Code::BadJson, format!("a request is one JSON object in one line: {e}")))?;
    let Value::Object(mut fields) = value else {
        return Err(Problem::new(Code::BadJson, "a request is one JSON object in one line"));
    };
    match fields.remove("api").as_ref().map(Value::as_u64) {
        Some(Some(VERSION)) => {}
        Some(Some(other)) => {
            let message = format!("version {other} is not spoken here; this is {VERSION}");
            return Err(Problem::new(Code::BadVersion, message));
        }
        Some(None) | None => {
            return Err(Problem::new(Code::BadVersion, format!("a request says its version: \"api\": {VERSION}")));
        }
    }
    Request::deserialize(Value::Object(fields)).map_err(|e| Problem::new(Code::BadRequest, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> Code {
        request(line.as_bytes()).unwrap_err().code
    }

    #[test]
    fn a_request_is_read_as_it_is_documented() {
        let read = |line: &str| request(line.as_bytes()).unwrap_or_else(|p| panic!("{line}: {p:?}"));
        let plain = Request::Show { what: What::Vpn, filter: Written::default() };
        assert_eq!(read(r#"{"api":1,"verb":"show","what":"vpn"}"#), plain);
        let Request::Show { filter, .. } = read(
            r#"{"verb":"show","what":"sessions","api":1,"filter":{"client":"10.0.0.0/8","proto":"esp","spi":"0xC0ffee00"}}"#,
        ) else {
            panic!("not a show")
        };
        let filter = filter.filter().unwrap();
        assert_eq!(filter.client, Some(Net::of(Ipv4Addr::new(10, 0, 0, 0), 8)));
        assert_eq!((filter.proto, filter.spi, filter.server), (Some(Proto::ESP), Some(0xc0ff_ee00), None));
    }

    #[test]
    fn what_is_no_request_says_why() {
        assert_eq!(code("{"), Code::BadJson);
        assert_eq!(code("[1]"), Code::BadJson);
        assert_eq!(code(&"[".repeat(10_000)), Code::BadJson);
        assert_eq!(code(r#"{"verb":"show","what":"vpn"}"#), Code::BadVersion);
        assert_eq!(code(r#"{"api":2,"verb":"show","what":"vpn"}"#), Code::BadVersion);
        assert_eq!(code(r#"{"api":1,"verb":"dance"}"#), Code::BadRequest);
        assert_eq!(code(r#"{"api":1,"verb":"show","what":"vpn","wait":1}"#), Code::BadRequest);
        assert_eq!(code(r#"{"api":1,"verb":"show","what":"vpn","filter":{"clint":"10.0.0.1"}}"#), Code::BadRequest);
        let Ok(Request::Show { filter, .. }) =
            request(br#"{"api":1,"verb":"show","what":"vpn","filter":{"port":65536}}"#)
        else {
            panic!("not read")
        };
        let problem = filter.filter().unwrap_err();
        assert_eq!(
            (problem.code, problem.message.as_str()),
            (Code::BadFilter, "port=65536: not a port from 0 to 65535")
        );
    }
}
