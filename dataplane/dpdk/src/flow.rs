//! Rules that a device applies to what it receives: `rte_flow`, as far as choosing the RX queue goes.
//!
//! A rule is a stack of headers with the bits that must match, and where its packets go. Whether a device can do it is
//! asked with [`ActivePort::validate`](crate::ActivePort::validate) before it is tried; drivers differ widely, and some
//! accept what they then do otherwise, so the caller had better look at what arrives.

use std::ffi::c_void;
use std::fmt;
use std::ptr;

use dpdk_sys as sys;

use crate::RssFunctions;

/// A number of which some bits must match; host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked<T> {
    /// The value of the bits that count.
    pub value: T,
    /// The bits that count.
    pub mask: T,
}

/// A header that a packet must have. A stack of them begins with [`Header::Ethernet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Header {
    /// Any Ethernet header.
    Ethernet,
    /// Any 802.1Q tag.
    Vlan,
    /// Any IPv4 header.
    Ipv4,
    /// UDP to a port.
    Udp {
        /// Destination port.
        to: Masked<u16>,
    },
    /// TCP to a port.
    Tcp {
        /// Destination port.
        to: Masked<u16>,
    },
    /// ESP, as an IP protocol.
    Esp {
        /// Security parameters index.
        spi: Masked<u32>,
    },
    /// L2TPv3, as an IP protocol.
    L2tpv3 {
        /// Session ID.
        session: Masked<u32>,
    },
    /// GRE that carries this.
    Gre {
        /// EtherType: 0x880b for PPTP.
        protocol: u16,
    },
    /// GRE's key field, after [`Header::Gre`].
    GreKey(Masked<u32>),
}

/// Where a rule's packets go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// To an RX queue.
    Queue(u16),
    /// Spread by a hash.
    Rss {
        /// What is hashed.
        functions: RssFunctions,
        /// The Toeplitz key; the port's if `None`.
        key: Option<Vec<u8>>,
        /// The redirection table; the port's if empty.
        queues: Vec<u16>,
    },
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRule {
    /// Lower numbers go first. Some devices have but one level, 0.
    pub priority: u32,
    /// What it is for.
    pub headers: Vec<Header>,
    /// Where that goes.
    pub target: Target,
}

impl fmt::Display for FlowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, header) in self.headers.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { " / " })?;
            match header {
                Header::Ethernet => f.write_str("eth")?,
                Header::Vlan => f.write_str("vlan")?,
                Header::Ipv4 => f.write_str("ipv4")?,
                Header::Udp { to } => write!(f, "udp dst {:#x}/{:#x}", to.value, to.mask)?,
                Header::Tcp { to } => write!(f, "tcp dst {:#x}/{:#x}", to.value, to.mask)?,
                Header::Esp { spi } => write!(f, "esp spi {:#x}/{:#x}", spi.value, spi.mask)?,
                Header::L2tpv3 { session } => write!(f, "l2tpv3oip session {:#x}/{:#x}", session.value, session.mask)?,
                Header::Gre { protocol } => write!(f, "gre protocol {protocol:#x}")?,
                Header::GreKey(key) => write!(f, "gre_key {:#x}/{:#x}", key.value, key.mask)?,
            }
        }
        match &self.target {
            Target::Queue(queue) => write!(f, " -> queue {queue}"),
            Target::Rss { functions, .. } => write!(f, " -> rss {:#x}", functions.0),
        }
    }
}

/// Room for the longest header that is matched on, TCP's; aligned as DPDK's structures of them are at most.
#[repr(C, align(8))]
#[derive(Default)]
struct Bytes([u8; 24]);

impl Bytes {
    fn put(mut self, at: usize, bytes: &[u8]) -> Bytes {
        if let Some(place) = self.0.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self
    }
}

