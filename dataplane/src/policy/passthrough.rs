//! What the operator wants of VPN passthrough: a switch for each protocol, and how its hard cases are settled.

/// What is done with a protocol: its control traffic and its tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Switch {
    /// Followed, translated and let pass: what a live control session or an inside host's own tunnel calls for.
    #[default]
    On,
    /// No ALG (the profile `strict`; RFC 4787 REQ-10, RFC 5382 REQ-6): control traffic passes as any TCP or UDP does,
    /// untouched, and tunnels that NAT alone cannot carry (GRE version 1, ESP, L2TPv3 over IP) do not pass.
    Plain,
    /// Off: control traffic and tunnels are dropped, both ways.
    Off,
}

/// What happens to source port 500 of IKE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IkePort {
    /// Translated on a clash, as any port is (RFC 3947 §4, RFC 7296 §2.23).
    #[default]
    Translate,
    /// Kept for all clients, which are told apart by SPI or cookie; for responders that insist on 500.
    Preserve,
}

/// How several clients that set up ESP with one gateway at the same time are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pairing {
    /// All at once; the unseen inbound SPI is paired by evidence, then by order.
    #[default]
    Parallel,
    /// One at a time: others' child exchanges wait until the first is paired or its gate closes.
    Strict,
}

/// VPN passthrough.
#[derive(Clone, Debug)]
pub struct Passthrough {
    /// PPTP: TCP 1723, and GRE version 1.
    pub pptp: Switch,
    /// L2TP: UDP 1701, and IP protocol 115.
    pub l2tp: Switch,
    /// IPsec: UDP 500 and 4500, ESP, AH (which never passes NAT).
    pub ipsec: Switch,
    /// IKE's source port.
    pub ike_port: IkePort,
    /// ESP set-up.
    pub pairing: Pairing,
    /// How long what IKE's headers showed counts as evidence, and in [`Pairing::Strict`] how long one client may keep
    /// others waiting; milliseconds.
    pub gate: u32,
    /// Other IP protocol numbers that pass by address alone, one inside host for each outside address, server and
    /// protocol. 47 means GRE version 0.
    pub other: Vec<u8>,
    /// Tunnels at once, over all workers.
    pub tunnels: usize,
    /// Tunnels of one inside host, each worker.
    pub tunnels_per_subscriber: u32,
    /// Tunnels to or from one remote host, on one outside address, that are not yet answered.
    pub pending_per_server: u32,
}

impl Default for Passthrough {
    /// Everything on, as home routers have it.
    fn default() -> Self {
        Self {
            pptp: Switch::On,
            l2tp: Switch::On,
            ipsec: Switch::On,
            ike_port: IkePort::Translate,
            pairing: Pairing::Parallel,
            gate: 30_000,
            other: Vec::new(),
            tunnels: 16_384,
            tunnels_per_subscriber: 256,
            pending_per_server: 256,
        }
    }
}