/// Calls with a rule as DPDK wants it: attributes, then headers and actions as arrays that end with an END. They live as
/// long as the call.
pub(crate) fn with_raw<R>(
    rule: &FlowRule,
    call: impl FnOnce(*const sys::rte_flow_attr, *const sys::rte_flow_item, *const sys::rte_flow_action) -> R,
) -> R {
    let mut attr = sys::rte_flow_attr { priority: rule.priority, ..Default::default() };
    attr.set_ingress(1);

    let bytes: Vec<_> = rule.headers.iter().map(|header| bytes(*header)).collect();
    let item = |(header, bytes): (&Header, &Option<[Bytes; 2]>)| {
        let [spec, mask] = match bytes {
            Some(both) => both.each_ref().map(|bytes| ptr::from_ref(bytes).cast::<c_void>()),
            None => [ptr::null(); 2],
        };
        sys::rte_flow_item { type_: kind(*header), spec, last: ptr::null(), mask }
    };
    let end = sys::rte_flow_item {
        type_: sys::RTE_FLOW_ITEM_TYPE_END,
        spec: ptr::null(),
        last: ptr::null(),
        mask: ptr::null(),
    };
    let items: Vec<_> = rule.headers.iter().zip(&bytes).map(item).chain([end]).collect();

    let end = sys::rte_flow_action { type_: sys::RTE_FLOW_ACTION_TYPE_END, conf: ptr::null() };
    match &rule.target {
        Target::Queue(index) => {
            let queue = sys::rte_flow_action_queue { index: *index };
            let conf = ptr::from_ref(&queue).cast();
            let actions = [sys::rte_flow_action { type_: sys::RTE_FLOW_ACTION_TYPE_QUEUE, conf }, end];
            call(&attr, items.as_ptr(), actions.as_ptr())
        }
        Target::Rss { functions, key, queues } => {
            let key = key.as_deref().unwrap_or_default();
            let rss = sys::rte_flow_action_rss {
                func: if key.is_empty() {
                    sys::RTE_ETH_HASH_FUNCTION_DEFAULT
                } else {
                    sys::RTE_ETH_HASH_FUNCTION_TOEPLITZ
                },
                level: 0, // Outermost headers.
                types: functions.0,
                key_len: u32::try_from(key.len()).unwrap_or(0),
                queue_num: u32::try_from(queues.len()).unwrap_or(0),
                key: if key.is_empty() { ptr::null() } else { key.as_ptr() },
                queue: if queues.is_empty() { ptr::null() } else { queues.as_ptr() },
            };
            let conf = ptr::from_ref(&rss).cast();
            let actions = [sys::rte_flow_action { type_: sys::RTE_FLOW_ACTION_TYPE_RSS, conf }, end];
            call(&attr, items.as_ptr(), actions.as_ptr())
        }
    }
}

fn kind(header: Header) -> sys::rte_flow_item_type {
    match header {
        Header::Ethernet => sys::RTE_FLOW_ITEM_TYPE_ETH,
        Header::Vlan => sys::RTE_FLOW_ITEM_TYPE_VLAN,
        Header::Ipv4 => sys::RTE_FLOW_ITEM_TYPE_IPV4,
        Header::Udp { .. } => sys::RTE_FLOW_ITEM_TYPE_UDP,
        Header::Tcp { .. } => sys::RTE_FLOW_ITEM_TYPE_TCP,
        Header::Esp { .. } => sys::RTE_FLOW_ITEM_TYPE_ESP,
        Header::L2tpv3 { .. } => sys::RTE_FLOW_ITEM_TYPE_L2TPV3OIP,
        Header::Gre { .. } => sys::RTE_FLOW_ITEM_TYPE_GRE,
        Header::GreKey(_) => sys::RTE_FLOW_ITEM_TYPE_GRE_KEY,
    }
}

/// What must match and where. DPDK's structures of these items are the headers as they are on the wire, GRE's four bytes
/// without options and the key alone.
fn bytes(header: Header) -> Option<[Bytes; 2]> {
    let at = |offset: usize, value: &[u8], mask: &[u8]| {
        (mask.iter().any(|&byte| byte != 0))
            .then(|| [Bytes::default().put(offset, value), Bytes::default().put(offset, mask)])
    };
    match header {
        Header::Ethernet | Header::Vlan | Header::Ipv4 => None,
        Header::Udp { to } | Header::Tcp { to } => at(2, &to.value.to_be_bytes(), &to.mask.to_be_bytes()),
        Header::Esp { spi: id } | Header::L2tpv3 { session: id } | Header::GreKey(id) => {
            at(0, &id.value.to_be_bytes(), &id.mask.to_be_bytes())
        }
        Header::Gre { protocol } => at(2, &protocol.to_be_bytes(), &[0xff; 2]),
    }
}
